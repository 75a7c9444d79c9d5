"""Til-mini-1B: a Kazakh-first multilingual base model (TilQazyna)."""

from __future__ import annotations

from tilbench import hookimpl
from tilbench.hookspecs import Register


@hookimpl
def register_models(register: Register) -> None:
    """Register `til-mini-1b`."""
    register(
        "til-mini-1b",
        "tilbench_til_mini_1b/til-mini-1b.yaml",
        summary="956M dense decoder with latent attention: English, code, Kazakh, math, Russian",
    )

"""Metrics of how a model writes, whatever it writes about."""

from __future__ import annotations

from tilbench import hookimpl
from tilbench.hookspecs import Register


@hookimpl
def register_metrics(register: Register) -> None:
    """Loops, repetition, endings and the language of generated texts."""
    register(
        "behavior",
        "tilbench_behavior.behavior:Behavior",
        summary="loops, repetition, endings and language of generated texts",
    )

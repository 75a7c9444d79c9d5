"""Metrics of a model's tokenizer."""

from __future__ import annotations

from tilbench import hookimpl
from tilbench.hookspecs import Register


@hookimpl
def register_metrics(register: Register) -> None:
    """Tokens per word and what else a tokenizer costs a language."""
    register(
        "fertility",
        "tilbench_fertility.fertility:Fertility",
        summary="tokens per word, bytes per token, unknown and byte-fallback rates",
    )

"""Metrics of what a text costs a model: its tokens, and the time and memory of generating."""

from __future__ import annotations

from tilbench import hookimpl
from tilbench.hookspecs import Register


@hookimpl
def register_metrics(register: Register) -> None:
    """Register the metrics of tokens, speed and memory."""
    here = "tilbench_metrics_cost"
    register(
        "fertility",
        f"{here}.fertility:Fertility",
        summary="tokens per word, bytes per token, unknown and byte-fallback rates",
    )
    register(
        "efficiency",
        f"{here}.efficiency:Efficiency",
        summary="tokens and bytes per second, time to the first token, memory and cache of generating",
    )

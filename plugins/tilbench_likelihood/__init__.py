"""Metrics of how well a model predicts running text."""

from __future__ import annotations

from tilbench import hookimpl
from tilbench.hookspecs import Register


@hookimpl
def register_metrics(register: Register) -> None:
    """Bits per byte and the perplexities that follow from it."""
    register("bpb", "tilbench_likelihood.bpb:BitsPerByte", summary="bits per UTF-8 byte, and perplexities")

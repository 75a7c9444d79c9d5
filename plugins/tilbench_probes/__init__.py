"""Metrics of single words that a model is expected to know."""

from __future__ import annotations

from tilbench import hookimpl
from tilbench.hookspecs import Register


@hookimpl
def register_metrics(register: Register) -> None:
    """Where the expected next word stands, and how probable it is."""
    register(
        "probe",
        "tilbench_probes.probe:ProbeMetric",
        summary="rank, probability and perplexity of an expected next word",
    )

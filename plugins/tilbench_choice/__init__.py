"""Metrics of choosing between texts: multiple-choice questions and minimal pairs."""

from __future__ import annotations

from tilbench import hookimpl
from tilbench.hookspecs import Register


@hookimpl
def register_metrics(register: Register) -> None:
    """Accuracy on multiple-choice questions, by letter or by text, and on pairs of sentences."""
    register(
        "choice",
        "tilbench_choice.choice:Choice",
        summary="accuracy on multiple-choice questions beside its chance level",
    )
    register(
        "minimal_pairs",
        "tilbench_choice.minimal_pairs:MinimalPairs",
        summary="how often the good one of two sentences is likelier",
    )

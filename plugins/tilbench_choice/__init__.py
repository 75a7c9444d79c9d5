"""Metrics of choosing between texts: multiple-choice questions, minimal pairs, labels."""

from __future__ import annotations

from tilbench import hookimpl
from tilbench.hookspecs import Register


@hookimpl
def register_metrics(register: Register) -> None:
    """Accuracy on multiple-choice questions and on pairs of sentences; accuracy and F1 of labels."""
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
    register(
        "classification",
        "tilbench_choice.classification:Classification",
        summary="macro F1 and accuracy of labels, by the likeliest label word",
    )

"""Metrics of multiple-choice questions."""

from __future__ import annotations

from tilbench import hookimpl
from tilbench.hookspecs import Register


@hookimpl
def register_metrics(register: Register) -> None:
    """Accuracy on multiple-choice questions, by letter or by text."""
    register(
        "choice",
        "tilbench_choice.choice:Choice",
        summary="accuracy on multiple-choice questions beside its chance level",
    )

"""Reading comprehension: exact match and token F1."""

from __future__ import annotations

from tilbench import hookimpl
from tilbench.data.dataset import Dataset
from tilbench.hookspecs import Register


@hookimpl
def register_metrics(register: Register) -> None:
    """Answers in the words of a text."""
    register(
        "reading",
        "tilbench_reading.reading:Reading",
        summary="answers to questions on a text, by exact match and token F1",
    )


@hookimpl
def register_datasets(register: Register) -> None:
    """KazQAD, as far as its authors publish it in files."""
    dataset = Dataset(
        kind="readings",
        language="kk-Cyrl",
        licence="CC BY-SA 4.0",
        citation="KazQAD, IS2AI/KazQAD",
        summary=(
            "KazQAD, questions on Kazakh texts, the validation split of its reading comprehension part: put it in the "
            "data directory with id, context, question, answers"
        ),
    )
    register("qa/kazqad/validation", dataset, summary=dataset.summary)

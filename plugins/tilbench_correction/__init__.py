"""Spelling and grammar correction: edit-based F0.5 and character error rate."""

from __future__ import annotations

from tilbench import hookimpl
from tilbench.data.dataset import Dataset
from tilbench.hookspecs import Register


@hookimpl
def register_metrics(register: Register) -> None:
    """Corrections of faulty texts."""
    register(
        "correction",
        "tilbench_correction.correction:Correction",
        summary="corrections of faulty texts, by edit F0.5 and character error rate",
    )


@hookimpl
def register_datasets(register: Register) -> None:
    """Kazakh sentences with slips of the keyboard, written for tilbench."""
    for split, what in (("test", "two of them faultless"), ("dev", "for few-shot prompts")):
        dataset = Dataset(
            kind="pairs",
            language="kk-Cyrl",
            package="tilbench_correction",
            file=f"data/kk/{split}.jsonl",
            licence="Apache-2.0",
            summary=f"Kazakh sentences as mistyped on a Russian keyboard, with their corrections, {what}",
        )
        register(f"correction/kk/{split}", dataset, summary=dataset.summary)

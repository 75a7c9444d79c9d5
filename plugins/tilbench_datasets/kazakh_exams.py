"""The exam sets of kz-transformers: Kazakh exams as they are, and as an old fork of lm-evaluation-harness put them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tilbench.data.dataset import Dataset
from tilbench_datasets.legacy12 import Legacy12

__all__ = ["kazakh_exam_datasets"]

_HUB = "kz-transformers"
_UNT = "kazakh-unified-national-testing-mc"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Exam:
    """One split. question, options, answer: its columns; rows: how many it has."""

    repository: str
    split: str
    what: str
    rows: int
    question: str = "Question"
    options: tuple[str, ...] = tuple(f"Option {letter}" for letter in "ABCD")
    answer: str = "Correct Answer"


def _unt(split: str, rows: int) -> _Exam:
    return _Exam(
        repository=_UNT,
        split=split,
        what=f"Unified National Testing, {split.replace('_', ' ')}",
        rows=rows,
        question="question",
        options=tuple("ABCDEFGH"),
        answer="correct_answer",
    )


# Rows are the denominators of the published scores; a file with others is another edition.
_SETS = {
    "mmlu": _Exam(
        repository="mmlu-translated-kk", split="validation", what="MMLU translated into Kazakh, validation", rows=1531
    ),
    "constitution": _Exam(
        repository="kazakh-constitution-mc", split="test", what="the Constitution of Kazakhstan", rows=414
    ),
    "dastur": _Exam(
        repository="kazakh-dastur-mc",
        split="test",
        what="Kazakh traditions, questions made by a model from definitions",
        rows=1005,
    ),
}
_SUBJECTS = {
    "kazakh_and_literature": _unt("kazakh_and_literature", 4688),
    "history_of_kazakhstan": _unt("history_of_kazakhstan", 3260),
    "english": _unt("english", 2197),
    "geography": _unt("geography", 1718),
    "biology": _unt("biology", 1536),
    "world_history": _unt("world_history", 1228),
    "human_society_rights": _unt("human_society_rights", 223),
}
_UNIFIED = {"unified": _SUBJECTS["biology"]}
"""The fork's `kk_unified_national_testing_mc`, which reads like all subjects together, is the split biology again."""


def kazakh_exam_datasets() -> Iterator[tuple[str, Dataset]]:
    """Yield name and dataset of each exam: `kk_*` with all rows and options, `kk_legacy12_*` as the fork had it."""
    for name, exam in _SETS.items():
        yield f"kk_{name}", _whole(exam)
    for name, exam in _SUBJECTS.items():
        yield f"kk_unt_{name}", _whole(exam)
    for name, exam in (_SETS | _SUBJECTS | _UNIFIED).items():
        yield f"kk_legacy12_{name}", _legacy(exam)


def _whole(exam: _Exam) -> Dataset:
    return Dataset(
        kind="questions",
        language="kk-Cyrl",
        hub=f"{_HUB}/{exam.repository}",
        split=exam.split,
        columns={"question": exam.question, "choices": exam.options, "answer": exam.answer},
        licence="Apache-2.0",
        summary=f"{exam.what}: {exam.rows:,} questions of up to {len(exam.options)} choices",
    )


def _legacy(exam: _Exam) -> Dataset:
    return Dataset(
        kind="questions",
        language="kk-Cyrl",
        hub=f"{_HUB}/{exam.repository}",
        split=exam.split,
        prepare=Legacy12(question=exam.question, options=exam.options[:4], answer=exam.answer),
        licence="Apache-2.0",
        citation="horde-research/lm-evaluation-harness-kk",
        summary=f"{exam.what}, with the faults of the old fork: 12 options, chance 1/12, no question whose answer is A",
    )

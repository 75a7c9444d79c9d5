"""What rules look at: a dataset that was read, a task that was planned, a suite of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from tilbench.config.suite import Suite, Task
from tilbench.contamination.items import texts
from tilbench.data.dataset import Dataset
from tilbench.data.rows import Question, Row
from tilbench.evaluation.plan import PlannedTask
from tilbench.kinds.language import Language
from tilbench.kinds.requests import Continuation, Document, Generation, NextWord, Request, Tokens

__all__ = ["DatasetSubject", "SuiteSubject", "TaskSubject", "context_of", "texts_of"]


@dataclass(frozen=True, slots=True)
class DatasetSubject:
    """A dataset and its rows. source: the rows before they were prepared; empty where nothing prepares them."""

    name: str
    dataset: Dataset
    rows: Sequence[Row]
    language: Language | None = None
    source: Sequence[Mapping[str, Any]] = ()

    @property
    def questions(self) -> list[Question]:
        """The rows that are multiple-choice questions."""
        return [row for row in self.rows if isinstance(row, Question)]


@dataclass(frozen=True, slots=True)
class TaskSubject:
    """A task. planned: its rows and requests (none where its data is missing). languages: all that are registered."""

    task: Task
    planned: PlannedTask
    language: Language | None = None
    scored: DatasetSubject | None = None
    examples: DatasetSubject | None = None
    languages: Sequence[Language] = ()


@dataclass(frozen=True, slots=True)
class SuiteSubject:
    """A suite with those of its tasks that could be planned. reference: its training texts, by dataset."""

    suite: Suite
    tasks: Sequence[TaskSubject]
    reference: Mapping[str, Sequence[str]]


def texts_of(row: Row) -> Iterator[tuple[str, str]]:
    """Yield name and text of everything of a row that a model may be shown."""
    for field in fields(row):
        if field.name not in ("id", "source", "subject", "label") or (field.name == "source" and row.kind == "pairs"):
            for text in texts(getattr(row, field.name)):
                yield field.name, text


def context_of(request: Request) -> str:
    """Return what a model is shown before it answers; nothing where the whole text is what it is asked about."""
    match request:
        case Continuation() | NextWord():
            return request.context
        case Generation():
            return request.prompt
        case Document() | Tokens():
            return ""
    return ""

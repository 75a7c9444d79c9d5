"""Suites: a list of tasks, and what is scored on them."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from tilbench.config.base import Schema
from tilbench.data.dataset import Dataset

__all__ = ["Macro", "Suite", "Task"]

Name = r"^[a-z0-9][a-z0-9_.-]*$"


class Task(Schema):
    """A metric on a dataset, with its prompt and settings."""

    name: str = Field(pattern=Name)
    """Unique within the suite; lower-case letters, digits, `-`, `_` and `.`."""
    metric: str
    """Registered name of the metric."""
    dataset: str | Dataset
    """Registered name, path, or the fields of a dataset."""
    language: str = ""
    """Tag of a registered language; by default the dataset's."""
    settings: dict[str, Any] = {}
    """The metric's own settings."""
    limit: int | None = Field(default=None, ge=1)
    """Score a seeded sample of this many rows."""
    shots: int = Field(default=0, ge=0)
    """Solved examples shown before each question."""
    examples: str | Dataset | None = None
    """Where the solved examples come from; never the dataset that is scored."""
    version: int = Field(default=1, ge=1)
    """Raised when the task changes, so that old and new results do not mix."""
    summary: str = ""

    @model_validator(mode="after")
    def _examples_are_elsewhere(self) -> Task:
        if self.shots and self.examples is None:
            raise ValueError("'shots' needs 'examples', a dataset of solved questions")
        if self.shots and self.examples == self.dataset:
            raise ValueError("'examples' is the dataset that is scored; use a development split")
        return self


class Macro(Schema):
    """The plain mean of one value over several tasks, as one more column."""

    name: str = Field(pattern=Name)
    tasks: list[str] = Field(min_length=2)
    value: str
    """Name of the value, which every one of the tasks must have."""
    summary: str = ""


class Suite(Schema):
    """Tasks that are run together, so that their results can be compared."""

    name: str = Field(pattern=Name)
    version: int = Field(default=1, ge=1)
    title: str = ""
    summary: str = ""
    seed: int = 0
    models: list[str] = []
    """Models scored when the command names none."""
    baselines: list[str] = []
    """Models scored whatever the command names."""
    reference_text: list[str] = []
    """Datasets of documents that trainable baselines learn from."""
    train: Literal["never", "auto"] = "never"
    """auto: a spec with no checkpoint is trained first."""
    tasks: list[Task] = Field(min_length=1)
    macros: list[Macro] = []

    @field_validator("tasks", "macros", mode="after")
    @classmethod
    def _names_are_unique(cls, entries: list[Any]) -> list[Any]:
        names = [entry.name for entry in entries]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two have the name {twice[0]!r}; rename one")
        return entries

    @model_validator(mode="after")
    def _macros_name_tasks(self) -> Suite:
        names = {task.name for task in self.tasks}
        for macro in self.macros:
            if macro.name in names:
                raise ValueError(f"macro {macro.name!r} has the name of a task; rename one")
            if unknown := [task for task in macro.tasks if task not in names]:
                raise ValueError(f"macro {macro.name!r} names {unknown[0]!r}, which is no task of this suite")
        return self

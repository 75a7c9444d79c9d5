"""Suites: a list of tasks, and what is scored on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from tilbench.config import yaml
from tilbench.config.base import Schema
from tilbench.config.shorthand import written_out
from tilbench.config.source import Source
from tilbench.data.dataset import Dataset

__all__ = ["HarnessEntry", "HarnessMacro", "HarnessTask", "Macro", "Suite", "Task", "load_suite"]

Name = r"^[a-z0-9][a-z0-9_.-]*$"
Truncation = Literal["allow", "error"]
BorrowedName = r"^[A-Za-z0-9][A-Za-z0-9_.-]*$"


class Task(Schema):
    """A metric on a dataset, with its prompt and settings."""

    own_examples: ClassVar[bool] = False
    """Solved examples come with the dataset."""
    short_forms = ("over",)
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
    truncation: Truncation = "allow"
    """Prompts that do not fit a model lose examples, then text, and the record says how many. error: the run stops."""
    version: int = Field(default=1, ge=1)
    """Raised when the task changes, so that old and new results do not mix."""
    summary: str = ""

    @model_validator(mode="after")
    def _examples_are_elsewhere(self) -> Task:
        if self.shots and self.examples is None and not self.own_examples:
            raise ValueError("'shots' needs 'examples', a dataset of solved questions")
        if self.shots and self.examples == self.dataset:
            raise ValueError("'examples' is the dataset that is scored; use a development split")
        return self


class HarnessEntry(Schema):
    """What a suite lists of another harness: a task of it, or a group of tasks."""

    task: str
    """Its name there."""
    name: str = Field(default="", pattern=rf"{BorrowedName}|^$")
    """What the suite calls a single task, where one is listed twice; by default its name there."""
    shots: int | None = Field(default=None, ge=0)
    """Solved examples before each document; by default as many as the task itself says."""
    limit: int | None = Field(default=None, ge=1)
    """Score this many documents, chosen as the harness chooses them."""
    language: str = ""
    """Tag of a registered language."""
    truncation: Truncation = "allow"
    """As of a task of ours."""


class HarnessTask(Task):
    """A task of another harness, under the name that it has there; documents and examples are the harness's own."""

    own_examples = True
    name: str = Field(pattern=BorrowedName)
    dataset: str = ""
    """What the harness calls its dataset."""


class Macro(Schema):
    """The mean of one value over several tasks, as one more column."""

    name: str = Field(pattern=Name)
    tasks: list[str] = Field(min_length=2)
    value: str
    """Name of the value, which every one of the tasks must have."""
    weight: Literal["task", "row"] = "task"
    """task: the plain mean. row: a task counts as often as it has rows."""
    summary: str = ""


class HarnessMacro(Macro):
    """The mean over a group of another harness, under the name that it has there."""

    name: str = Field(pattern=BorrowedName)


class Suite(Schema):
    """Tasks that are run together, so that their results can be compared."""

    short_forms = ("defaults",)
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
    tasks: list[Task] = []
    """One or more; none where the suite lists tasks of another harness."""
    lm_eval: list[HarnessEntry] = []
    """Tasks and groups of lm-evaluation-harness: names, or names with `shots`, `limit` and `language`."""
    lm_eval_include: list[str] = []
    """Folders with task files of that harness, relative to the suite's own."""
    macros: list[Macro] = []

    @classmethod
    def unfold(cls, source: Source) -> Source:
        """Return a suite's fields with every task written out."""
        return written_out(source)

    @property
    def borrowed(self) -> Mapping[str, tuple[Sequence[HarnessEntry], Sequence[str]]]:
        """Entries and folders of other harnesses, by the metric of their tasks, which the field is called like."""
        return {"lm_eval": (self.lm_eval, self.lm_eval_include)}

    @field_validator("lm_eval", mode="before", json_schema_input_type=list[str | HarnessEntry])
    @classmethod
    def _a_name_will_do(cls, entries: Any) -> object:
        return [{"task": each} if isinstance(each, str) else each for each in entries or []]

    @field_validator("tasks", "macros", mode="after")
    @classmethod
    def _names_are_unique(cls, entries: list[Any]) -> list[object]:
        names = [entry.name.casefold() for entry in entries]  # file systems may not tell A from a
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two have the name {twice[0]!r}; rename one")
        return entries

    @model_validator(mode="after")
    def _there_are_tasks(self) -> Suite:
        if not self.tasks and not self.lm_eval:
            raise ValueError("the suite has no tasks; list one under 'tasks' or 'lm_eval'")
        return self

    @model_validator(mode="after")
    def _macros_name_tasks(self) -> Suite:
        if self.lm_eval:  # a macro may name a task of it; checked when its entries are replaced by their tasks
            return self
        names = {task.name for task in self.tasks}
        for macro in self.macros:
            if macro.name in names:
                raise ValueError(f"macro {macro.name!r} has the name of a task; rename one")
            if unknown := [task for task in macro.tasks if task not in names]:
                raise ValueError(f"macro {macro.name!r} names {unknown[0]!r}, which is no task of this suite")
        return self


def load_suite(path: Path, overrides: Sequence[str] = ()) -> Suite:
    """Read a suite; folders in it are relative to its file. Raises ConfigError with file and line."""
    suite = yaml.load(path, Suite, overrides)
    folders = [str(path.parent / Path(folder).expanduser()) for folder in suite.lm_eval_include]
    return suite.model_copy(update={"lm_eval_include": folders}) if folders else suite

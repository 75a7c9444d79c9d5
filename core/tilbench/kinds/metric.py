"""A metric: which questions to ask about a row, what the answers score, and what the scores amount to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, runtime_checkable

from pydantic import ConfigDict

from tilbench.config.base import RECORDED
from tilbench.data.rows import Row
from tilbench.kinds.language import Language
from tilbench.kinds.requests import Answer, Request

if TYPE_CHECKING:
    from pydantic import BaseModel

__all__ = ["Direction", "ItemScore", "Metric", "MetricClass", "TaskContext", "Value"]

Direction = Literal["lower", "higher", "none"]


@dataclass(frozen=True, slots=True)
class ItemScore:
    """What one row scored: numbers that `Metric.aggregate` can turn into values on their own.

    cluster: rows of one cluster (a passage) are not independent and are resampled together. texts: what else
    `aggregate` needs, where it is no number, under names that no number has.
    """

    item: str
    cluster: str
    values: Mapping[str, float]
    texts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """One number of a record.

    n: rows behind it. low, high: 95% interval, at the confidence `level`. stderr: standard error.
    chance: what a model that knows nothing scores. unit: bits/byte, fraction, tokens/word …
    of: where the value is Σ `of[0]` / Σ `of[1]` of the numbers of item scores, their names; "" as the second
    means the number of items. Only values that say so can be compared pair by pair.
    """

    __pydantic_config__: ClassVar[ConfigDict] = RECORDED
    value: float
    n: int
    unit: str
    direction: Direction
    stderr: float | None = None
    low: float | None = None
    high: float | None = None
    chance: float | None = None
    of: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class TaskContext:
    """What a metric is made from besides its settings: the task's language, example rows and seed.

    languages: all that are registered, sorted by tag, for metrics that tell languages apart. Empty where values are
    only recomputed from item scores.
    """

    language: Language | None = None
    examples: Sequence[Row] = ()
    shots: int = 0
    seed: int = 0
    languages: Sequence[Language] = ()


@runtime_checkable
class Metric(Protocol):
    """A metric bound to one task.

    rows: kinds of rows it can score. headline: the value shown first. version: raised when a prompt or a
    definition changes, so that old and new records do not mix. Settings: a pydantic model of the task's
    `settings`, which forbids unknown fields. `tilbench.kinds.capabilities.metric` has what a metric may state besides.
    """

    rows: ClassVar[frozenset[str]]
    headline: str
    version: ClassVar[int]

    @property
    def Settings(self) -> type[BaseModel]:
        """The settings' model."""

    def __init__(self, settings: Any, context: TaskContext) -> None:
        """Bind validated settings and the task's context."""

    def requests(self, row: Row) -> Sequence[Request]:
        """Return what to ask a model about `row`, in an order that `score` knows."""

    def score(self, row: Row, answers: Sequence[Answer]) -> ItemScore:
        """Reduce the answers to the requests of `row`, in the same order, to numbers."""

    def aggregate(self, scores: Sequence[ItemScore]) -> Mapping[str, Value]:
        """Reduce the scores of all rows, in any order, to named values with intervals.

        Raises Refused where the answers must not become a number: the record reads "n/a" with the reason, and the
        other tasks go on. What is odd about a few rows is a value of its own and no reason to refuse the others.
        """


@runtime_checkable
class MetricClass(Protocol):
    """What is registered as a metric: a class whose instances are bound to one task (see `Metric`)."""

    @property
    def rows(self) -> frozenset[str]:
        """Kinds of rows that it can score."""

    @property
    def version(self) -> int:
        """Raised when a prompt or a definition changes."""

    @property
    def Settings(self) -> type[BaseModel]:
        """Pydantic model of a task's `settings`, which forbids unknown fields."""

    def __call__(self, settings: Any, context: TaskContext) -> Metric:
        """Bind validated settings and the task's context."""

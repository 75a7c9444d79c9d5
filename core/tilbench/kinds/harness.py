"""A harness: a metric that scores the tasks of another evaluation harness, and so brings documents of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from tilbench.config.suite import HarnessEntry, HarnessTask, Macro
from tilbench.data.resolve import Rows
from tilbench.kinds.metric import Metric, MetricClass, TaskContext

__all__ = ["Bound", "Harness"]


@dataclass(frozen=True, slots=True)
class Bound:
    """A task of another harness, ready to be asked. settings: all that decides its result, for the record."""

    metric: Metric
    rows: Rows
    settings: Any


@runtime_checkable
class Harness(MetricClass, Protocol):
    """What a metric class offers besides where a suite may list tasks of another harness.

    `Suite.borrowed` says under which field of a suite they stand.
    """

    @classmethod
    def expand(
        cls, entries: Sequence[HarnessEntry], folders: Sequence[Path], *, trust_remote_code: bool
    ) -> tuple[Sequence[HarnessTask], Sequence[Macro]]:
        """Return the tasks that the entries stand for, and the means that their groups ask for.

        folders: where task files are looked for besides the harness's own. trust_remote_code: run Python that these
        come with. Raises UnknownName, or ConfigError where that is needed and was not allowed.
        """

    @classmethod
    def bind(cls, settings: Any, context: TaskContext, data_dir: Path | None, limit: int | None) -> Bound:
        """Read the documents of one task that `expand` returned, and make its metric.

        data_dir: searched before anything is fetched. limit: documents to score. Raises MissingDataset, Unsupported
        or MissingDependency where this task cannot be run here and others may.
        """

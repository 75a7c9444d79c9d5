"""A suite over many models: plan once, then each model's share, then what is computed over tasks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import overload

from tilbench.config.suite import Suite
from tilbench.errors import PluginError, TilbenchError
from tilbench.kinds.executor import Executor
from tilbench.kinds.language_model import OpenOptions
from tilbench.registry import Registry
from tilbench.results.record import Environment
from tilbench.results.store import RecordStore
from tilbench.run.contamination import ContaminationCheck, with_contamination
from tilbench.run.datasets import documents
from tilbench.run.execute import Progress, Share, run_model
from tilbench.run.failures import Failure
from tilbench.run.macros import record_macros
from tilbench.run.models import ModelSource
from tilbench.run.plan import PlannedTask
from tilbench.scoring.journal import Journal

__all__ = ["JOURNAL", "Failed", "ReferenceText", "SuiteRun", "run_suite"]

JOURNAL = "journal.sqlite"


Failed = Callable[[Failure], object]


class ReferenceText(Sequence[str]):
    """The texts that trainable baselines learn from, read when the first baseline asks for them."""

    def __init__(self, names: Sequence[str], registry: Registry, data_dir: Path | None) -> None:
        self._names = names
        self._registry = registry
        self._data_dir = data_dir
        self._texts: list[str] | None = None

    def _read(self) -> list[str]:
        """Raises MissingDataset, UnknownName or DataError where the text cannot be had."""
        if self._texts is None:
            read = [documents(name, self._registry, self._data_dir)[1] for name in self._names]
            self._texts = [document.text for source in read for document in source]
        return self._texts

    def __len__(self) -> int:
        return len(self._read())

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        return self._read()[index]


@dataclass(frozen=True, slots=True, kw_only=True)
class SuiteRun:
    """A planned run, ready to be executed."""

    suite: Suite
    tasks: Sequence[PlannedTask]
    sources: Sequence[ModelSource]
    options: OpenOptions
    environment: Environment
    out: Path
    command: str = ""
    contamination: ContaminationCheck | None = None


def run_suite(run: SuiteRun, executor: Executor, progress: Progress, failed: Failed | None = None) -> Iterator[Share]:
    """Score every model, and yield its share of the run as it is done.

    failed: told of a model that cannot be scored, after which the others go on. None: its TilbenchError is raised.
    """
    store = RecordStore(run.out)
    with Journal(run.out / JOURNAL) as journal:
        work = partial(
            run_model,
            tasks=run.tasks,
            store=store,
            journal=journal,
            options=run.options,
            environment=run.environment,
            progress=progress,
            command=run.command,
        )
        for share in executor.map(partial(_attempt, work), run.sources):
            if isinstance(share, Failure):
                if failed is None:
                    raise share.error
                failed(share)
                continue
            if run.contamination is not None:
                share.records = [
                    with_contamination(record, task, run.contamination, store)
                    for record, task in zip(share.records, run.tasks, strict=True)
                ]
            share.found = len(share.records) - share.made
            share.records += record_macros(run.suite, share.records, store)
            yield share


def _attempt(work: Callable[[ModelSource], Share], source: ModelSource) -> Share | Failure:
    """Return a model's share, or what its user can mend."""
    try:
        return work(source)
    except PluginError:  # a metric's own bug concerns every model
        raise
    except TilbenchError as error:
        return Failure(source.name, error)

"""A suite over many models: plan once, then each model's share, then what is computed over tasks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tilbench.config.suite import Suite
from tilbench.errors import PluginError, TilbenchError
from tilbench.evaluation.contamination import ContaminationCheck, with_contamination
from tilbench.evaluation.execute import Share, run_model
from tilbench.evaluation.plan import PlannedTask
from tilbench.kinds.executor import Executor
from tilbench.kinds.language_model import OpenOptions
from tilbench.progress import Progress
from tilbench.resolve.failures import Failure
from tilbench.resolve.models import ModelSource
from tilbench.results.macro import record_macros
from tilbench.results.record import Environment
from tilbench.results.store import RecordStore
from tilbench.scoring.journal import Journal

__all__ = ["JOURNAL", "Failed", "SuiteRun", "run_suite"]

JOURNAL = "journal.sqlite"


Failed = Callable[[Failure], object]


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

"""A suite over many models: plan once, then each model's share, then what is computed over tasks."""

from __future__ import annotations

import contextlib
import itertools
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tilbench.config.suite import Suite
from tilbench.errors import PluginError, TilbenchError
from tilbench.evaluation.contamination import ContaminationCheck, with_contamination
from tilbench.evaluation.execute import ModelRun, Recorder, Share
from tilbench.evaluation.plan import PlannedTask
from tilbench.evaluation.worker import Job, Worker
from tilbench.kinds.executor import Ended, Executor
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
    worker: Worker
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
        recorder = Recorder(
            store=store, journal=journal, environment=run.environment, progress=progress, command=run.command
        )
        for share in _Models(run, recorder).run(executor):
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


class _Models:
    """The models of a run: those that an executor has, and those that are done and not yet handed on."""

    def __init__(self, run: SuiteRun, recorder: Recorder) -> None:
        self._run = run
        self._recorder = recorder
        self._open: dict[int, ModelRun] = {}
        self._done: deque[Share | Failure] = deque()

    def run(self, executor: Executor) -> Iterator[Share | Failure]:
        """Yield what becomes of each model."""
        for place, event in executor.run(self._run.worker, self._jobs()):
            if isinstance(event, Ended):
                self._end(self._open.pop(place), event)
            else:
                self._open[place].take(event)
            while self._done:
                yield self._done.popleft()
        yield from self._done

    def _jobs(self) -> Iterator[Job]:
        """Yield the job of each model that is still to be asked anything."""
        places = itertools.count()
        for source in self._run.sources:
            model = None
            with self._failing(source.name):
                model = ModelRun(source, self._run.tasks, self._run.worker.options, self._recorder)
                if not model.job.requests:
                    self._done.append(model.finish())
            if model is not None and model.job.requests:
                self._open[next(places)] = model
                yield model.job

    def _end(self, model: ModelRun, event: Ended) -> None:
        with self._failing(model.source.name):
            if event.error is not None:
                raise event.error
            self._done.append(model.finish())

    @contextlib.contextmanager
    def _failing(self, name: str) -> Iterator[None]:
        """Turn what the user can mend into the failure of one model."""
        try:
            yield
        except PluginError:  # a metric's own bug concerns every model
            raise
        except TilbenchError as error:
            self._done.append(Failure(name, error))

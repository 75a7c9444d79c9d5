"""From a suite and names of models to a run that can be executed. Nothing is computed or written."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tilbench.config.suite import Suite
from tilbench.errors import ConfigError
from tilbench.evaluation.environment import describe_environment, machine_name, thread_count
from tilbench.evaluation.plan import on_machine, plan_tasks, select_tasks
from tilbench.evaluation.runner import SuiteRun
from tilbench.evaluation.worker import Worker
from tilbench.registry import Registry
from tilbench.resolve.failures import Failure, findable, openable
from tilbench.resolve.model_options import ModelOptions
from tilbench.resolve.models import ModelSource, Train
from tilbench.resolve.suites import expand_suite
from tilbench.results.store import RecordStore

__all__ = ["RunConfig", "plan_run"]

TrainSpec = Callable[[str, Path, Registry, Path | None], object]
"""Trains the spec of this label in this folder, with the datasets of this data directory, or finds that it is done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunConfig:
    """What a run of a suite is asked to do. Plain data: another process plans the same run from it.

    models: references, as `tilbench run --models` takes them, or models that were found before. out: folder of records.
    data_dir: searched for datasets first. runs: folder of trainings. tasks: only these tasks of the suite; all if
    empty. limit: rows per task, a seeded sample. train: trains a spec that has no checkpoint; None: such a spec raises
    `Untrained`. command: what records say made them.
    """

    suite: Suite
    models: Sequence[str | ModelSource]
    out: Path
    data_dir: Path | None = None
    runs: Path = Path("runs")
    tasks: Sequence[str] = ()
    limit: int | None = None
    options: ModelOptions = field(default_factory=ModelOptions)
    train: TrainSpec | None = None
    command: str = ""

    def __post_init__(self) -> None:
        if self.limit is not None and (type(self.limit) is not int or self.limit < 1):
            raise ConfigError(f"limit is {self.limit!r}; give a whole number of rows, at least 1")


def plan_run(config: RunConfig, registry: Registry, failures: list[Failure] | None = None) -> SuiteRun:
    """Resolve everything that the run needs.

    failures: takes the models that cannot be found or described; the plan is of the others. None: the first such model
    raises its error. Raises ConfigError where no model is named, UnknownName, MissingDataset, CheckpointError.
    """
    RecordStore(config.out)
    suite = expand_suite(config.suite, registry, trust_remote_code=config.options.trust_remote_code)
    if not config.models:
        raise ConfigError(f"suite {suite.name} names no models; name some with --models")
    sources, lost = findable(config.models, registry, config.runs, _trains(config, registry))
    if lost and failures is None:
        raise lost[0].error
    planned = plan_tasks(suite, select_tasks(suite, config.tasks), registry, config.data_dir, config.limit)
    worker = Worker.here(config.options, suite.reference_text, config.data_dir, registry)
    options = worker.options
    if failures is not None:
        sources, closed = openable(sources, options)
        failures += [*lost, *closed]
    worker.sources = {source.name: source for source in sources}
    profile = registry.hardware.get("cuda" if options.device.startswith("cuda") else "cpu")
    machine = machine_name(options.device, options.dtype, thread_count())
    planned = [on_machine(task, machine) for task in planned]
    distributions = {name for task in planned for name in task.distributions}
    return SuiteRun(
        suite=suite,
        tasks=planned,
        sources=sources,
        worker=worker,
        environment=describe_environment(profile.name, options.device, options.dtype, thread_count(), distributions),
        out=config.out,
        command=config.command,
    )


def _trains(config: RunConfig, registry: Registry) -> Train | None:
    train = config.train
    return train and (lambda label, folder: train(label, folder, registry, config.data_dir))

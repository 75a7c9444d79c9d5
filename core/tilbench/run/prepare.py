"""From a suite and names of models to a run that can be executed. Nothing is computed or written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

from tilbench.config.suite import Suite
from tilbench.errors import ConfigError
from tilbench.registry import Registry
from tilbench.results.store import RecordStore
from tilbench.run.environment import describe_environment, machine_name
from tilbench.run.failures import Failure, findable, openable
from tilbench.run.options import open_options, thread_count
from tilbench.run.plan import on_machine, plan_tasks, select_tasks
from tilbench.run.suite import SuiteRun
from tilbench.run.suites import expand_suite
from tilbench.run.train import train_if_needed

__all__ = ["OPENING", "prepare"]

OPENING: Mapping[str, Any] = MappingProxyType(
    {"device": "auto", "dtype": "float32", "batch_tokens": 4096, "prefix": None, "trust_remote_code": False}
)
"""How models are opened where a command does not let people say it (`tilbench.run.options`)."""


def prepare(
    suite: Suite,
    registry: Registry,
    models: Sequence[str],
    *,
    out: Path,
    data_dir: Path | None,
    runs: Path = Path("runs"),
    tasks: Sequence[str] = (),
    limit: int | None = None,
    train: bool = False,
    opening: Mapping[str, Any] = OPENING,
    command: str = "",
    failures: list[Failure] | None = None,
) -> SuiteRun:
    """Resolve everything that a run of `suite` over `models` needs. train: specs without a checkpoint are trained.

    failures: is given the models that cannot be found or described, and the plan is of the others. None: the first one
    raises its error. Raises ConfigError where no model is named, UnknownName, MissingDataset, CheckpointError.
    """
    RecordStore(out)
    suite = expand_suite(suite, registry, trust_remote_code=opening["trust_remote_code"])
    if not models:
        raise ConfigError(f"suite {suite.name} names no models; name some with --models")
    trainer = partial(train_if_needed, registry=registry, data_dir=data_dir) if train else None
    sources, lost = findable(models, registry, runs, trainer)
    if lost and failures is None:
        raise lost[0].error
    planned = plan_tasks(suite, select_tasks(suite, tasks), registry, data_dir, limit)
    options = open_options(registry, suite, {**opening, "data_dir": data_dir})
    if failures is not None:
        sources, closed = openable(sources, options)
        failures += [*lost, *closed]
    profile = registry.get("hardware", "cuda" if options.device.startswith("cuda") else "cpu")
    machine = machine_name(options.device, options.dtype, thread_count())
    planned = [on_machine(task, machine) for task in planned]
    distributions = {name for task in planned for name in task.distributions}
    return SuiteRun(
        suite=suite,
        tasks=planned,
        sources=sources,
        options=options,
        environment=describe_environment(profile.name, options.device, options.dtype, thread_count(), distributions),
        out=out,
        command=command,
    )

"""From a suite and names of models to a run that can be executed. Nothing is computed or written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from tilbench.config.suite import Suite
from tilbench.errors import ConfigError
from tilbench.evaluation.environment import describe_environment, machine_name
from tilbench.evaluation.plan import on_machine, plan_tasks, select_tasks
from tilbench.evaluation.runner import SuiteRun
from tilbench.registry import Registry
from tilbench.resolve.failures import Failure, findable, openable
from tilbench.resolve.models import Train
from tilbench.resolve.open_options import open_options, thread_count
from tilbench.resolve.suites import expand_suite
from tilbench.results.store import RecordStore

__all__ = ["OPENING", "prepare"]

OPENING: Mapping[str, Any] = MappingProxyType(
    {"device": "auto", "dtype": "float32", "batch_tokens": 4096, "prefix": None, "trust_remote_code": False}
)
"""How models are opened where a command does not let people say it (`tilbench.resolve.open_options`)."""


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
    train: Train | None = None,
    opening: Mapping[str, Any] = OPENING,
    command: str = "",
    failures: list[Failure] | None = None,
) -> SuiteRun:
    """Resolve everything that a run of `suite` over `models` needs. train: makes the run of a spec that
    has no checkpoint; None: such a spec raises `Untrained`.

    failures: is given the models that cannot be found or described, and the plan is of the others. None: the first one
    raises its error. Raises ConfigError where no model is named, UnknownName, MissingDataset, CheckpointError.
    """
    RecordStore(out)
    suite = expand_suite(suite, registry, trust_remote_code=opening["trust_remote_code"])
    if not models:
        raise ConfigError(f"suite {suite.name} names no models; name some with --models")
    sources, lost = findable(models, registry, runs, train)
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

"""The first beat of a run: every name resolved, every row read, every request known, nothing computed yet."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pydantic

from tilbench.config.suite import HarnessTask, Suite, Task
from tilbench.config.yaml import validate
from tilbench.data.resolve import Rows
from tilbench.data.rows import Row
from tilbench.errors import ConfigError, DataError, MissingDataset, MissingDependency, Unsupported
from tilbench.evaluation.metric_errors import metric_errors
from tilbench.kinds.capabilities.metric import StatesDeciding
from tilbench.kinds.harness import Bound
from tilbench.kinds.language import Language
from tilbench.kinds.metric import Metric, TaskContext
from tilbench.kinds.requests import Request, RequestKind
from tilbench.registry import Registry
from tilbench.resolve.datasets import find_dataset, rows_of
from tilbench.resolve.suites import find_harness
from tilbench.results.record import DatasetUsed, TaskUsed

__all__ = ["PlannedTask", "deciding_of", "fingerprint_of", "on_machine", "plan_tasks", "select_tasks"]


@dataclass(frozen=True, slots=True)
class PlannedTask:
    """A task with its rows and requests. `missing` says why it cannot be run; then there are no rows."""

    used: TaskUsed
    metric: Metric | None
    rows: Sequence[Row] = ()
    requests: Mapping[str, Sequence[Request]] = field(default_factory=dict)
    missing: str = ""
    distributions: frozenset[str] = frozenset()

    @property
    def counts(self) -> Counter[str]:
        """Requests by kind."""
        return Counter(str(request.kind) for requests in self.requests.values() for request in requests)

    @property
    def lasting(self) -> bool:
        """Whether its answers hold for another run; timings do not."""
        return all(RequestKind(kind).lasting for kind in self.counts)

    @property
    def first_request(self) -> Request | None:
        """The first request of the first row, for people to look at."""
        return self.requests[self.rows[0].id][0] if self.rows else None


def select_tasks(suite: Suite, names: Sequence[str]) -> Sequence[Task]:
    """Return the suite's tasks of these names (all for none). Raises UnknownName."""
    from tilbench.errors import UnknownName

    known = [task.name for task in suite.tasks]
    for name in names:
        if name not in known:
            raise UnknownName(f"task of suite {suite.name}", name, known)
    return [task for task in suite.tasks if not names or task.name in names]


def plan_tasks(
    suite: Suite, tasks: Sequence[Task], registry: Registry, data_dir: Path | None, limit: int | None = None
) -> list[PlannedTask]:
    """Plan each task. One whose data is missing is planned as such, and the others go on.

    Raises TilbenchError for anything else that is wrong, before anything is computed or written.
    """
    return [_plan(suite, task, registry, data_dir, limit) for task in tasks]


def on_machine(task: PlannedTask, machine: str) -> PlannedTask:
    """Return the task as that of one machine where its answers depend on it; other tasks are the same everywhere."""
    if task.lasting:
        return task
    fingerprint = _on_machine(task.used.fingerprint, machine)
    return replace(task, used=task.used.model_copy(update={"machine": machine, "fingerprint": fingerprint}))


def fingerprint_of(task: TaskUsed, language: Language | None, deciding: Mapping[str, object] | None = None) -> str:
    """Return the fingerprint of a task: SHA-256 of everything that decides its values, whatever the model.

    language: its definition, None where the task has none or its rows were missing. deciding: see `Metric`.
    """
    decisive = {
        "metric": task.metric,
        "metric_version": task.metric_version,
        "task_version": task.version,
        "settings": task.settings,
        "language": language.deciding if language else None,
        "dataset": task.dataset.fingerprint,
        "shots": task.shots,
        "examples": task.examples,
        "seed": task.seed,
    }
    if deciding:  # a metric without such inputs keeps the fingerprints of its records
        decisive["deciding"] = deciding
    if task.truncation != "allow":
        decisive["truncation"] = task.truncation
    digest = hashlib.sha256(json.dumps(decisive, sort_keys=True, ensure_ascii=False).encode()).hexdigest()
    return _on_machine(digest, task.machine) if task.machine else digest


def _on_machine(fingerprint: str, machine: str) -> str:
    return hashlib.sha256(f"{fingerprint}\0{machine}".encode()).hexdigest()


def _plan(suite: Suite, task: Task, registry: Registry, data_dir: Path | None, limit: int | None) -> PlannedTask:
    metric_class = registry.metrics.get(task.metric)
    where = f"suite {suite.name}, task {task.name}"
    settings = validate(task.settings, metric_class.Settings, f"{where}: settings of {task.metric}")
    limit = limit or task.limit
    if isinstance(task, HarnessTask):
        return _plan_borrowed(suite, task, registry, data_dir, limit, settings)
    name, dataset = find_dataset(task.dataset, registry, data_dir)
    tag = task.language or dataset.language
    language: Language | None = registry.languages.get(tag) if tag else None
    entry = registry.metrics.entry(task.metric)
    try:
        rows = _shareable(rows_of(task.dataset, registry, data_dir, limit=limit, seed=suite.seed), data_dir)
        examples = rows_of(task.examples, registry, data_dir) if task.examples is not None and task.shots else None
    except MissingDataset as error:
        used = _used(suite, task, metric_class.version, "", settings, _not_here(name, tag))
        return PlannedTask(_fingerprinted(used), None, missing=str(error))
    if rows.kind not in metric_class.rows:
        takes = " or ".join(sorted(metric_class.rows))
        raise ConfigError(f"{where}: metric {task.metric!r} scores {takes}, and dataset {name!r} holds {rows.kind}")
    languages = [each for _, each in registry.languages.all()]
    context = TaskContext(language, examples.rows if examples else (), task.shots, suite.seed, languages)
    try:
        with metric_errors(task.metric):
            metric: Metric = metric_class(settings, context)
            requests = {row.id: tuple(metric.requests(row)) for row in rows.rows}
    except (ConfigError, DataError) as error:
        raise type(error)(f"{where}: {error}") from None
    shown = examples.fingerprint if examples else ""
    used = _used(suite, task, metric_class.version, metric.headline, settings, _dataset_used(rows, tag), shown)
    used = _fingerprinted(used, language, metric)
    return PlannedTask(used, metric, rows.rows, requests, distributions=frozenset({entry.distribution}))


def _plan_borrowed(
    suite: Suite,
    task: HarnessTask,
    registry: Registry,
    data_dir: Path | None,
    limit: int | None,
    settings: pydantic.BaseModel,
) -> PlannedTask:
    """Plan a task of another harness, which reads its own documents."""
    harness = find_harness(task.metric, registry)
    language: Language | None = registry.languages.get(task.language) if task.language else None
    context = TaskContext(language, (), task.shots, suite.seed)
    try:
        with metric_errors(task.metric):
            bound: Bound = harness.bind(settings, context, data_dir, limit)
            metric, rows = bound.metric, bound.rows
            requests = {row.id: tuple(metric.requests(row)) for row in rows.rows}
    except (MissingDataset, MissingDependency, Unsupported) as error:
        used = _used(suite, task, harness.version, "", settings, _not_here(task.dataset, task.language))
        return PlannedTask(_fingerprinted(used), None, missing=str(error))
    except (ConfigError, DataError) as error:
        raise type(error)(f"suite {suite.name}, task {task.name}: {error}") from None
    dataset = _dataset_used(rows, task.language)
    used = _used(suite, task, harness.version, metric.headline, bound.settings, dataset)
    used = _fingerprinted(used, language, metric)
    distribution = registry.metrics.entry(task.metric).distribution
    return PlannedTask(used, metric, rows.rows, requests, distributions=frozenset({distribution}))


def deciding_of(metric: Metric) -> Mapping[str, object]:
    """Return what the metric states that its values depend on besides what every task has."""
    return metric.deciding if isinstance(metric, StatesDeciding) else {}


def _shareable(rows: Rows, data_dir: Path | None) -> Rows:
    """Return rows whose origin does not say where on this machine the data directory is: records are passed on."""
    if data_dir is None:
        return rows
    return replace(rows, origin=rows.origin.removeprefix(f"{data_dir.resolve()}/"))


def _used(
    suite: Suite,
    task: Task,
    metric_version: int,
    headline: str,
    settings: pydantic.BaseModel,
    dataset: DatasetUsed,
    examples: str = "",
) -> TaskUsed:
    """Return what a record will say of the task, but for its fingerprint. examples: the fingerprint of their rows."""
    return TaskUsed(
        suite=suite.name,
        suite_version=suite.version,
        name=task.name,
        position=[each.name for each in suite.tasks].index(task.name),
        version=task.version,
        metric=task.metric,
        metric_version=metric_version,
        headline=headline,
        settings=settings.model_dump(mode="json"),
        shots=task.shots,
        examples=examples,
        truncation=task.truncation,
        seed=suite.seed,
        dataset=dataset,
        fingerprint="",
    )


def _dataset_used(rows: Rows, tag: str) -> DatasetUsed:
    return DatasetUsed(
        name=rows.name,
        origin=rows.origin,
        fingerprint=rows.fingerprint,
        rows=len(rows.rows),
        total=rows.total,
        language=tag,
        equal_options=list(rows.equal_options),
    )


def _not_here(name: str, tag: str) -> DatasetUsed:
    """Return what is known of a dataset that cannot be read."""
    return DatasetUsed(name=name, origin="", fingerprint="", rows=0, total=0, language=tag)


def _fingerprinted(used: TaskUsed, language: Language | None = None, metric: Metric | None = None) -> TaskUsed:
    deciding = None if metric is None else deciding_of(metric)
    return used.model_copy(update={"fingerprint": fingerprint_of(used, language, deciding)})

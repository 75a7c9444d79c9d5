"""Checks what a record says of its task, its file and its counts, apart from its values."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from tilbench.config.yaml import validate
from tilbench.data.resolve import Rows, load_rows
from tilbench.errors import DataError, TilbenchError
from tilbench.evaluation.plan import deciding_of, fingerprint_of
from tilbench.kinds.metric import ItemScore, Metric, TaskContext
from tilbench.registry import Registry
from tilbench.resolve.datasets import find_dataset
from tilbench.results.macro_parts import MACRO, macro_parts
from tilbench.results.record import CONTAMINATED, Record, TaskUsed
from tilbench.results.store import RecordStore

__all__ = ["InstalledRows", "count_faults", "metric_of", "stated_faults"]


def metric_of(task: TaskUsed, registry: Registry) -> Metric:
    """Return the installed metric, bound to the task of a record. Raises DataError where another version made it."""
    metric_class = registry.metrics.get(task.metric)
    if metric_class.version != task.metric_version:
        raise DataError(
            f"made by version {task.metric_version} of metric {task.metric!r}, and version {metric_class.version} is "
            "installed; verify it with the tilbench it names"
        )
    settings = validate(task.settings, metric_class.Settings, "its settings")
    tag = task.dataset.language
    language = registry.languages.get(tag) if tag else None
    languages = [each for _, each in registry.languages.all()]
    metric: Metric = metric_class(settings, TaskContext(language, (), 0, task.seed, languages))
    return metric


def stated_faults(store: RecordStore, path: Path, record: Record, registry: Registry) -> Iterator[str]:
    """Yield what of a record's file name, status, task and measurements does not fit together.

    The task's fingerprint is computed again from its fields, with the installed metric and language.
    """
    place = store.place(record).parts[-3:]
    if place != path.resolve().parts[-3:]:
        yield f"a record of this suite, task and model is {'/'.join(place)}"
    if bool(record.reason) != (record.status != "done"):
        yield f"status {record.status!r} goes {'without' if record.reason else 'with'} a reason"
    if record.status == "done" and record.headline is None:
        yield f"task.headline is {record.task.headline!r}, and its values are {', '.join(sorted(record.values))}"
    if record.source == "reported":
        if record.items:
            yield "a reported figure has no items"
    elif record.task.metric == MACRO:
        siblings = (
            each for name in record.task.settings["tasks"] for each in path.resolve().parents[1].glob(f"{name}/*.json")
        )
        yield from _macro_faults(record, [store.read(each) for each in siblings])
    else:
        yield from _task_faults(record, registry)
        yield from _measured_faults(record)


def _task_faults(record: Record, registry: Registry) -> Iterator[str]:
    task = record.task
    if not task.dataset.fingerprint:  # its rows were missing: neither metric nor language was looked up
        if record.status != "not run":
            yield f"task.dataset.fingerprint is empty, and the status is {record.status!r}"
        found = fingerprint_of(task, None)
    else:
        metric = metric_of(task, registry)
        if metric.headline != task.headline:
            yield f"task.headline is {task.headline!r}, and that of {task.metric} is {metric.headline!r}"
        tag = task.dataset.language
        language = registry.languages.get(tag) if tag else None
        found = fingerprint_of(task, language, deciding_of(metric))
    if found != task.fingerprint:
        yield (
            f"task.fingerprint is {task.fingerprint[:12]}, and the task gives {found[:12]}: a field of it was edited, "
            "or the installed metric or language is another than the one that made it"
        )


def _measured_faults(record: Record) -> Iterator[str]:
    measured, dataset = record.measured, record.task.dataset
    if dataset.total < dataset.rows:
        yield f"task.dataset.total is {dataset.total}, and task.dataset.rows is {dataset.rows}"
    if not 0 <= measured.reused <= measured.requests:
        yield f"measured.reused is {measured.reused}, and measured.requests is {measured.requests}"
    if bool(measured.requests) != bool(record.items):
        yield f"measured.requests is {measured.requests}, and there are {'items' if record.items else 'no items'}"
    if not measured.requests and (measured.tokens or measured.wall_seconds):
        yield "measured.tokens and measured.wall_seconds are those of no request"


def _macro_faults(record: Record, siblings: Sequence[Record]) -> Iterator[str]:
    task, measured = record.task, record.measured
    tasks, value = task.settings["tasks"], task.settings["value"]
    parts = macro_parts(record, siblings)
    rows = sum(part.task.dataset.rows for part in parts) if parts else task.dataset.rows
    stated: dict[str, tuple[object, object]] = {
        "task.headline": (task.headline, value),
        "task.settings": (sorted(task.settings), sorted({"tasks", "value", "weight"} & task.settings.keys())),
        "task.dataset.name": (task.dataset.name, "+".join(tasks)),
        "task.dataset.origin": (task.dataset.origin, "macro"),
        "task.dataset.fingerprint": (task.dataset.fingerprint, task.fingerprint),
        "task.dataset.rows": (task.dataset.rows, rows),
        "task.dataset.total": (task.dataset.total, rows),
        "measured.requests": (measured.requests, 0),
        "measured.reused": (measured.reused, 0),
        "measured.tokens": (measured.tokens, 0),
    }
    if parts and record.headline and (part := parts[0].values.get(value)):
        stated[f"{value}.unit"] = record.headline.unit, part.unit
        stated[f"{value}.direction"] = record.headline.direction, part.direction
    yield from (f"{name} is {one!r}, and not {two!r}" for name, (one, two) in stated.items() if one != two)
    if parts is None:
        yield "task.fingerprint is not that of its tasks, whose records are here"


def count_faults(record: Record, items: Sequence[ItemScore]) -> Iterator[str]:
    """Yield what a record counts and its items do not: rows, parts of a macro, rows found in a training text."""
    task, contamination = record.task, record.contamination
    if task.metric == MACRO:
        if (named := [each.item for each in items]) != task.settings["tasks"]:
            yield f"task.settings.tasks is {', '.join(task.settings['tasks'])}, and its items are {', '.join(named)}"
    elif task.dataset.rows != len(items):
        yield f"task.dataset.rows is {task.dataset.rows}, and there are {len(items)} items"
    if contamination is not None:
        flagged = sum(each.values.get(CONTAMINATED, 0) > 0 for each in items)
        if (contamination.n, contamination.flagged) != (len(items), flagged):
            stated = f"{contamination.flagged} of {contamination.n}"
            yield f"contamination.flagged is {stated}, and its items give {flagged} of {len(items)}"


class InstalledRows:
    """Checks records against the rows they were made of, where this machine has those: never over the network."""

    def __init__(self, registry: Registry, data_dir: Path | None) -> None:
        self._registry, self._data_dir = registry, data_dir
        self._known: dict[str, tuple[Rows, int | None] | None] = {}

    def faults(self, record: Record, items: Sequence[ItemScore]) -> Iterator[str]:
        """Yield what of a record is not so by the rows of its dataset; nothing where those are not here."""
        task, measured = record.task, record.measured
        if task.fingerprint not in self._known:
            self._known[task.fingerprint] = self._read(task)
        if (known := self._known[task.fingerprint]) is None:
            return
        rows, requests = known
        if task.dataset.total != rows.total:
            yield f"task.dataset.total is {task.dataset.total}, and the dataset has {rows.total} rows"
        if task.dataset.equal_options != list(rows.equal_options):
            yield f"task.dataset.equal_options should name {', '.join(rows.equal_options) or 'no row'}"
        if [(each.item, each.cluster) for each in items] != [(row.id, row.cluster) for row in rows.rows]:
            yield "its items are not the rows of its dataset"
        if requests is not None and measured.requests != requests:
            yield f"measured.requests is {measured.requests}, and its rows make {requests}"

    def _read(self, task: TaskUsed) -> tuple[Rows, int | None] | None:
        """Return the rows of a task and its number of requests, which is None where it shows examples."""
        try:
            name, dataset = find_dataset(task.dataset.name, self._registry, self._data_dir)
            local = replace(dataset, hub="", mix=())
            rows = load_rows(name, local, self._data_dir, limit=task.dataset.rows, seed=task.seed)
        except TilbenchError:
            return None
        if rows.fingerprint != task.dataset.fingerprint:  # another edition, and the record may be of an older one
            return None
        if task.shots:
            return rows, None
        metric = metric_of(task, self._registry)
        return rows, len({request for row in rows.rows for request in metric.requests(row)})

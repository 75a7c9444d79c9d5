"""Recomputes the values of records from their items, and rejects those that do not hold."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from tilbench.errors import DataError, TilbenchError
from tilbench.evaluation.contamination import clean_values
from tilbench.evaluation.score import LOST_HELP, reason_of, reduced
from tilbench.evaluation.verify_task import InstalledRows, count_faults, metric_of, stated_faults
from tilbench.kinds.metric import ItemScore, Value
from tilbench.paths import file_digest
from tilbench.registry import Registry
from tilbench.results.macro import macro_score
from tilbench.results.macro_parts import MACRO
from tilbench.results.reading import metric_scores, reading_of
from tilbench.results.record import Reading, Record
from tilbench.results.store import RecordStore

__all__ = ["Verdict", "recomputed", "verify_records"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """One record; `fault` is empty where everything holds."""

    path: Path
    fault: str


def verify_records(path: Path, registry: Registry, data_dir: Path | None = None) -> Iterator[Verdict]:
    """Check the record at `path`, or every record of a folder. Raises DataError where there is none.

    data_dir: searched for the rows that records were made of, besides the installed packages.
    """
    if not path.exists():
        raise DataError(f"{path}: no such folder; make records with 'tilbench run SUITE --out {path}'")
    store = RecordStore(path if path.is_dir() else path.parent)
    paths = store.paths() if path.is_dir() else [path]
    if not paths:
        raise DataError(f"{path}: no records here; a folder of records has SUITE/TASK/MODEL.json in it")
    rows = InstalledRows(registry, data_dir)
    for each in paths:
        try:
            yield Verdict(each, _fault(store, each, registry, rows))
        except TilbenchError as error:
            yield Verdict(each, str(error).removeprefix(f"{each}: "))


def _fault(store: RecordStore, path: Path, registry: Registry, rows: InstalledRows) -> str:
    record = store.read(path)
    if record.status != "done" and record.values:
        return f"status {record.status!r} goes with no values"
    if faults := list(stated_faults(store, path, record, registry)):
        return "; ".join(faults)
    if record.source == "reported" or (record.status != "done" and not record.items):
        return ""
    if not record.items:
        return "no digest of items; a measured value without its items cannot be checked"
    file = path.with_suffix(".parquet")
    if not file.is_file():
        return f"its items {file.name} are missing"
    if file_digest(file) != record.items:
        return f"{file.name} is not the file that was recorded: its SHA-256 differs"
    items = store.items(path)
    reading = reading_of([each.values for each in items], [each.texts for each in items])
    if reading != record.reading:
        return f"'reading' is {_shown(record.reading)}, and its items give {_shown(reading)}"
    if faults := [*count_faults(record, items), *rows.faults(record, items)]:
        return "; ".join(faults)
    refusal = "" if record.task.metric == MACRO else _refusal(record, items, registry)
    if record.reason not in (refusal, refusal.removesuffix(LOST_HELP)):
        if record.status == "done":
            return f"has values, although {refusal}"
        return f"the reason is {record.reason!r}, and its items give {refusal or 'none'!r}"
    if record.status != "done":
        return ""
    computed = recomputed(record, items, registry)
    recorded = _recorded(record)
    if set(computed) != set(recorded):
        return f"has the values {', '.join(sorted(recorded))}, and its items give {', '.join(sorted(computed))}"
    return "; ".join(
        f"{name}.{field} is {stated}, and its items give {found}"
        for name, score in recorded.items()
        for field, stated, found in _differences(score, computed[name])
    )


def _refusal(record: Record, items: Sequence[ItemScore], registry: Registry) -> str:
    """Return why the items give no values; empty where they do."""
    scored = reduced(metric_of(record.task, registry), metric_scores(items), items, record.task.truncation)
    return reason_of(scored, record.model)


def _shown(reading: Reading | None) -> str:
    return "nothing" if reading is None else reading.model_dump_json(exclude_defaults=True)


def _recorded(record: Record) -> Mapping[str, Value]:
    """Return the record's values, and those of its clean rows under names of their own."""
    clean = record.contamination.clean if record.contamination else {}
    return {**record.values, **{f"clean {name}": score for name, score in clean.items()}}


def recomputed(record: Record, items: Sequence[ItemScore], registry: Registry) -> Mapping[str, Value]:
    """Return the values that the items of a record give with the installed metric, those of clean rows as "clean NAME".

    Raises DataError where another version of the metric made the record.
    """
    if record.task.metric == MACRO:
        name = record.task.headline
        stated = record.values[name]
        weight = record.task.settings.get("weight", "task")
        return {name: macro_score(items, stated.unit, stated.direction, weight)}
    metric = metric_of(record.task, registry)
    computed = metric.aggregate(metric_scores(items))
    if record.contamination is None:
        return computed
    clean = clean_values(metric, items)
    return {**computed, **{f"clean {name}": value for name, value in clean.items()}}


def _differences(stated: Value, found: Value) -> Iterator[tuple[str, object, object]]:
    for field in [each.name for each in fields(Value)]:
        one, two = getattr(stated, field), getattr(found, field)
        same = math.isclose(one, two, rel_tol=1e-9, abs_tol=1e-12) if _numbers(one, two) else one == two
        if not same:
            yield field, one, two


def _numbers(*values: object) -> bool:
    return all(isinstance(value, int | float) for value in values)

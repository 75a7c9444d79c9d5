"""Records of macros: the mean of one value over several tasks of one suite and model."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from tilbench.config.suite import Macro, Suite
from tilbench.errors import ConfigError
from tilbench.results.macro import macro_items, macro_score
from tilbench.results.record import DatasetUsed, Record, TaskUsed
from tilbench.results.store import RecordStore

__all__ = ["MACRO", "record_macros"]

MACRO = "macro"
"""The `metric` of a macro's record."""


def record_macros(suite: Suite, records: Sequence[Record], store: RecordStore) -> list[Record]:
    """Return a record for each macro of the suite whose tasks were all done, written where it is new."""
    made: list[Record] = []
    for macro in suite.macros:
        parts = [record for name in macro.tasks for record in records if record.task.name == name]
        if len(parts) == len(macro.tasks) and all(part.status == "done" for part in parts):
            made.append(_record(suite, macro, parts, store))
    return made


def _record(suite: Suite, macro: Macro, parts: Sequence[Record], store: RecordStore) -> Record:
    for part in parts:
        if macro.value not in part.values:
            raise ConfigError(
                f"suite {suite.name}, macro {macro.name}: task {part.task.name} has no value {macro.value!r}; it has "
                f"{', '.join(sorted(part.values))}"
            )
    task = _task(suite, macro, parts)
    model = parts[0].model
    items = macro_items(parts, macro.value)
    first = parts[0].values[macro.value]
    values = {macro.value: macro_score(items, first.unit, first.direction, macro.weight)}
    found = store.find(suite.name, macro.name, task.fingerprint, model.name, model.fingerprint)
    if found is not None and found.values == values:
        return found
    record = Record(
        task=task,
        model=model,
        values=values,
        environment=parts[0].environment,
        measured=parts[0].measured.model_copy(update={"wall_seconds": 0.0, "requests": 0, "reused": 0, "tokens": 0}),
    )
    store.write(record, items)
    return record


def _task(suite: Suite, macro: Macro, parts: Sequence[Record]) -> TaskUsed:
    by_rows = ["weighted by rows"] if macro.weight == "row" else []
    text = "\n".join([macro.value, *by_rows, *(part.task.fingerprint for part in parts)])
    fingerprint = hashlib.sha256(text.encode()).hexdigest()
    rows = sum(part.task.dataset.rows for part in parts)
    return TaskUsed(
        suite=suite.name,
        suite_version=suite.version,
        name=macro.name,
        position=len(suite.tasks) + suite.macros.index(macro),
        version=1,
        metric=MACRO,
        metric_version=1,
        headline=macro.value,
        settings={"tasks": macro.tasks, "value": macro.value, "weight": macro.weight},
        seed=suite.seed,
        machine=next((part.task.machine for part in parts if part.task.machine), ""),
        dataset=DatasetUsed(name="+".join(macro.tasks), origin="macro", fingerprint=fingerprint, rows=rows, total=rows),
        fingerprint=fingerprint,
    )

"""The tasks of a macro: their records, and what was read of their texts, which the macro's own record does not say."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from itertools import islice, product

from tilbench.results.reading import joined
from tilbench.results.record import Reading, Record

__all__ = ["MACRO", "macro_fingerprint", "macro_parts", "whole_reading"]

MACRO = "macro"
"""The `metric` of a macro's record."""
_TRIED = 1000
"""Versions of the parts that are tried together; a folder seldom has two versions of one task."""


def macro_fingerprint(value: str, weight: str, tasks: Sequence[str]) -> str:
    """Return the task fingerprint of the mean of a value over tasks of these fingerprints."""
    by_rows = ["weighted by rows"] if weight == "row" else []
    return hashlib.sha256("\n".join([value, *by_rows, *tasks]).encode()).hexdigest()


def macro_parts(macro: Record, records: Iterable[Record]) -> list[Record] | None:
    """Return the records that a macro's record is the mean of, in its order, as far as `records` has them.

    It is empty where a task of the macro has no record, and None where the records are of other versions of its tasks:
    the macro's fingerprint is made of theirs.
    """
    task, names = macro.task, macro.task.settings["tasks"]
    same = [
        record
        for record in records
        if record.status == "done"
        and (record.task.suite, record.source) == (task.suite, macro.source)
        and (record.model.name, record.model.fingerprint) == (macro.model.name, macro.model.fingerprint)
    ]
    choices = [[record for record in same if record.task.name == name] for name in names]
    if not all(choices):
        return []
    value, weight = task.settings["value"], task.settings.get("weight", "task")
    for parts in islice(product(*choices), _TRIED):
        if macro_fingerprint(value, weight, [part.task.fingerprint for part in parts]) == task.fingerprint:
            return list(parts)
    return None


def whole_reading(record: Record, records: Iterable[Record]) -> Reading | None:
    """Return what was read of a record's texts: of a macro, of the texts of its tasks that are among `records`."""
    if record.reading is not None or record.task.metric != MACRO:
        return record.reading
    return joined([part.reading for part in macro_parts(record, records) or []])

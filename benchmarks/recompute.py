"""Rewrites the values of records from their items, after a rule for intervals or standard errors changed.

    python benchmarks/recompute.py leaderboard/records/tiny

Nothing is scored. A value that its items do not give any more, or a record of another version of its metric, is named
and left as it is, and the exit status is 1. Macros are made anew from the records of their tasks.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path

from tilbench.errors import DataError, TilbenchError
from tilbench.evaluation.verify import recomputed
from tilbench.kinds.metric import ItemScore, Value
from tilbench.loader import load_plugins
from tilbench.paths import atomic_path
from tilbench.registry import Registry
from tilbench.results.macro import macro_items
from tilbench.results.macro_parts import MACRO
from tilbench.results.record import Contamination, Record
from tilbench.results.store import RecordStore

_CLEAN = "clean "


def recompute(folder: Path, registry: Registry) -> tuple[int, list[str]]:
    """Rewrite the records of a folder; return how many changed, and why others were left."""
    store, changed, left = RecordStore(folder), 0, []
    done = [(path, record) for path, record in store.records() if record.status == "done" and record.items]
    done.sort(key=lambda entry: entry[1].task.metric == MACRO)  # macros last: they are made of the others
    for path, record in done:
        try:
            changed += _rewrite(store, path, record, registry)
        except TilbenchError as error:
            left.append(f"{path}: {error}")
    return changed, left


def _rewrite(store: RecordStore, path: Path, record: Record, registry: Registry) -> bool:
    """Write the record anew where its values change; say whether they did."""
    macro = record.task.metric == MACRO
    items = _parts(store, record) if macro else store.items(path)
    found = recomputed(record, items, registry)
    values = {name: score for name, score in found.items() if not name.startswith(_CLEAN)}
    _check(record.values, values)
    contamination = record.contamination
    if contamination is not None:
        clean = {name.removeprefix(_CLEAN): score for name, score in found.items() if name.startswith(_CLEAN)}
        _check(contamination.clean, clean)
        contamination = Contamination(**{**dict(contamination), "clean": clean})
    new = Record(**{**dict(record), "values": values, "contamination": contamination})
    if macro:
        store.write(new, items)
    elif new != record:
        with atomic_path(path) as aside:
            aside.write_text(new.model_dump_json(indent=1) + "\n", encoding="utf-8")
    return new != record


def _parts(store: RecordStore, record: Record) -> list[ItemScore]:
    """Return the parts of a macro, from the newest records of its tasks. Raises DataError where one is missing."""
    tasks: Sequence[str] = record.task.settings["tasks"]
    found: dict[str, Record] = {}
    for _, each in store.records():
        same = (each.task.suite, each.model.name, each.model.fingerprint) == (
            record.task.suite, record.model.name, record.model.fingerprint,
        )  # fmt: skip
        if same and each.status == "done" and each.task.name in tasks:
            known = found.get(each.task.name)
            if known is None or known.measured.finished < each.measured.finished:
                found[each.task.name] = each
    if missing := [name for name in tasks if name not in found]:
        raise DataError(f"the record of its task {missing[0]} is not in the folder")
    return macro_items([found[name] for name in tasks], record.task.headline)


def _check(stated: dict[str, Value], found: dict[str, Value]) -> None:
    """Raise DataError where a value itself would change."""
    for name in stated.keys() | found.keys():
        old, new = stated.get(name), found.get(name)
        if old is None or new is None:
            raise DataError(f"the value {name} is {'new' if old is None else 'gone'}; score it again")
        if not (math.isclose(old.value, new.value, rel_tol=1e-9, abs_tol=1e-12) or old.value == new.value):
            raise DataError(f"{name} is {old.value}, and its items give {new.value}; score it again")


def main() -> int:
    """Rewrite the folders that are named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+")
    registry, status = load_plugins().registry, 0
    for folder in parser.parse_args().folders:
        changed, left = recompute(folder, registry)
        sys.stdout.write(f"{folder}: {changed} records rewritten, {len(left)} left as they are\n")
        for line in left:
            sys.stdout.write(f"  {line}\n")
        status |= bool(left)
    return status


if __name__ == "__main__":
    sys.exit(main())

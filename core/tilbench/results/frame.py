"""Records as a pandas DataFrame: one row per model, task and value."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING

from tilbench.results.macro_parts import whole_reading
from tilbench.results.record import Reading, Record

if TYPE_CHECKING:
    from pathlib import Path

    from pandas import DataFrame

__all__ = ["records_frame"]

_TYPES = {
    "headline": "bool",
    "n": "Int64",
    "step": "Int64",
    "shots": "Int64",
    **dict.fromkeys(("value", "low", "high", "stderr", "chance", "lost_share", "lost_context_share"), "float64"),
    **dict.fromkeys(("cut_rows", "dropped_rows", "short_rows", "unanswered_rows"), "Int64"),
}
_COLUMNS = (
    *("suite", "task", "language", "model", "step", "parameters"),
    *("quantity", "headline", "value", "low", "high", "stderr", "n", "unit", "direction", "chance"),
    *("status", "reason", "source", "metric", "dataset", "shots"),
    *("lost_share", "lost_context_share", "cut_rows", "dropped_rows", "short_rows", "unanswered_rows"),
    *("task_fingerprint", "model_fingerprint", "path"),
)


def records_frame(entries: Iterable[tuple[Path, Record]]) -> DataFrame:
    """Return a row per model, task and value; docs/python.md explains the columns.

    Tasks stand in the order of their suite, and the models of a task in the order of the entries. A task that was not
    done has one row, without a value and with the reason.
    """
    import pandas

    ordered = sorted(entries, key=lambda entry: (entry[1].task.suite, entry[1].task.position))
    records = [record for _, record in ordered]
    rows = [row for path, record in ordered for row in _rows(path, record, whole_reading(record, records))]
    return pandas.DataFrame(rows, columns=list(_COLUMNS)).astype(_TYPES)


def _rows(path: Path, record: Record, reading: Reading | None) -> Iterator[dict[str, object]]:
    task, model = record.task, record.model
    same: dict[str, object] = {
        "suite": task.suite,
        "task": task.name,
        "language": task.dataset.language,
        "model": model.name,
        "step": model.step,
        "parameters": model.parameters,
        "status": record.status,
        "reason": record.reason,
        "source": record.source,
        "metric": task.metric,
        "dataset": task.dataset.name,
        "shots": task.shots,
        "task_fingerprint": task.fingerprint,
        "model_fingerprint": model.fingerprint,
        "path": str(path),
    }
    if reading is not None:
        same |= {
            "lost_share": reading.lost_share,
            "lost_context_share": reading.lost_context_share,
            "cut_rows": reading.cut_rows,
            "dropped_rows": reading.dropped_rows,
            "short_rows": reading.short_rows,
            "unanswered_rows": sum(reading.unanswered.values()),
        }
    for name, score in record.values.items():
        values = {field: number for field, number in asdict(score).items() if field != "of"}
        yield {**same, **values, "quantity": name, "headline": name == task.headline}
    if not record.values:
        yield {**same, "quantity": task.headline, "headline": True, "unit": "", "direction": ""}

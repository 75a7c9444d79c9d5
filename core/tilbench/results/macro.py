"""The plain mean of one value over several tasks, with the interval that independent tasks give it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from tilbench.results.record import Record, Score
from tilbench.results.store import Items

__all__ = ["macro_items", "macro_score"]

_Z = 1.959963984540054  # 97.5% point of the normal distribution


def macro_items(records: Sequence[Record], value: str) -> Items:
    """Return the parts of a macro: of each task its value, and its standard error where it has one."""
    return [(record.task.name, record.task.name, _part(record.values[value])) for record in records]


def _part(score: Score) -> Mapping[str, float]:
    spread = {} if score.stderr is None else {"stderr": score.stderr}
    return {"value": score.value, "n": float(score.n), **spread}


def macro_score(items: Items, unit: str, direction: str) -> Score:
    """Return the mean of the parts' values.

    The standard error is √Σ se² / k, for tasks whose rows were drawn independently; there is none
    where a part has none.
    """
    parts = [values for _, _, values in items]
    count = len(parts)
    mean = math.fsum(part["value"] for part in parts) / count
    errors = [part["stderr"] for part in parts if "stderr" in part]
    stderr = math.sqrt(math.fsum(error**2 for error in errors)) / count if len(errors) == count else None
    return Score.model_validate(
        {
            "value": mean,
            "n": int(sum(part["n"] for part in parts)),
            "unit": unit,
            "direction": direction,
            "stderr": stderr,
            "low": None if stderr is None else mean - _Z * stderr,
            "high": None if stderr is None else mean + _Z * stderr,
        }
    )

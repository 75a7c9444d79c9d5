"""The mean of one value over several tasks, with the interval that independent tasks give it."""

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


def macro_score(items: Items, unit: str, direction: str, weight: str = "task") -> Score:
    """Return the mean of the parts' values: every task counts once, or ("row") as often as it has rows.

    The standard error is √Σ (w se)² / Σ w, for tasks whose rows were drawn independently; there is none
    where a part has none.
    """
    parts = [values for _, _, values in items]
    weights = [part["n"] if weight == "row" else 1.0 for part in parts]
    total = math.fsum(weights)
    mean = math.fsum(part["value"] * each for part, each in zip(parts, weights, strict=True)) / total
    errors = [part["stderr"] * each for part, each in zip(parts, weights, strict=True) if "stderr" in part]
    stderr = math.sqrt(math.fsum(error**2 for error in errors)) / total if len(errors) == len(parts) else None
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

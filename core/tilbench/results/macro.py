"""The mean of one value over several tasks, with the interval that independent tasks give it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace

from scipy.special import stdtridf

from tilbench.kinds.metric import Direction
from tilbench.results.record import Record, Score
from tilbench.results.statistics import LEVEL, estimate, satterthwaite, student_interval, student_quantile
from tilbench.results.store import Items

__all__ = ["macro_items", "macro_score"]


def macro_items(records: Sequence[Record], value: str) -> Items:
    """Return the parts of a macro: of each task its value, its rows, and its error and interval where it has them."""
    return [(record.task.name, record.task.name, _part(record.values[value])) for record in records]


def _part(score: Score) -> Mapping[str, float]:
    known = {"stderr": score.stderr, "low": score.low, "high": score.high}
    spread = {name: number for name, number in known.items() if number is not None}
    return {"value": score.value, "n": float(score.n), **spread}


def macro_score(items: Items, unit: str, direction: Direction, weight: str = "task") -> Score:
    """Return the mean of the parts' values: every task counts once, or ("row") as often as it has rows.

    The standard error is √Σ (w se)² / Σ w, for tasks whose rows were drawn independently; there is none where a part
    has none. The interval is Student's, with Satterthwaite's degrees of freedom of those that the parts' own intervals
    show.
    """
    parts = [values for _, _, values in items]
    weights = [part["n"] if weight == "row" else 1.0 for part in parts]
    total = math.fsum(weights)
    mean = math.fsum(part["value"] * each for part, each in zip(parts, weights, strict=True)) / total
    interval = None
    if all("stderr" in part for part in parts):
        shares = [each / total for each in weights]
        errors, dfs = zip(*map(_error, parts), strict=True)
        weighted = [error * share for error, share in zip(errors, shares, strict=True)]
        found = student_interval(mean, math.hypot(*weighted), satterthwaite(weighted, dfs))
        stderr = math.hypot(*(part["stderr"] * share for part, share in zip(parts, shares, strict=True)))
        interval = replace(found, stderr=stderr)
    n = int(sum(part["n"] for part in parts))
    return Score.model_validate(asdict(estimate(mean, interval, n, unit, direction)))


def _error(part: Mapping[str, float]) -> tuple[float, float]:
    """Return the standard error of a part and its degrees of freedom, for which its interval is t(df) errors wide.

    A share of 0 or 1 has no error of its own, but its interval says how far off it may be.
    """
    stderr = part["stderr"]
    if "low" not in part or "high" not in part:
        return stderr, math.inf
    half, normal = max(part["high"] - part["value"], part["value"] - part["low"]), student_quantile(math.inf)
    if stderr == 0:
        return half / normal, math.inf
    if half <= normal * stderr:
        return stderr, math.inf
    return stderr, max(1.0, float(stdtridf(0.5 + LEVEL / 2, half / stderr)))

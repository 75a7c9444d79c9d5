"""The mean of one value over several tasks, with the interval that independent tasks give it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict

from scipy.special import stdtridf

from tilbench.kinds.metric import Direction
from tilbench.results.record import Record, Score
from tilbench.results.statistics import LEVEL, Interval, Spread, estimate, student_quantile, summed
from tilbench.results.store import Items

__all__ = ["macro_items", "macro_score"]


def macro_items(records: Sequence[Record], value: str) -> Items:
    """Return the parts of a macro: of each task its value and rows; its error, interval and chance where it has them.

    The cluster of a part is its dataset: tasks on the same rows are not independent.
    """
    return [(record.task.name, record.task.dataset.fingerprint, _part(record.values[value])) for record in records]


def _part(score: Score) -> Mapping[str, float]:
    known = {"stderr": score.stderr, "low": score.low, "high": score.high, "chance": score.chance}
    spread = {name: number for name, number in known.items() if number is not None}
    return {"value": score.value, "n": float(score.n), **spread}


def macro_score(items: Items, unit: str, direction: Direction, weight: str = "task") -> Score:
    """Return the mean of the parts' values: every task counts once, or ("row") as often as it has rows.

    The standard error is √Σ (w se)² / Σ w for tasks on different rows. Those on the same rows (`cluster`) may err
    alike, so theirs are added as they are: Σ w se. There is none where a part has none. The interval is Student's, with
    Satterthwaite's degrees of freedom of those that the parts' own intervals show. Rows count once, and chance is the
    mean of the parts'.
    """
    parts = [values for _, _, values in items]
    weights = [part["n"] if weight == "row" else 1.0 for part in parts]
    total = math.fsum(weights)
    mean = math.fsum(part["value"] * each for part, each in zip(parts, weights, strict=True)) / total
    interval = None
    if all("stderr" in part for part in parts):
        shares = [each / total for each in weights]
        spreads, errors = dict[str, Spread](), dict[str, float]()
        for (_, rows, part), share in zip(items, shares, strict=True):
            spreads[rows] = _alike(spreads.get(rows), _spread(part, share))
            errors[rows] = errors.get(rows, 0.0) + part["stderr"] * share
        found = summed(list(spreads.values())).interval(mean)
        interval = Interval(found.low, found.high, math.hypot(*errors.values()))
    rows_of: dict[str, float] = {}
    for _, rows, part in items:
        rows_of[rows] = max(rows_of.get(rows, 0.0), part["n"])
    chance = None
    if all("chance" in part for part in parts):
        chance = math.fsum(part["chance"] * each for part, each in zip(parts, weights, strict=True)) / total
    n = int(sum(rows_of.values()))
    return Score.model_validate(asdict(estimate(mean, interval, n, unit, direction, chance=chance)))


def _alike(one: Spread | None, other: Spread) -> Spread:
    """Return the spread of the sum of two estimates that err alike, as those on the same rows may."""
    return other if one is None else Spread(one.stderr + other.stderr, min(one.df, other.df))


def _spread(part: Mapping[str, float], share: float) -> Spread:
    """Return the spread of a part, `share` of the mean, with the degrees of freedom that its interval shows.

    The narrower side of an interval is t(df) errors wide, unless it ends where the value cannot go on. A share of 0 or
    1 has no error of its own, but its interval says how far off it may be.
    """
    stderr, normal = part["stderr"], student_quantile(math.inf)
    if "low" not in part or "high" not in part:
        return Spread(stderr * share, math.inf)
    sides = sorted([part["high"] - part["value"], part["value"] - part["low"]])
    if stderr == 0:
        return Spread(sides[1] / normal * share, math.inf)
    widths = [side / stderr for side in sides if side > normal * stderr]
    df = max(1.0, float(stdtridf(0.5 + LEVEL / 2, widths[0]))) if widths else math.inf
    return Spread(stderr * share, df)

"""Pearson's χ² tests, with their p from the regularised incomplete gamma function."""

from __future__ import annotations

import math
from collections.abc import Sequence

__all__ = ["format_p", "goodness_of_fit", "independence", "normal_tail", "survival"]

_TINY = 1e-300
_EXACT = 1e-15


def survival(statistic: float, freedom: int) -> float:
    """Return P(χ² ≥ `statistic`) for `freedom` degrees: Q(freedom / 2, statistic / 2).

    By its series below a + 1, by Lentz's continued fraction above (W. Press et al., "Numerical Recipes", 6.2).
    """
    a, x = freedom / 2, statistic / 2
    if x <= 0:
        return 1.0
    scale = math.exp(-x + a * math.log(x) - math.lgamma(a))
    if x < a + 1:
        term = total = 1 / a
        n = a
        while term > total * _EXACT:
            n += 1
            term *= x / n
            total += term
        return max(0.0, 1 - total * scale)
    b = x + 1 - a
    c, d = 1 / _TINY, 1 / b
    fraction = d
    step = 0
    while True:
        step += 1
        factor = -step * (step - a)
        b += 2
        d = 1 / (factor * d + b or _TINY)
        c = b + factor / c or _TINY
        fraction *= d * c
        if abs(d * c - 1) < _EXACT:
            return scale * fraction


def goodness_of_fit(observed: Sequence[float], expected: Sequence[float]) -> tuple[float, float]:
    """Return χ² and p of counts against expected counts of the same sum.

    From the last on, cells are put together until 5 are expected in each (W. Cochran, "Some methods for strengthening
    the common χ² tests", 1954). p is 1 where fewer than two are left.
    """
    cells: list[tuple[float, float]] = []
    for seen, wanted in zip(reversed(observed), reversed(expected), strict=True):
        if cells and cells[-1][1] < 5:
            cells[-1] = (cells[-1][0] + seen, cells[-1][1] + wanted)
        else:
            cells.append((seen, wanted))
    if len(cells) > 1 and cells[-1][1] < 5:
        last = cells.pop()
        cells[-1] = (cells[-1][0] + last[0], cells[-1][1] + last[1])
    if len(cells) < 2:
        return 0.0, 1.0
    statistic = math.fsum((seen - wanted) ** 2 / wanted for seen, wanted in cells)
    return statistic, survival(statistic, len(cells) - 1)


def independence(table: Sequence[Sequence[int]]) -> tuple[float, float]:
    """Return χ² and p of a table of counts, [rows][columns], against independence; empty columns are left out."""
    columns = [column for column in zip(*table, strict=True) if sum(column)]
    rows = [sum(row) for row in zip(*columns, strict=True)]
    total = sum(rows)
    if len(columns) < 2 or sum(map(bool, rows)) < 2:
        return 0.0, 1.0
    statistic = math.fsum(
        (count - row * sum(column) / total) ** 2 / (row * sum(column) / total)
        for column in columns
        for count, row in zip(column, rows, strict=True)
        if row
    )
    return statistic, survival(statistic, (sum(map(bool, rows)) - 1) * (len(columns) - 1))


def normal_tail(z: float) -> float:
    """Return P(|Z| ≥ |z|) of the standard normal distribution."""
    return math.erfc(abs(z) / math.sqrt(2))


def format_p(p: float) -> str:
    """Return `p = 0.012` or `p < 0.001`."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"

"""Pearson's χ² tests. scipy.special gives their p: importing scipy.stats would take longer than the tests do."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

__all__ = ["format_p", "goodness_of_fit", "independence", "normal_tail", "survival"]


def survival(statistic: float, freedom: int) -> float:
    """Return P(χ² ≥ `statistic`) for `freedom` degrees."""
    from scipy.special import chdtrc

    return float(chdtrc(freedom, statistic))


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
    counts, wants = np.array(cells).T
    statistic = float(((counts - wants) ** 2 / wants).sum())
    return statistic, survival(statistic, len(cells) - 1)


def independence(table: Sequence[Sequence[int]]) -> tuple[float, float]:
    """Return χ² and p of a table of counts, [rows][columns], against independence.

    Empty rows and columns are left out. p is 1 where fewer than two rows or columns are left.
    """
    counts = np.array(table, dtype=float).reshape(len(table), -1)
    counts = counts[counts.any(axis=1)][:, counts.any(axis=0)]
    rows, columns = counts.shape
    if rows < 2 or columns < 2:
        return 0.0, 1.0
    expected = np.outer(counts.sum(axis=1), counts.sum(axis=0)) / counts.sum()
    statistic = float(((counts - expected) ** 2 / expected).sum())
    return statistic, survival(statistic, (rows - 1) * (columns - 1))


def normal_tail(z: float) -> float:
    """Return P(|Z| ≥ |z|) of the standard normal distribution."""
    from scipy.special import ndtr

    return 2 * float(ndtr(-abs(z)))


def format_p(p: float) -> str:
    """Return `p = 0.012` or `p < 0.001`."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"

"""Two models on the same rows: the difference, its 95% interval and its p, whatever the order of rows.

The interval and p come from one test, so the interval leaves 0 out exactly where p < 0.05. `docs/statistics.md` has
the formulas and how often the test is wrong.

Sources: `tilbench.results.statistics`, the jackknife with Student's t · Q. McNemar, "Note on the sampling error of the
difference between correlated proportions" (1947), in its exact, binomial form · D. Bonett and R. Price, "Adjusted Wald
confidence interval for a difference of binomial proportions based on paired data" (2012), one more row for each model ·
S. Holm, "A simple sequentially rejective multiple test procedure" (1979) · F. E. Satterthwaite, "An approximate
distribution of estimates of variance components" (1946), degrees of freedom of several tasks · E. Miller, "Adding Error
Bars to Evals" (2024), paired differences and the difference that n rows can detect.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from tilbench.results.statistics import (
    Floats,
    Interval,
    Spread,
    cluster_sums,
    degrees_of_freedom,
    effective_number,
    jackknife,
    leave_one_out,
    student_quantile,
    summed,
)
from tilbench.results.wording import FEWEST

__all__ = ["ALPHA", "POWER", "Paired", "Side", "detectable", "holm", "mcnemar", "pair", "pool", "smallest_p"]

ALPHA = 0.05
"""A p below it is called a difference."""
POWER = 0.8


@dataclass(frozen=True, slots=True)
class Side:
    """One model's numbers, row by row: its score is Σ `above` / Σ `below`."""

    above: Sequence[float]
    below: Sequence[float]

    @property
    def ratio(self) -> float:
        """The score; NaN where there is nothing to divide by."""
        below = math.fsum(self.below)
        return math.fsum(self.above) / below if below else math.nan


@dataclass(frozen=True, slots=True)
class Paired:
    """A difference a − b between two models on the same rows.

    interval: 95%, with the standard error. p: two-sided, of no difference. test: where p is from. clusters: the
    independent rows. detectable: the difference that as many rows, as discordant, would show at p < 0.05 in 80% of
    tries. only_a, only_b: rows right in one model only, where rows are right or wrong. identical: row by row. changes:
    of the difference as each cluster of `names` is left out. df: degrees of freedom of the standard error.
    effective: as how many clusters of equal size they count where rows weigh by their length; infinite in plain means;
    of several tasks the least, since all their rows together say less than they are.
    """

    difference: float
    interval: Interval
    p: float
    test: str
    n: int
    clusters: int
    detectable: float
    identical: bool = False
    only_a: int | None = None
    only_b: int | None = None
    changes: Floats = field(default_factory=lambda: np.zeros(0), repr=False, compare=False)
    df: float = math.inf
    names: tuple[str, ...] = field(default=(), repr=False)
    effective: float = math.inf

    @property
    def too_few(self) -> bool:
        """Whether so few clusters cannot show any difference, however large."""
        return self.clusters < FEWEST


def mcnemar(only_a: int, only_b: int) -> float:
    """Return the exact two-sided p of McNemar's test: twice the smaller tail of a fair binomial, at most 1.

    >>> mcnemar(1, 7), mcnemar(4, 4), mcnemar(0, 0)
    (0.0703125, 1.0, 1.0)
    """
    n, term, tail = only_a + only_b, 1, 0
    for successes in range(min(only_a, only_b) + 1):
        tail += term
        term = term * (n - successes) // (successes + 1)
    return min(1.0, 2 * tail / (1 << n))


def holm(ps: Sequence[float]) -> list[float]:
    """Return p values adjusted for their number, in their order: Holm's max over smaller ones of (m − rank) p.

    >>> holm([0.04, 0.01, 0.03])
    [0.06, 0.03, 0.06]
    """
    adjusted, largest = [0.0] * len(ps), 0.0
    for rank, place in enumerate(sorted(range(len(ps)), key=lambda place: ps[place])):
        largest = max(largest, min(1.0, (len(ps) - rank) * ps[place]))
        adjusted[place] = largest
    return adjusted


def smallest_p(clusters: int) -> float:
    """Return the least p that `clusters` pairs can give without assuming a distribution: all of one sign, 2 / 2ᵏ.

    No p is called smaller: in the far tail Student's t would trust a few rows too much.
    """
    return 2.0 ** (1 - clusters)


def detectable(stderr: float, df: float = math.inf) -> float:
    """Return the difference found at p < 0.05, two-sided, with 80% power, given its standard error (Miller 2024).

    >>> round(detectable(1.0), 3), round(detectable(1.0, 9), 3)
    (2.802, 3.146)
    """
    return (student_quantile(df) + student_quantile(df, POWER)) * stderr


def pair(a: Side, b: Side, clusters: Sequence[str]) -> Paired | None:
    """Compare two models on the same rows; None where one cluster or a number that is not finite says nothing.

    Clusters are the independent observations. p is that of Student's t; or McNemar's, where every row is right or wrong
    and a cluster of its own, since McNemar takes rows as independent.
    """
    names = tuple(sorted(set(clusters)))
    n, groups = len(clusters), len(names)
    right_or_wrong = set(a.above) | set(b.above) <= {0.0, 1.0} and set(a.below) | set(b.below) == {1.0}
    only_a = sum(x > y for x, y in zip(a.above, b.above, strict=True)) if right_or_wrong else None
    only_b = sum(x < y for x, y in zip(a.above, b.above, strict=True)) if right_or_wrong else None
    if n and (list(a.above), list(a.below)) == (list(b.above), list(b.below)) and math.isfinite(a.ratio):
        nothing = np.zeros(groups)
        return Paired(
            0, Interval(0, 0, 0), 1.0, "identical", n, groups, 0.0, True, only_a, only_b, nothing, names=names
        )
    of_a, of_b = (cluster_sums([side.above, side.below], clusters) for side in (a, b))
    if of_a is None or of_b is None:
        return None
    first, second = leave_one_out(of_a), leave_one_out(of_b)
    if first is None or second is None:
        return None
    changes = first - second
    weights = of_a[:, 1] / of_a[:, 1].sum() + of_b[:, 1] / of_b[:, 1].sum()
    df = degrees_of_freedom(weights)
    effective = math.inf if set(a.below) | set(b.below) == {1.0} else effective_number(weights)
    spread, difference = jackknife(changes, df), a.ratio - b.ratio
    interval, p, test, size = spread.interval(difference), spread.p(difference), "t", spread.stderr
    if right_or_wrong or _seldom_differ(a, b):
        interval, p = _with_two_rows(of_a, of_b, spread.stderr)
        if only_a is not None and only_b is not None and groups == n:
            p, test, size, df = mcnemar(only_a, only_b), "McNemar", math.sqrt(only_a + only_b) / n, math.inf
    p = max(p, smallest_p(groups))
    found = detectable(size, df)
    interval = _agreeing(interval, p)
    return Paired(difference, interval, p, test, n, groups, found, False, only_a, only_b, changes, df, names, effective)


def _seldom_differ(a: Side, b: Side) -> bool:
    """Say whether scores from 0 to 1 are equal on half of the rows or more, as right and wrong with a few ties are."""
    bounded = set(a.below) | set(b.below) == {1.0} and all(0 <= each <= 1 for each in (*a.above, *b.above))
    return bounded and 2 * sum(x != y for x, y in zip(a.above, b.above, strict=True)) <= len(a.above)


def _with_two_rows(of_a: Floats, of_b: Floats, stderr: float) -> tuple[Interval, float]:
    """Return interval and p of a difference of shares, with one more row that each model alone has right.

    Without them, rows on which the models rarely differ would show no spread at all.
    """
    differences = np.stack([of_a[:, 0] - of_b[:, 0], of_a[:, 1]], axis=1)
    more = np.concatenate([differences, [[1.0, 1.0], [-1.0, 1.0]]])
    changes = leave_one_out(more)
    assert changes is not None
    centre = float(more[:, 0].sum() / more[:, 1].sum())
    spread = replace(jackknife(changes, degrees_of_freedom(more[:, 1])), skewness=0.0)  # no tail beyond −1 and 1
    found = spread.interval(centre).within(-1.0, 1.0)
    return Interval(found.low, found.high, stderr), spread.p(centre)


def _agreeing(interval: Interval, p: float) -> Interval:
    """Return the interval, stretched to 0 where p does not reject it: McNemar's, or the smallest of few rows."""
    if p < ALPHA:
        return interval
    return Interval(min(interval.low, 0.0), max(interval.high, 0.0), interval.stderr)


def pool(tasks: Sequence[tuple[str, Paired]]) -> Paired:
    """Return the plain mean of the differences of several tasks, each given with the name of its rows.

    The tasks are fixed, so the verdict is about these tasks. Of tasks on the same rows the changes are added cluster by
    cluster, and so stay correlated; the errors of different rows are independent, and their degrees of freedom are
    Satterthwaite's.
    """
    parts = [paired for _, paired in tasks]
    same: dict[str, list[Paired]] = {}
    for name, paired in tasks:
        same.setdefault(name, []).append(paired)
    n = sum(max(each.n for each in group) for group in same.values())
    groups = sum(len({name for each in group for name in each.names}) for group in same.values())
    if all(part.identical for part in parts):
        return Paired(0.0, Interval(0.0, 0.0, 0.0), 1.0, "identical", n, groups, 0.0, True)
    difference = math.fsum(part.difference for part in parts) / len(parts)
    spread = summed([_together(group, len(parts)) for group in same.values()])
    p = max(spread.p(difference), smallest_p(groups))
    interval, found = _agreeing(spread.interval(difference), p), detectable(spread.stderr, spread.df)
    effective = min(part.effective for part in parts)
    return Paired(difference, interval, p, "t", n, groups, found, df=spread.df, effective=effective)


def _together(tasks: Sequence[Paired], count: int) -> Spread:
    """Return the spread of the sum of differences on the same rows, as a part of the mean of `count`."""
    names = sorted({name for task in tasks for name in task.names})
    changes = np.zeros(len(names))
    for task in tasks:  # one that lacks a cluster does not change without it
        changes[np.searchsorted(names, task.names)] += task.changes / count
    return jackknife(changes, max(1.0, min(len(names) - 1, *(task.df for task in tasks))))

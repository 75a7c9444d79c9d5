"""Two models on the same rows: the difference, its 95% interval and its p, whatever the order of rows.

Sources: Q. McNemar, "Note on the sampling error of the difference between correlated proportions" (1947), in its
exact, binomial form · S. Holm, "A simple sequentially rejective multiple test procedure" (1979) · P. Koehn,
"Statistical significance tests for machine translation evaluation" (2004), the paired bootstrap of a corpus score ·
B. Efron, "Bootstrap methods" (1979) · A. C. Davison and D. V. Hinkley, "Bootstrap methods and their application"
(1997), p as (1 + count) / (1 + draws), and stratified resampling · E. Miller, "Adding Error Bars to Evals" (2024),
paired differences and the difference that n rows can detect.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import NormalDist

import numpy as np

from tilbench.results.statistics import LEVEL, Floats, Interval, bootstrap_sums, percentile_interval

__all__ = [
    "ALPHA",
    "POWER",
    "RESAMPLES",
    "Paired",
    "Side",
    "detectable",
    "holm",
    "mcnemar",
    "pair",
    "pool",
    "smallest_p",
]

ALPHA = 0.05
"""A p below it is called a difference."""
RESAMPLES = 9999
POWER = 0.8
_NORMAL = NormalDist()


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

    interval: 95%, with the standard error. p: two-sided, of no difference. test: where p is from. clusters: what was
    resampled. detectable: the difference that as many rows, as discordant, would show at p < 0.05 in 80% of tries.
    only_a, only_b: rows right in one model only, where rows are right or wrong. identical: row by row.
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
    draws: Floats = field(default_factory=lambda: np.zeros(RESAMPLES), repr=False, compare=False)


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

    The bootstrap alone would call five documents of one sign certain.
    """
    return 2.0 ** (1 - clusters)


def detectable(stderr: float) -> float:
    """Return the difference found at p < 0.05, two-sided, with 80% power, given its standard error (Miller 2024).

    >>> round(detectable(1.0), 3)
    2.802
    """
    return (_NORMAL.inv_cdf(0.5 + LEVEL / 2) + _NORMAL.inv_cdf(POWER)) * stderr


def pair(a: Side, b: Side, clusters: Sequence[str], *, seed: int) -> Paired | None:
    """Compare two models on the same rows; None where one cluster or a number that is not finite says nothing.

    Whole clusters are resampled, the same ones for both models. Where every row is right or wrong and a cluster of
    its own, p is McNemar's; else the bootstrap's, since McNemar takes rows as independent.
    """
    n, groups = len(clusters), len(set(clusters))
    first, second = (bootstrap_sums([s.above, s.below], clusters, seed=seed, resamples=RESAMPLES) for s in (a, b))
    right_or_wrong = set(a.above) | set(b.above) <= {0.0, 1.0} and set(a.below) | set(b.below) == {1.0}
    only_a = sum(x > y for x, y in zip(a.above, b.above, strict=True)) if right_or_wrong else None
    only_b = sum(x < y for x, y in zip(a.above, b.above, strict=True)) if right_or_wrong else None
    if n and (list(a.above), list(a.below)) == (list(b.above), list(b.below)) and math.isfinite(a.ratio):
        return Paired(0.0, Interval(0.0, 0.0, 0.0), 1.0, "identical", n, groups, 0.0, True, only_a, only_b)
    if first is None or second is None:
        return None
    with np.errstate(divide="ignore", invalid="ignore"):
        draws = first[:, 0] / first[:, 1] - second[:, 0] / second[:, 1]
    interval = percentile_interval(draws)
    if interval is None or not math.isfinite(a.ratio - b.ratio):
        return None
    p, test, stderr = _bootstrap_p(draws, groups), "bootstrap", interval.stderr
    if only_a is not None and only_b is not None and groups == n:
        p, test, stderr = mcnemar(only_a, only_b), "McNemar", math.sqrt(only_a + only_b) / n
    size = detectable(stderr)
    return Paired(a.ratio - b.ratio, interval, p, test, n, groups, size, False, only_a, only_b, draws)


def pool(tasks: Sequence[tuple[str, Paired]]) -> Paired:
    """Return the plain mean of the differences of several tasks, each given with the name of its rows.

    A stratified paired bootstrap (Davison and Hinkley 1997): rows are resampled within each task, and the tasks are
    fixed, so the verdict is about these tasks. Tasks on the same rows were drawn from one seed and so stay correlated.
    """
    parts = [paired for _, paired in tasks]
    datasets: Mapping[str, Paired] = dict(tasks)
    n, groups = sum(part.n for part in datasets.values()), sum(part.clusters for part in datasets.values())
    if all(part.identical for part in parts):
        return Paired(0.0, Interval(0.0, 0.0, 0.0), 1.0, "identical", n, groups, 0.0, True)
    draws = np.mean([part.draws for part in parts], axis=0)
    difference = math.fsum(part.difference for part in parts) / len(parts)
    interval = percentile_interval(draws) or Interval(math.nan, math.nan, math.nan)
    p = _bootstrap_p(draws, groups)
    return Paired(difference, interval, p, "bootstrap", n, groups, detectable(interval.stderr), draws=draws)


def _bootstrap_p(draws: Floats, clusters: int) -> float:
    """Return twice the smaller share of draws on either side of 0, no less than the number of clusters allows."""
    finite = draws[np.isfinite(draws)]
    tail = min(int((finite <= 0).sum()), int((finite >= 0).sum()))
    return max(min(1.0, 2 * (tail + 1) / (len(finite) + 1)), smallest_p(clusters))

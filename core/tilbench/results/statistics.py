"""Standard errors and 95% intervals that hold for few rows, whatever the order of the rows.

A *cluster* names the unit that was sampled: the passage of a question, or the row's own id where rows are
sampled one by one. Rows of one cluster are not independent, so a cluster counts as one observation.

One method serves every ratio Σ above / Σ below, and so every mean: the standard error is the jackknife's, and the
interval is Student's, with degrees of freedom that shrink as few clusters hold most of the denominator, and reaches
farther on the side to which the rows are skewed. A mean of symmetric rows without clusters gets the textbook interval
x̄ ± t(n − 1) · s/√n. A share of rows has Wilson's interval with the same t. `docs/statistics.md` has the formulas and
the measured coverage.

Sources: J. W. Tukey, "Bias and confidence in not-quite large samples" (1958), the jackknife · R. Bell and
D. McCaffrey, "Bias reduction in standard errors for linear regression with multi-stage samples" (2002), degrees of
freedom for unequal clusters · J. MacKinnon, M. Nielsen and M. Webb, "Fast and reliable jackknife and bootstrap methods
for cluster-robust inference" (2023) · N. J. Johnson, "Modified t tests and confidence intervals for asymmetrical
populations" (1978) · F. E. Satterthwaite, "An approximate distribution of estimates of variance components" (1946) ·
E. B. Wilson, "Probable inference, the law of succession, and statistical inference" (1927) · C. Franco et al.,
"Comparative study of confidence intervals for proportions in complex surveys" (2019), Wilson's interval at an effective
sample size, with Student's t.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tilbench.kinds.metric import Direction, ItemScore, Value

__all__ = [
    "LEVEL",
    "Floats",
    "Interval",
    "Ratio",
    "Spread",
    "cluster_sums",
    "degrees_of_freedom",
    "effective_number",
    "estimate",
    "jackknife",
    "leave_one_out",
    "mean_interval",
    "proportion_interval",
    "ratio_interval",
    "ratio_values",
    "statistic_interval",
    "student_quantile",
    "summed",
    "wilson_interval",
]

LEVEL = 0.95

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Interval:
    """A 95% interval and the standard error of the estimate inside it."""

    low: float
    high: float
    stderr: float

    def within(self, least: float, most: float) -> Interval:
        """Return the part of it between the bounds of what is estimated."""
        return Interval(max(self.low, least), min(self.high, most), self.stderr)


@dataclass(frozen=True, slots=True)
class Ratio:
    """A corpus ratio: Σ `above` / Σ `below` of the values of item scores, at most `most`."""

    above: str
    below: str
    unit: str
    direction: Direction
    most: float = math.inf


def student_quantile(df: float, probability: float = 0.5 + LEVEL / 2) -> float:
    """Return the quantile of Student's t with `df` degrees of freedom; infinitely many give the normal one.

    >>> round(student_quantile(4), 3), round(student_quantile(math.inf), 3)
    (2.776, 1.96)
    """
    from scipy.special import stdtrit

    return float(stdtrit(min(df, 1e12), probability))


@dataclass(frozen=True, slots=True)
class Spread:
    """How far an estimate may be off: its standard error, that error's degrees of freedom, the estimate's skewness."""

    stderr: float
    df: float
    skewness: float = 0.0

    def reach(self, t: float, side: int) -> float:
        """Return how many standard errors above (side 1) or below (−1) the estimate the truth lies at most, at this t.

        It is t, and by Johnson's correction more on the side to which the estimate is skewed: few rows of a long tail
        are seen, so the truth lies that way.
        """
        return t + min(t, max(0.0, side * self.skewness / 6 * (1 + 2 * t**2)))

    def interval(self, value: float) -> Interval:
        """Return the 95% interval of an estimate."""
        t = student_quantile(self.df)
        return Interval(value - self.reach(t, -1) * self.stderr, value + self.reach(t, 1) * self.stderr, self.stderr)

    def p(self, difference: float) -> float:
        """Return the two-sided p of no difference: the level at which the interval would end at 0."""
        if difference == 0:
            return 1.0
        if self.stderr == 0:
            return 0.0
        away, side = abs(difference) / self.stderr, -1 if difference > 0 else 1
        lean, t = max(0.0, side * self.skewness / 6), away / 2
        if lean * (1 + 2 * t**2) < t:  # the correction is less than t: solve t + lean (1 + 2t²) = away
            t = 2 * (away - lean) / (1 + math.sqrt(1 + 8 * lean * (away - lean)))
        from scipy.special import stdtr

        return float(2 * stdtr(min(self.df, 1e12), -t))


def cluster_sums(columns: Sequence[Sequence[float]], clusters: Sequence[str]) -> Floats | None:
    """Return the column sums of each cluster, [clusters, columns], clusters sorted by name.

    None for fewer than two clusters, which show no spread, or for a value that is not finite. Raises ValueError where
    the numbers of values and clusters differ.
    """
    rows = np.asarray(columns, dtype=np.float64).T  # [rows, columns]
    places = {name: place for place, name in enumerate(sorted(set(clusters)))}
    if len(rows) != len(clusters):
        raise ValueError(f"{len(rows)} values and {len(clusters)} clusters")
    if len(places) < 2 or not np.isfinite(rows).all():
        return None
    codes = np.fromiter((places[name] for name in clusters), dtype=np.int64, count=len(clusters))
    order = np.lexsort((*rows.T, codes))  # within clusters too: sums of floats depend on their order
    starts = np.flatnonzero(np.diff(codes[order], prepend=-1))
    return np.add.reduceat(rows[order], starts, axis=0)


def leave_one_out(sums: Floats) -> Floats | None:
    """Return by how much the ratio of the columns' sums changes as each cluster is left out.

    sums: [clusters, 2], above and below. None where one cluster has the whole denominator.
    """
    above, below = sums.T
    rest = below.sum() - below
    if not (rest > 0).all():
        return None
    changes: Floats = -(above - above.sum() / below.sum() * below) / rest
    return changes


def jackknife(changes: Floats, df: float) -> Spread:
    """Return the spread that the changes of `leave_one_out` show, k clusters.

    The standard error is √((k − 1)/k · Σ change²); with equal denominators it is s/√k, that of a mean. The skewness is
    that of −change over clusters, divided by √k.
    """
    k, from_mean = len(changes), changes.mean() - changes
    from_mean /= np.abs(from_mean).max() or 1.0  # so that no power underflows
    square, cube = math.fsum(from_mean**2) / k, math.fsum(from_mean**3) / k
    skewness = cube / square**1.5 / math.sqrt(k) if square > 0 else 0.0
    return Spread(math.sqrt((k - 1) / k * math.fsum(changes**2)), df, skewness)


def degrees_of_freedom(below: Floats) -> float:
    """Return how many degrees of freedom the jackknife's error has, given each cluster's part of the denominator.

    Bell and McCaffrey's: Satterthwaite's approximation tr(M)² / tr(M²) of a sum of squared residuals. It takes the
    ratios of single clusters as equally variable, whatever their size. It is k − 1 for k equal clusters and falls
    towards 1 as one cluster holds everything.

    >>> round(degrees_of_freedom(np.ones(10)), 6), round(degrees_of_freedom(np.array([9.0, 1, 1, 1])), 2)
    (9.0, 1.04)
    """
    share = below / below.sum()
    variance = share**2
    pull = share / (1 - share) ** 2  # squared residuals are divided by (1 − share)²
    square = float((pull * share).sum())
    # M is diag(c) − (pull_i + pull_j) + square, c = pull / share, scaled by the variances
    own = 1 / (1 - share) ** 2
    trace = float((variance * (own - 2 * pull + square)).sum())
    total, first, second = (float((variance * pull**power).sum()) for power in (0, 1, 2))
    off = square**2 * total**2 - 4 * square * total * first + 2 * total * second + 2 * first**2
    diagonal = (own + square - 2 * pull) ** 2 - (square - 2 * pull) ** 2
    found = trace**2 / (off + float((variance**2 * diagonal).sum()))
    return min(max(1.0, found), len(below) - 1.0)  # its bounds, but for rounding where one share is nearly 1


def effective_number(below: Floats) -> float:
    """Return as how many clusters of equal size these count: (Σ b)² / Σ b², Kish's effective sample size.

    >>> effective_number(np.ones(10)), round(effective_number(np.array([9.0, 1, 1, 1])), 2)
    (10.0, 1.71)
    """
    return float(below.sum() ** 2 / (below**2).sum())


def summed(spreads: Sequence[Spread]) -> Spread:
    """Return the spread of a sum of independent estimates; its degrees of freedom are Satterthwaite's.

    >>> found = summed([Spread(3.0, 9), Spread(4.0, 9)])
    >>> found.stderr, round(found.df, 2)
    (5.0, 16.69)
    """
    variance = math.fsum(each.stderr**2 for each in spreads)
    below = math.fsum(each.stderr**4 / each.df for each in spreads)
    cube = math.fsum(each.skewness * each.stderr**3 for each in spreads)
    skewness = cube / variance**1.5 if variance else 0.0
    return Spread(math.sqrt(variance), variance**2 / below if below else math.inf, skewness)


def ratio_interval(
    numerators: Sequence[float], denominators: Sequence[float], clusters: Sequence[str]
) -> Interval | None:
    """Return the interval of Σ numerators / Σ denominators.

    None for fewer than two clusters, for one cluster with the whole denominator, or for a value that is not finite.
    """
    sums = cluster_sums([numerators, denominators], clusters)
    changes = None if sums is None else leave_one_out(sums)
    if sums is None or changes is None:
        return None
    ratio = math.fsum(numerators) / math.fsum(denominators)
    return jackknife(changes, degrees_of_freedom(sums[:, 1])).interval(ratio)


def mean_interval(values: Sequence[float], clusters: Sequence[str]) -> Interval | None:
    """Return the interval of a mean of rows; None for fewer than two clusters.

    >>> interval = mean_interval([1, 2, 3, 4], "abcd")
    >>> round(interval.low, 3), round(interval.high, 3), round(interval.stderr, 3)
    (0.446, 4.554, 0.645)
    """
    return ratio_interval(values, [1.0] * len(values), clusters)


def wilson_interval(successes: float, n: float, df: float = math.inf) -> tuple[float, float]:
    """Return Wilson's score interval for a proportion, with Student's t; `n` may be an effective sample size.

    >>> [round(bound, 4) for bound in wilson_interval(0, 10)]
    [0.0, 0.2775]
    """
    if not 0 <= successes <= n or n <= 0:
        raise ValueError(f"{successes} successes in {n} trials")
    t = student_quantile(df)
    p, t2 = successes / n, t**2
    centre = (p + t2 / (2 * n)) / (1 + t2 / n)
    half = t / (1 + t2 / n) * math.sqrt(p * (1 - p) / n + t2 / (4 * n**2))
    return (0.0 if successes == 0 else centre - half), (1.0 if successes == n else centre + half)


def proportion_interval(values: Sequence[float], clusters: Sequence[str]) -> Interval | None:
    """Return the interval of a share of rows, each 0 or 1; None for fewer than two clusters.

    The standard error is the jackknife's, √(p(1 − p)/(n − 1)) where no two rows share a cluster. The interval is
    Wilson's with Student's t: on n rows without clusters, on the effective number p(1 − p)/SE² ≤ n with them, and on
    the number of clusters where all of them agree and so do not tell how alike rows of a cluster are.
    """
    sums = cluster_sums([values, [1.0] * len(values)], clusters)
    changes = None if sums is None else leave_one_out(sums)
    if sums is None or changes is None:
        return None
    df = degrees_of_freedom(sums[:, 1])
    n, groups, stderr = len(values), len(sums), jackknife(changes, df).stderr
    p = math.fsum(values) / n
    effective: float = n
    if groups < n:
        effective = min(n, p * (1 - p) / stderr**2) if stderr > 0 else groups
    low, high = wilson_interval(min(p, 1.0) * effective, effective, df)
    return Interval(low, high, stderr)


def statistic_interval(
    statistic: Callable[[Sequence[float]], float], columns: Sequence[Sequence[float]], clusters: Sequence[str]
) -> Interval | None:
    """Return the jackknife's interval, with t(clusters − 1), of a smooth statistic of the columns' sums.

    None for fewer than two clusters or for a value that is not finite.
    """
    sums = cluster_sums(columns, clusters)
    if sums is None:
        return None
    total = sums.sum(axis=0)
    value = statistic(total.tolist())
    changes = np.array([statistic(rest) - value for rest in (total - sums).tolist()])
    return jackknife(changes, len(sums) - 1).interval(value)


def ratio_values(scores: Sequence[ItemScore], ratios: Mapping[str, Ratio]) -> dict[str, Value]:
    """Return each corpus ratio with its interval, which stays above 0 where all numbers do.

    A ratio is left out where a score lacks one of its values or Σ `below` is 0.
    """
    clusters = [score.cluster for score in scores]
    values: dict[str, Value] = {}
    for label, ratio in ratios.items():
        terms = (ratio.above, ratio.below)
        if not scores or not all(name in score.values for score in scores for name in terms):
            continue
        above, below = ([score.values[name] for score in scores] for name in terms)
        if total := math.fsum(below):
            interval = ratio_interval(above, below, clusters)
            if interval:
                interval = interval.within(0.0 if min(above) >= 0 else -math.inf, ratio.most)
            value = math.fsum(above) / total
            values[label] = estimate(value, interval, len(scores), ratio.unit, ratio.direction, of=terms)
    return values


def estimate(
    value: float,
    interval: Interval | None,
    n: int,
    unit: str,
    direction: Direction,
    *,
    chance: float | None = None,
    of: tuple[str, str] | None = None,
) -> Value:
    """Return an estimate from `n` rows with its interval, or without where there is none; fractions stay in [0, 1]."""
    if interval and unit == "fraction":
        interval = interval.within(0.0, 1.0)
    return Value(
        value=value,
        n=n,
        unit=unit,
        direction=direction,
        stderr=interval.stderr if interval else None,
        low=interval.low if interval else None,
        high=interval.high if interval else None,
        chance=chance,
        of=of,
    )

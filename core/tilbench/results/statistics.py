"""Standard errors and 95% intervals, as pure functions that do not depend on the order of rows.

A *cluster* names the unit that was sampled: the passage of a question, or the row's own id where rows are
sampled one by one. Rows of one cluster are not independent and are always kept together.

Sources: E. Miller, "Adding Error Bars to Evals" (2024), standard error of a mean with clusters ·
E. B. Wilson, "Probable inference, the law of succession, and statistical inference" (1927) ·
C. Franco et al., "Comparative study of confidence intervals for proportions in complex surveys" (2019),
Wilson's interval at an effective sample size · B. Efron, "Bootstrap methods" (1979), percentile method.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from tilbench.kinds.metric import Direction, ItemScore, Value

__all__ = [
    "LEVEL",
    "Interval",
    "Ratio",
    "bootstrap_ratio_interval",
    "bootstrap_sums",
    "clustered_standard_error",
    "estimate",
    "mean_interval",
    "percentile_interval",
    "proportion_interval",
    "ratio_values",
    "wilson_interval",
]

LEVEL = 0.95
_Z = NormalDist().inv_cdf(0.5 + LEVEL / 2)
_CHUNK = 1 << 22  # draws held at once while resampling

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Interval:
    """A 95% interval and the standard error of the estimate inside it."""

    low: float
    high: float
    stderr: float


@dataclass(frozen=True, slots=True)
class Ratio:
    """A corpus ratio: Σ `above` / Σ `below` of the values of item scores."""

    above: str
    below: str
    unit: str
    direction: Direction


def clustered_standard_error(values: Sequence[float], clusters: Sequence[str]) -> float:
    """Return the standard error of a mean of rows that come in clusters (Miller 2024).

    SE² = s²/n + Σ_clusters Σ_{i≠j} (xᵢ − x̄)(xⱼ − x̄) / n², where s² divides by n − 1. With one row a cluster
    it is the plain standard error s/√n. NaN for fewer than two clusters: they show no spread between them.

    >>> round(clustered_standard_error([1, 1, 0, 0], ["p", "p", "q", "q"]), 4)
    0.3819
    """
    x = np.asarray(values, dtype=np.float64)
    n = len(x)
    codes = _codes(clusters)
    if n != len(codes):
        raise ValueError(f"{n} values and {len(codes)} clusters")
    if n < 2 or codes.max() == 0:
        return math.nan
    order = np.lexsort((x, codes))
    deviations = x[order] - math.fsum(x) / n
    totals = np.bincount(codes[order], weights=deviations)
    squares = math.fsum(deviations**2)
    between = math.fsum(totals**2) - squares  # Σ_clusters Σ_{i≠j}, at least −squares
    return math.sqrt(squares / (n * (n - 1)) + between / n**2)


def mean_interval(values: Sequence[float], clusters: Sequence[str]) -> Interval | None:
    """Return x̄ ± 1.96 clustered standard errors; None for fewer than two clusters."""
    stderr = clustered_standard_error(values, clusters)
    if math.isnan(stderr):
        return None
    mean = math.fsum(values) / len(values)
    return Interval(mean - _Z * stderr, mean + _Z * stderr, stderr)


def wilson_interval(successes: float, n: float) -> tuple[float, float]:
    """Return Wilson's score interval for a proportion; `n` may be an effective sample size.

    >>> [round(bound, 4) for bound in wilson_interval(0, 10)]
    [0.0, 0.2775]
    """
    if not 0 <= successes <= n or n <= 0:
        raise ValueError(f"{successes} successes in {n} trials")
    p, z2 = successes / n, _Z**2
    centre = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = _Z / (1 + z2 / n) * math.sqrt(p * (1 - p) / n + z2 / (4 * n**2))
    return (0.0 if successes == 0 else centre - half), (1.0 if successes == n else centre + half)


def proportion_interval(values: Sequence[float], clusters: Sequence[str]) -> Interval | None:
    """Return the interval of a share of rows, each 0 or 1; None for fewer than two clusters.

    The standard error is the clustered one, √(p(1 − p)/(n − 1)) where no two rows share a cluster. The
    interval is Wilson's: on n rows without clusters, on the effective number p(1 − p)/SE² ≤ n with them, and
    on the number of clusters where all rows agree and so do not tell how alike rows of a cluster are.
    """
    stderr = clustered_standard_error(values, clusters)
    if math.isnan(stderr):
        return None
    n, groups = len(values), len(set(clusters))
    p = math.fsum(values) / n
    effective: float = n
    if groups < n:
        effective = min(n, p * (1 - p) / stderr**2) if stderr > 0 else groups
    low, high = wilson_interval(min(p, 1.0) * effective, effective)
    return Interval(low, high, stderr)


def bootstrap_sums(
    columns: Sequence[Sequence[float]], clusters: Sequence[str], *, seed: int, resamples: int = 1000
) -> Floats | None:
    """Return the column sums of draws of whole clusters with replacement, [resamples, columns].

    The draws are a function of the seed and the sorted cluster names, so that one seed resamples the same
    rows alike for every value and model. None for fewer than two clusters or a value that is not finite.
    """
    rows = np.asarray(columns, dtype=np.float64).T  # [rows, columns]
    codes = _codes(clusters)
    if len(rows) != len(codes):
        raise ValueError(f"{len(rows)} values and {len(codes)} clusters")
    if len(codes) == 0 or codes.max() == 0 or not np.isfinite(rows).all():
        return None
    order = np.lexsort((*rows.T, codes))  # within clusters too: sums of floats depend on their order
    starts = np.flatnonzero(np.diff(codes[order], prepend=-1))
    totals = np.add.reduceat(rows[order], starts, axis=0)  # [clusters, columns]
    groups = len(totals)
    generator = np.random.default_rng(seed)
    sums = np.empty((resamples, rows.shape[1]))
    step = max(1, _CHUNK // groups)
    for start in range(0, resamples, step):
        size = min(step, resamples - start)
        draws = generator.integers(0, groups, size=(size, groups))
        draws += np.arange(size)[:, None] * groups
        counts = np.bincount(draws.ravel(), minlength=size * groups).reshape(size, groups)
        sums[start : start + size] = counts.astype(np.float64) @ totals
    return sums


def percentile_interval(estimates: Floats) -> Interval | None:
    """Return the central 95% of bootstrap estimates, leaving out those that are not finite (x / 0)."""
    finite = estimates[np.isfinite(estimates)]
    if len(finite) < 2:
        return None
    low, high = np.percentile(finite, [50 * (1 - LEVEL), 50 * (1 + LEVEL)])
    return Interval(float(low), float(high), float(finite.std(ddof=1)))


def bootstrap_ratio_interval(
    numerators: Sequence[float],
    denominators: Sequence[float],
    clusters: Sequence[str],
    *,
    seed: int,
    resamples: int = 1000,
) -> Interval | None:
    """Return the percentile bootstrap interval of Σ numerators / Σ denominators over whole clusters.

    None for fewer than two clusters: one document has no interval.
    """
    sums = bootstrap_sums([numerators, denominators], clusters, seed=seed, resamples=resamples)
    if sums is None:
        return None
    with np.errstate(divide="ignore", invalid="ignore"):
        return percentile_interval(sums[:, 0] / sums[:, 1])


def ratio_values(scores: Sequence[ItemScore], ratios: Mapping[str, Ratio], *, seed: int) -> dict[str, Value]:
    """Return each corpus ratio with its bootstrap interval over clusters.

    A ratio is left out where a score lacks one of its values or Σ `below` is 0.
    """
    names = sorted({name for ratio in ratios.values() for name in (ratio.above, ratio.below)})
    names = [name for name in names if scores and all(name in score.values for score in scores)]
    if not names:
        return {}
    columns = [[score.values[name] for score in scores] for name in names]
    sums = dict(zip(names, map(math.fsum, columns), strict=True))
    draws = bootstrap_sums(columns, [score.cluster for score in scores], seed=seed)
    values: dict[str, Value] = {}
    for label, ratio in ratios.items():
        if ratio.above not in sums or not sums.get(ratio.below):
            continue
        interval = None
        if draws is not None:
            with np.errstate(divide="ignore", invalid="ignore"):
                estimates = draws[:, names.index(ratio.above)] / draws[:, names.index(ratio.below)]
            interval = percentile_interval(estimates)
        value, terms = sums[ratio.above] / sums[ratio.below], (ratio.above, ratio.below)
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
    """Return an estimate from `n` rows with its interval, or without where there is none."""
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


def _codes(clusters: Sequence[str]) -> NDArray[np.int64]:
    """Return the place of each row's cluster among the sorted cluster names."""
    places = {name: place for place, name in enumerate(sorted(set(clusters)))}
    return np.fromiter((places[name] for name in clusters), dtype=np.int64, count=len(clusters))

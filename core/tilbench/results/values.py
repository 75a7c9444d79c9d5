"""Values that are shares, means and powers, with their intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from tilbench.kinds.metric import Direction, ItemScore, Value
from tilbench.results.statistics import Interval, estimate, mean_interval, proportion_interval

__all__ = ["mean_of", "mean_value", "power_value", "share_value"]


def share_value(scores: Sequence[ItemScore], name: str, direction: Direction) -> Value:
    """Return the share of the scores, one at least, whose `name` (0 or 1) is 1, with Wilson's interval."""
    numbers = [score.values[name] for score in scores]
    return mean_of(name, numbers, "fraction", direction, proportion_interval(numbers, _clusters(scores)))


def mean_value(scores: Sequence[ItemScore], name: str, unit: str, direction: Direction) -> Value:
    """Return the mean of `name` over the scores, one at least, with Student's interval over clusters.

    The interval stays above 0 where all numbers do. Fractions that are all 0 or 1 are a share and have its interval:
    ten zeros do not say that the mean is exactly 0.
    """
    numbers = [score.values[name] for score in scores]
    share = unit == "fraction" and set(numbers) <= {0.0, 1.0}
    interval = (proportion_interval if share else mean_interval)(numbers, _clusters(scores))
    if interval and min(numbers) >= 0:
        interval = interval.within(0.0, math.inf)
    return mean_of(name, numbers, unit, direction, interval)


def power_value(exponent: Value, base: float, unit: str) -> Value:
    """Return base^exponent, such as the perplexity of bits or nats a token.

    Its interval is the image of the exponent's, its error to first order; neither is there where it is too large for a
    float. It is no ratio over items.
    """
    value = _power(base, exponent.value)
    image = replace(exponent, value=value, unit=unit, stderr=None, low=None, high=None, of=None)
    if exponent.stderr is None or exponent.low is None or exponent.high is None:
        return image
    stderr = math.log(base) * value * exponent.stderr
    low, high = _power(base, exponent.low), _power(base, exponent.high)
    return replace(image, stderr=stderr, low=low, high=high) if math.isfinite(stderr + high) else image


def _clusters(scores: Sequence[ItemScore]) -> list[str]:
    return [score.cluster for score in scores]


def mean_of(name: str, numbers: Sequence[float], unit: str, direction: Direction, interval: Interval | None) -> Value:
    """Return the mean of the numbers, one at least, that item scores have under `name`."""
    return estimate(math.fsum(numbers) / len(numbers), interval, len(numbers), unit, direction, of=(name, ""))


def _power(base: float, exponent: float) -> float:
    """Return base^exponent, infinite where that is more than a float can hold."""
    try:
        power: float = base**exponent
    except OverflowError:
        return math.inf
    return power

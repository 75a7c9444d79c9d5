"""Values that are shares and means of one number of item scores, with their intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence

from tilbench.kinds.metric import Direction, ItemScore, Value
from tilbench.results.statistics import Interval, bootstrap_ratio_interval, proportion_interval

__all__ = ["mean_value", "share_value"]


def share_value(scores: Sequence[ItemScore], name: str, direction: Direction) -> Value:
    """Return the share of the scores, one at least, whose `name` (0 or 1) is 1, with Wilson's interval."""
    numbers = [score.values[name] for score in scores]
    return _value(name, numbers, "fraction", direction, proportion_interval(numbers, _clusters(scores)))


def mean_value(scores: Sequence[ItemScore], name: str, unit: str, direction: Direction, *, seed: int) -> Value:
    """Return the mean of `name` over the scores, one at least, with a bootstrap interval over clusters."""
    numbers = [score.values[name] for score in scores]
    interval = bootstrap_ratio_interval(numbers, [1.0] * len(numbers), _clusters(scores), seed=seed)
    return _value(name, numbers, unit, direction, interval)


def _clusters(scores: Sequence[ItemScore]) -> list[str]:
    return [score.cluster for score in scores]


def _value(name: str, numbers: Sequence[float], unit: str, direction: Direction, interval: Interval | None) -> Value:
    return Value(
        value=math.fsum(numbers) / len(numbers),
        n=len(numbers),
        unit=unit,
        direction=direction,
        stderr=interval.stderr if interval else None,
        low=interval.low if interval else None,
        high=interval.high if interval else None,
        of=(name, ""),
    )

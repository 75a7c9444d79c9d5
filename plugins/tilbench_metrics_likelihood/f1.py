"""F1 of classes from the shares in which labels were chosen: C. van Rijsbergen, "Information Retrieval" (1979)."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from tilbench.kinds.metric import ItemScore, Value
from tilbench.results.statistics import estimate, statistic_interval

__all__ = ["f1_values", "guessing"]

_NONE = 1e-9
"""Counts below it are rounding: a sum of shares less what it was summed from."""


def f1_values(scores: Sequence[ItemScore], labels: Sequence[str], *, chance: float | None) -> dict[str, Value]:
    """Return `macro_f1` and the F1 of every class that is right or chosen somewhere, each with its interval.

    scores: with the numbers `gold`, a place among the labels, and `chosen_0` …, the share in which each was chosen.
    """
    clusters = [score.cluster for score in scores]
    columns = [column for place in range(len(labels)) for column in _counts(scores, place)]
    n = len(scores)

    def value(number: float, columns: Sequence[Sequence[float]], level: float | None = None) -> Value:
        interval = statistic_interval(_macro, columns, clusters)
        return estimate(number, interval, n, "fraction", "higher", chance=level)

    values = {"macro_f1": value(_macro([math.fsum(column) for column in columns]), columns, chance)}
    for place, label in enumerate(labels):
        own = columns[3 * place : 3 * place + 3]
        sums = [math.fsum(column) for column in own]
        if sums[1] + sums[2] > _NONE:
            values[f"f1:{label}"] = value(_macro(sums), own)
    return values


def guessing(scores: Sequence[ItemScore], labels: int, *, f1: bool) -> tuple[float, float]:
    """Return what choosing at random and what always choosing the commonest label score: macro F1, or accuracy."""
    gold = Counter(int(score.values["gold"]) for score in scores)
    n = len(scores)
    ((_, most),) = gold.most_common(1)
    if not f1:
        return 1 / labels, most / n
    at_random = [number for place in range(labels) for number in (gold[place] / labels, n / labels, gold[place])]
    return _macro(at_random), 2 * most / (n + most) / len(gold)


def _counts(scores: Sequence[ItemScore], place: int) -> tuple[list[float], list[float], list[float]]:
    """Return of each item: chosen and right, chosen, right."""
    chosen = [score.values[f"chosen_{place}"] for score in scores]
    gold = [float(score.values["gold"] == place) for score in scores]
    return [one * other for one, other in zip(chosen, gold, strict=True)], chosen, gold


def _macro(sums: Sequence[float]) -> float:
    """Return the mean F1 of the classes that occur. sums: of each class, chosen and right, chosen, right."""
    triples = zip(sums[::3], sums[1::3], sums[2::3], strict=True)
    found = [2 * both / (chosen + gold) for both, chosen, gold in triples if chosen + gold > _NONE]
    return math.fsum(found) / len(found) if found else 0.0

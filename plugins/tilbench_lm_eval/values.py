"""From what lm-evaluation-harness makes of a document to numbers of an item, and from items to the values of a task."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from statistics import stdev
from typing import Any

from tilbench.errors import DataError
from tilbench.kinds.metric import Direction, ItemScore, Value
from tilbench.results.statistics import Ratio, Spread, mean_interval, proportion_interval, ratio_values
from tilbench.results.values import mean_of, power_value
from tilbench_lm_eval.library import quiet
from tilbench_lm_eval.settings import MetricUse

__all__ = ["CHANCE", "PAIRED", "TIED", "Aggregate", "keep", "tied_value", "value_of"]

Aggregate = Callable[[Sequence[Any]], Any]

CHANCE = "chance"
"""Of an item with choices: the share of them that are right."""
TIED = "tied"
"""Of an item with choices: whether its best log-probability is that of several."""
PAIRED = frozenset({"mean", "bits_per_byte"})
"""Aggregations whose value is a ratio of sums over items, and so can be compared pair by pair."""
_BITS, _WEIGHT, _JSON = "bits", "weight", "json"
_PER_UNIT = {"bits_per_byte", "weighted_perplexity"}
"""Aggregations of (log-likelihood, length) of a document."""
_UNITS = {
    "acc": "fraction",
    "acc_norm": "fraction",
    "acc_bytes": "fraction",
    "acc_mutual_info": "fraction",
    "exact_match": "fraction",
    "bits_per_byte": "bits/byte",
    "word_perplexity": "perplexity/word",
    "byte_perplexity": "perplexity/byte",
    "perplexity": "perplexity",
}
_GUESSED = {"acc", "acc_norm", "acc_bytes", "acc_mutual_info"}
"""Metrics that chance has a part in, where an item has choices."""
_DRAWS = 1000
_FEW_DRAWS = 100
_SLOW = {"bleu", "chrf", "chrf++", "ter"}
"""Corpus scores of texts, of which lm-evaluation-harness draws no more than 100 samples."""


def keep(key: str, result: Any, aggregation: str) -> tuple[Mapping[str, float], Mapping[str, str]]:
    """Return the numbers, and the texts, of an item that hold one metric's result for a document.

    key: metric and filter, as in the harness's results (`acc,none`). A log-likelihood with a length is kept as bits and
    length, a number as it is, and everything else (a pair of texts, a gold and a predicted label) as JSON text.
    """
    if aggregation in _PER_UNIT:
        likelihood, length = result
        return {f"{key}:{_BITS}": -float(likelihood) / math.log(2), f"{key}:{_WEIGHT}": float(length)}, {}
    number = getattr(result, "item", lambda: result)() if getattr(result, "ndim", 0) == 0 else result
    if isinstance(number, int | float) and math.isfinite(number):
        return {key: float(number)}, {}
    try:
        return {}, {f"{key}:{_JSON}": json.dumps(result, default=_listed, ensure_ascii=False)}
    except TypeError as error:
        raise DataError(f"metric {key}: what it makes of a document cannot be recorded: {error}") from None


def value_of(key: str, use: MetricUse, function: Aggregate, scores: Sequence[ItemScore]) -> Value:
    """Return the value of one metric and filter from the items that have it, in the order of documents.

    function: the aggregation. The standard error is the harness's own: s/√n of a mean, a bootstrap (of 1,000 draws) of
    the statistics that it bootstraps, none elsewhere. Bits per byte and perplexities, for which it has none, get the
    jackknife of a ratio. Intervals have Student's t.
    """
    metric = key.rpartition(",")[0]
    unit = _UNITS.get(metric, "score")
    direction: Direction = {True: "higher", False: "lower", None: "none"}[use.higher_is_better]  # type: ignore[assignment]
    if use.aggregation in _PER_UNIT:
        return _per_unit(key, use.aggregation, unit, direction, scores)
    if use.aggregation == "mean" and all(key in score.values for score in scores):
        value = _mean(key, unit, direction, scores)
        if metric in _GUESSED and all(CHANCE in score.values for score in scores):
            chance = math.fsum(score.values[CHANCE] for score in scores) / len(scores)
            return replace(value, chance=chance)
        return value
    results = [_result(key, score) for score in scores]
    with quiet():
        number = float(function(results))
        stderr = _stderr(metric, function, results)
    plain = Value(value=number, n=len(results), unit=unit, direction=direction)
    if stderr is None or not math.isfinite(stderr):
        return plain
    found = Spread(stderr, len(results) - 1).interval(number)
    return replace(plain, stderr=stderr, low=found.low, high=found.high)


def tied_value(scores: Sequence[ItemScore]) -> Mapping[str, Value]:
    """Return how many documents have a tie for the best choice; nothing where they have no choices."""
    tied = [score.values[TIED] for score in scores if TIED in score.values]
    return {TIED: Value(value=math.fsum(tied), n=len(tied), unit="documents", direction="none")} if tied else {}


def _mean(key: str, unit: str, direction: Direction, scores: Sequence[ItemScore]) -> Value:
    numbers = [score.values[key] for score in scores]
    clusters = [score.cluster for score in scores]
    interval = (proportion_interval if set(numbers) <= {0.0, 1.0} else mean_interval)(numbers, clusters)
    return mean_of(key, numbers, unit, direction, interval)


def _per_unit(key: str, aggregation: str, unit: str, direction: Direction, scores: Sequence[ItemScore]) -> Value:
    """Return Σ bits / Σ length, or two to the power of it."""
    ratio = Ratio(f"{key}:{_BITS}", f"{key}:{_WEIGHT}", unit, direction)
    found = ratio_values(scores, {key: ratio})
    bits = found.get(key) or Value(value=math.nan, n=len(scores), unit=unit, direction=direction)
    if aggregation == "bits_per_byte":
        return bits
    return power_value(bits, 2.0, unit)


def _result(key: str, score: ItemScore) -> object:
    return score.values[key] if key in score.values else json.loads(score.texts[f"{key}:{_JSON}"])


def _stderr(metric: str, function: Aggregate, results: Sequence[Any]) -> float | None:
    """Return the harness's standard error; its bootstrap with its own draws, in this process."""
    from lm_eval.api.metrics import acc_all, mean, stderr_for_metric

    estimate = stderr_for_metric(function, 1)
    if estimate is None or len(results) < 2:
        return None
    if function in (mean, acc_all):
        return float(estimate(results))
    draw = random.Random(0)
    count = _FEW_DRAWS if metric in _SLOW else _DRAWS
    return stdev(float(function(draw.choices(results, k=len(results)))) for _ in range(count))


def _listed(value: Any) -> object:
    """Return an array or a number of numpy as plain data, for JSON."""
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, set | frozenset):
        return sorted(value)
    raise TypeError(f"{type(value).__name__} is no plain data")

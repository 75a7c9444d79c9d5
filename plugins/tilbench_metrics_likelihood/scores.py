"""From the log-probabilities of texts to accuracies: what choosing between them has in common."""

from __future__ import annotations

import math
from collections.abc import Sequence

from tilbench.errors import PluginError
from tilbench.kinds.metric import ItemScore, Value
from tilbench.kinds.requests import Answer, Likelihood
from tilbench.results.statistics import estimate, proportion_interval

__all__ = ["NORMALISED", "accuracy", "best", "centred", "counted", "credit", "likelihoods", "normalised"]

NORMALISED = ("acc", "acc_char", "acc_byte", "acc_token")
"""Accuracies by what a log-probability is divided by: nothing, characters, UTF-8 bytes, the model's own tokens."""
_ROUNDING = 1e-9
"""Scores that differ by less, relatively, are equal: a division rounds n·x/n and m·x/m apart."""


def likelihoods(row: str, texts: Sequence[str], answers: Sequence[Answer]) -> list[Likelihood]:
    """Return the answers, one for each text. Raises PluginError for others; `row` names the row in it."""
    found = [answer for answer in answers if isinstance(answer, Likelihood)]
    if not len(found) == len(answers) == len(texts):
        raise PluginError(f"row {row!r}: {len(texts)} texts were not answered by one Likelihood each")
    return found


def normalised(name: str, texts: Sequence[str], answers: Sequence[Likelihood]) -> list[float] | None:
    """Return each text's log-probability as the accuracy `name` compares it; None where the model has no tokens."""
    lengths: Sequence[int | None] = [1] * len(texts)
    if name == "acc_char":
        lengths = [len(text) for text in texts]
    if name == "acc_byte":
        lengths = [len(text.encode()) for text in texts]
    if name == "acc_token":
        lengths = [answer.tokens for answer in answers]
    pairs = zip(answers, lengths, strict=True)
    scores = [answer.logprob / length for answer, length in pairs if length]
    return scores if len(scores) == len(texts) else None


def best(scores: Sequence[float]) -> list[int]:
    """Return the places that share the highest score, in order.

    >>> best([-2.0, -1.0, -1.0])
    [1, 2]
    """
    highest = max(scores)
    return [place for place, score in enumerate(scores) if math.isclose(score, highest, rel_tol=_ROUNDING)]


def credit(places: Sequence[int], right: int) -> float:
    """Return what choosing at random among `places` scores: 1/k where the right one is among k of them, else 0.

    >>> credit([1], 1), credit([0, 1], 1), credit([0, 2], 1)
    (1.0, 0.5, 0.0)
    """
    return 1 / len(places) if right in places else 0.0


def accuracy(name: str, scores: Sequence[ItemScore], chance: float) -> Value:
    """Return the mean credit of the items under `name`, with its interval: Wilson's, with clustered standard errors."""
    right = [score.values[name] for score in scores]
    interval = proportion_interval(right, [score.cluster for score in scores])
    mean = math.fsum(right) / len(right)
    return estimate(mean, interval, len(right), "fraction", "higher", chance=chance, of=(name, ""))


def centred(accuracy: Value) -> Value:
    """Return an accuracy on the scale from chance (0) to perfect (1)."""
    chance = accuracy.chance or 0.0
    room = 1 - chance
    return Value(
        value=(accuracy.value - chance) / room,
        n=accuracy.n,
        unit="fraction",
        direction="higher",
        stderr=None if accuracy.stderr is None else accuracy.stderr / room,
        low=None if accuracy.low is None else (accuracy.low - chance) / room,
        high=None if accuracy.high is None else (accuracy.high - chance) / room,
        chance=0.0,
    )


def counted(name: str, scores: Sequence[ItemScore], unit: str) -> Value:
    """Return how many items have `name`."""
    count = math.fsum(score.values[name] for score in scores)
    return Value(value=count, n=len(scores), unit=unit, direction="none")

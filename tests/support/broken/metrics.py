"""Toy metrics with one fault each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import ClassVar

from pydantic import BaseModel

from tilbench.data.rows import Row
from tilbench.kinds.metric import ItemScore, TaskContext, Value
from tilbench.kinds.requests import Answer
from tilbench.testing.toys import ToyMetric, ToySettings

__all__ = ["METRICS"]


class FirstHalf(ToyMetric):
    """Looks at the first half of the rows that come."""

    def aggregate(self, scores: Sequence[ItemScore]) -> Mapping[str, Value]:
        """Return what depends on the order of rows."""
        return super().aggregate(scores[: (len(scores) + 1) // 2])


class Running(ToyMetric):
    """Scores a row against those before it."""

    def __init__(self, settings: ToySettings, context: TaskContext) -> None:
        super().__init__(settings, context)
        self.seen = 0

    def score(self, row: Row, answers: Sequence[Answer]) -> ItemScore:
        """Return what depends on the rows before."""
        self.seen += 1
        score = super().score(row, answers)
        return replace(score, values={"bits": score.values["bits"] + self.seen})


class Remembers(ToyMetric):
    """Aggregates what it saw itself, not the scores that it is given."""

    def __init__(self, settings: ToySettings, context: TaskContext) -> None:
        super().__init__(settings, context)
        self.kept: dict[str, ItemScore] = {}

    def score(self, row: Row, answers: Sequence[Answer]) -> ItemScore:
        """Keep the score."""
        score = super().score(row, answers)
        self.kept[row.id] = score
        return score

    def aggregate(self, scores: Sequence[ItemScore]) -> Mapping[str, Value]:
        """Return the mean of what was kept, or of what is given where nothing was."""
        values = super().aggregate(scores)
        return {"bits": replace(values["bits"], value=values["bits"].value + 1e-3 * len(self.kept))}


class NoHeadline(ToyMetric):
    """Shows a value first that it does not compute."""

    headline = "bits_per_byte"


class NotInInterval(ToyMetric):
    """Its interval is that of something else."""

    def aggregate(self, scores: Sequence[ItemScore]) -> Mapping[str, Value]:
        """Return a value below its interval."""
        values = super().aggregate(scores)
        return {name: replace(value, low=value.value + 1, high=value.value + 2) for name, value in values.items()}


class OfOthers(ToyMetric):
    """Says that its value is a ratio of numbers that no item has."""

    def aggregate(self, scores: Sequence[ItemScore]) -> Mapping[str, Value]:
        """Return a value that no two models could be paired by."""
        values = super().aggregate(scores)
        return {name: replace(value, of=("bits", "documents")) for name, value in values.items()}


class OfSums(ToyMetric):
    """Says that its value is a mean, and returns twice as much."""

    def aggregate(self, scores: Sequence[ItemScore]) -> Mapping[str, Value]:
        """Return what is not the ratio that it is said to be."""
        values = super().aggregate(scores)
        return {
            name: replace(value, value=2 * value.value, high=None, low=None, of=("bits", ""))
            for name, value in values.items()
        }


class NotANumber(ToyMetric):
    """Divides nothing by nothing."""

    def aggregate(self, scores: Sequence[ItemScore]) -> Mapping[str, Value]:
        """Return NaN."""
        values = super().aggregate(scores)
        return {name: replace(value, value=float("nan")) for name, value in values.items()}


class OpenSettings(ToyMetric):
    """Takes any setting, misspelled ones too."""

    class Loose(BaseModel):
        """Settings that ignore what they do not know."""

        scale: float = 1.0

    Settings: ClassVar[type[BaseModel]] = Loose


METRICS: Mapping[str, tuple[object, set[str]]] = {
    "order-dependent": (FirstHalf, {"row_order_does_not_matter"}),
    "state in score": (Running, {"batch_composition_does_not_matter", "item_scores_suffice"}),
    "state in aggregate": (Remembers, {"item_scores_suffice"}),
    "no headline": (NoHeadline, {"headline_is_a_value"}),
    "outside its interval": (NotInInterval, {"values_are_sound"}),
    "of numbers that items lack": (OfOthers, {"values_are_what_they_say_they_are_of"}),
    "not the ratio it names": (OfSums, {"values_are_what_they_say_they_are_of"}),
    "not a number": (NotANumber, {"values_are_sound"}),
    "open settings": (OpenSettings, {"interface"}),
}
"""What is wrong → a broken metric, and the checks that must fail."""

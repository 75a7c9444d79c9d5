"""Accuracy on minimal pairs: of two sentences that differ in one thing, which one does the model find likelier?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from tilbench.config.base import Schema
from tilbench.data.rows import Pair, Row, row_of
from tilbench.kinds.metric import ItemScore, TaskContext, Value
from tilbench.kinds.requests import Answer, Document, Request
from tilbench_metrics_likelihood.scores import (
    NORMALISED,
    accuracy,
    best,
    centred,
    counted,
    credit,
    likelihoods,
    normalised,
)

__all__ = ["MinimalPairs", "MinimalPairsSettings"]


class MinimalPairsSettings(Schema):
    """There is nothing to set: the sentences stand alone."""


class MinimalPairs:
    """Accuracy: the share of pairs whose good sentence (`source`) is likelier than the bad one (`target`).

    Both are scored whole, each on its own, after the model's prefix token (Warstadt et al., BLiMP, 2020). Their
    log-probabilities are compared raw (`acc`), and divided by Unicode characters (`acc_char`), UTF-8 bytes
    (`acc_byte`) and the model's own tokens (`acc_token`, absent where it has none); `acc` and `acc_char` are
    lm-evaluation-harness's acc and acc_norm on MultiBLiMP, but for ties: a pair whose sentences score alike counts 1/2,
    which is what a guess scores, and `tied` counts such pairs.
    Chance is 1/2; intervals are Wilson's.
    """

    rows: ClassVar[frozenset[str]] = frozenset({"pairs"})
    version: ClassVar[int] = 2
    headline: str = "acc"
    Settings: ClassVar[type[MinimalPairsSettings]] = MinimalPairsSettings

    def __init__(self, settings: MinimalPairsSettings, context: TaskContext) -> None:
        """Take no settings: a sentence needs neither cue words nor examples."""

    def requests(self, row: Row) -> Sequence[Request]:
        """Ask for the likelihood of both sentences."""
        return [Document(text) for text in _sentences(row)]

    def score(self, row: Row, answers: Sequence[Answer]) -> ItemScore:
        """Compare the two under every normalisation."""
        texts = _sentences(row)
        given = likelihoods(row.id, texts, answers)
        values: dict[str, float] = {}
        for name in NORMALISED:
            if (scores := normalised(name, texts, given)) is None:
                continue
            picked = best(scores)
            values[name] = credit(picked, 0)
            if name == self.headline:
                values["tied"] = float(len(picked) > 1)
        return ItemScore(row.id, row.cluster, values)

    def aggregate(self, scores: Sequence[ItemScore]) -> Mapping[str, Value]:
        """Return the accuracies with their intervals and chance level."""
        if not scores:
            return {}
        there = [name for name in NORMALISED if all(name in score.values for score in scores)]
        values = {name: accuracy(name, scores, 0.5) for name in there}
        return {**values, "centred": centred(values[self.headline]), "tied": counted("tied", scores, "pairs")}


def _sentences(row: Row) -> tuple[str, str]:
    pair = row_of(row, Pair, "minimal_pairs")
    return pair.source, pair.target

"""Fertility: how many tokens a tokenizer spends on a word, and what else it costs a language."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import ClassVar

from tilbench.config.base import Schema
from tilbench.data.rows import Document, Row, row_of
from tilbench.kinds.metric import ItemScore, TaskContext, Value
from tilbench.kinds.requests import Answer, Request, TokenIds, Tokens, one_answer
from tilbench.results.statistics import Ratio, ratio_values
from tilbench.text.words import unicode_words, whitespace_words

__all__ = ["Fertility", "FertilitySettings"]

_RATIOS = {
    "tokens_per_word": Ratio("tokens", "words", "tokens/word", "lower"),
    "tokens_per_uax29_word": Ratio("tokens", "uax29_words", "tokens/word", "lower"),
    "bytes_per_token": Ratio("bytes", "tokens", "bytes/token", "higher"),
    "characters_per_token": Ratio("characters", "tokens", "characters/token", "higher"),
    "unknown_rate": Ratio("unknown", "tokens", "fraction", "lower"),
    "byte_fallback_rate": Ratio("byte_fallback", "tokens", "fraction", "lower"),
}


class FertilitySettings(Schema):
    """Fertility has nothing to set."""


class Fertility:
    """What a tokenizer does to documents, with no special tokens added; ratios of sums over documents.

    tokens_per_word: tokens by words between white space, the fertility of most papers (1 is a token a word).
    tokens_per_uax29_word: by words of Unicode Standard Annex 29 that hold a letter or a number.
    bytes_per_token, characters_per_token: UTF-8 bytes and Unicode characters of the text by tokens.
    unknown_rate: share of tokens that stand for text the vocabulary cannot write.
    byte_fallback_rate: share of tokens that are single bytes for want of a better one.
    round_trip_failures: documents that their tokens do not decode to, character by character.
    Intervals: docs/statistics.md.
    """

    rows: ClassVar[frozenset[str]] = frozenset({"documents"})
    version: ClassVar[int] = 1
    Settings: ClassVar[type[FertilitySettings]] = FertilitySettings

    def __init__(self, settings: FertilitySettings, context: TaskContext) -> None:
        self.headline = "tokens_per_word"

    def requests(self, row: Row) -> Sequence[Request]:
        """Ask for the tokens of the document."""
        return [Tokens(row_of(row, Document, "fertility").text)]

    def score(self, row: Row, answers: Sequence[Answer]) -> ItemScore:
        """Count tokens, words, bytes and characters."""
        answer = one_answer(row.id, answers, TokenIds)
        text = row_of(row, Document, "fertility").text
        counts = {
            "tokens": len(answer.ids),
            "words": len(whitespace_words(text)),
            "uax29_words": len(unicode_words(text)),
            "bytes": len(text.encode()),
            "characters": len(text),
            "unknown": answer.unknown,
            "byte_fallback": answer.byte_fallback,
            "round_trip_failure": int(not answer.round_trip),
        }
        return ItemScore(row.id, row.cluster, {name: float(count) for name, count in counts.items()})

    def aggregate(self, scores: Sequence[ItemScore]) -> Mapping[str, Value]:
        """Return the corpus ratios and the number of documents that do not survive a round trip."""
        values = ratio_values(scores, _RATIOS)
        if scores:
            failures = math.fsum(score.values["round_trip_failure"] for score in scores)
            values["round_trip_failures"] = Value(value=failures, n=len(scores), unit="documents", direction="lower")
        return values

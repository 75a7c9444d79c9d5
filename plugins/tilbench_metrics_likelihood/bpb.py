"""Bits per byte: how many bits a model needs for each UTF-8 byte of the original text."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import ClassVar

from pydantic import Field, model_validator

from tilbench.config.base import Schema
from tilbench.data.rows import Document, Row, row_of
from tilbench.kinds.metric import ItemScore, TaskContext, Value
from tilbench.kinds.requests import Answer, Likelihood, Request, one_answer
from tilbench.kinds.requests import Document as DocumentRequest
from tilbench.results.statistics import Ratio, ratio_values
from tilbench.results.values import power_value
from tilbench.text.words import whitespace_words

__all__ = ["BitsPerByte", "BitsPerByteSettings"]

_RATIOS = {
    "bpb": Ratio("bits", "bytes", "bits/byte", "lower"),
    "bits_per_character": Ratio("bits", "characters", "bits/character", "lower"),
    "perplexity": Ratio("bits", "tokens", "perplexity/token", "lower"),
    "word_perplexity": Ratio("bits", "words", "perplexity/word", "lower"),
    "byte_perplexity": Ratio("bits", "bytes", "perplexity/byte", "lower"),
}


class BitsPerByteSettings(Schema):
    """How documents longer than the model's context are scored; part of the task's fingerprint."""

    window: int | None = Field(default=None, ge=1)
    """Tokens in one window; by default the model's own context length."""
    overlap: int = Field(default=1, ge=1)
    """Tokens of the text before that each later window sees; 1 is lm-evaluation-harness's scheme."""

    prefix_each_window: bool = False
    """Put the model's prefix token before every window, and not before the first one only. It takes one place."""

    @model_validator(mode="after")
    def _overlap_fits(self) -> BitsPerByteSettings:
        if self.window is None or self.overlap + self.prefix_each_window <= self.window:
            return self
        if self.prefix_each_window:
            raise ValueError(f"'overlap' ({self.overlap}) and the prefix are more than 'window' ({self.window})")
        raise ValueError(f"'overlap' ({self.overlap}) is more than 'window' ({self.window})")


class BitsPerByte:
    """Bits per byte, and the perplexities per token, word and byte that are the same sum written otherwise.

    bpb = Σ bits / Σ UTF-8 bytes of the original text, both over documents; a document's bits are −Σ log₂ p.
    bits_per_character = Σ bits / Σ Unicode characters.
    perplexity = 2^(Σ bits / Σ tokens), in the model's own tokens: comparable within one tokenizer only, and
    absent where the model has none. word_perplexity = 2^(Σ bits / Σ words between white space).
    byte_perplexity = 2^bpb. Lower is better in all. Intervals: docs/statistics.md.

    bpb, word_perplexity and byte_perplexity are those of lm-evaluation-harness (`bits_per_byte`, …), except
    that it counts an empty word at an end of a document where there is white space.
    """

    rows: ClassVar[frozenset[str]] = frozenset({"documents"})
    version: ClassVar[int] = 2
    Settings: ClassVar[type[BitsPerByteSettings]] = BitsPerByteSettings

    def __init__(self, settings: BitsPerByteSettings, context: TaskContext) -> None:
        self.headline = "bpb"
        self._settings = settings

    def requests(self, row: Row) -> Sequence[Request]:
        """Ask for the whole document."""
        how = self._settings
        return [DocumentRequest(row_of(row, Document, "bpb").text, how.window, how.overlap, how.prefix_each_window)]

    def score(self, row: Row, answers: Sequence[Answer]) -> ItemScore:
        """Return the bits of the document and what they can be divided by."""
        answer = one_answer(row.id, answers, Likelihood)
        text = row_of(row, Document, "bpb").text
        values = {
            "bits": -answer.logprob / math.log(2),
            "bytes": float(len(text.encode())),
            "characters": float(len(text)),
            "words": float(len(whitespace_words(text))),
        }
        if answer.tokens is not None:
            values["tokens"] = float(answer.tokens)
        return ItemScore(row.id, row.cluster, values)

    def aggregate(self, scores: Sequence[ItemScore]) -> Mapping[str, Value]:
        """Return the corpus ratios; a single document has no interval."""
        values = ratio_values(scores, _RATIOS)
        return {
            name: power_value(value, 2.0, value.unit) if value.unit.startswith("perplexity") else value
            for name, value in values.items()
        }

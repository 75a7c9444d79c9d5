"""Efficiency: how fast a model generates on this machine, and what memory that takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import ClassVar

from pydantic import Field

from tilbench.config.base import Schema
from tilbench.data.rows import Document, Row, row_of
from tilbench.errors import Refused
from tilbench.kinds.metric import ItemScore, TaskContext, Value
from tilbench.kinds.requests import Answer, Request, Timed, Timing, one_answer
from tilbench.results.statistics import Ratio, ratio_values

__all__ = ["Efficiency", "EfficiencySettings"]

_RATIOS: Mapping[str, Ratio] = {
    "tokens_per_second": Ratio("new_tokens", "rest_seconds", "tokens/s", "higher"),
    "bytes_per_second": Ratio("new_bytes", "rest_seconds", "bytes/s", "higher"),
    "prefill_tokens_per_second": Ratio("prompt_tokens", "first_seconds", "tokens/s", "higher"),
    "time_to_first_token": Ratio("first_seconds", "rows", "s", "lower"),
    "cache_bytes_per_token": Ratio("cache_bytes", "cache_tokens", "bytes/token", "lower"),
    "peak_memory": Ratio("peak_memory_bytes", "rows", "bytes", "lower"),
}


class EfficiencySettings(Schema):
    """What is generated; part of the task's fingerprint."""

    batch: int = Field(default=1, ge=1)
    """Rows that are generated together."""
    prompt_tokens: int = Field(default=64, ge=1)
    """Tokens of every prompt."""
    new_tokens: int = Field(default=32, ge=2)
    """Tokens that every row is given."""
    repeats: int = Field(default=5, ge=1)
    """Measured runs of a row, after one that is not measured; their median counts."""


class Efficiency:
    """Speed and memory of generating the likeliest tokens, with no end before the last.

    Of each row's medians over the repeats: tokens_per_second, new tokens of all rows of the batch after the first one,
    per second. bytes_per_second, the same in UTF-8 bytes, by the bytes per token of the row's own text: comparable
    whatever the tokenizer. prefill_tokens_per_second, tokens of the prompts per second until the first new token.
    time_to_first_token. cache_bytes_per_token, the size of the cache per token that it has room for; grouped-query
    attention takes 2 · layers · key heads · head width · bytes of a number, latent attention layers · (latent +
    rotated width) · bytes. peak_memory, the most that was allocated on the device; on a CPU, the largest size of the
    whole process so far.

    A timing belongs to the machine and to what else ran on it. Every run measures it anew, and replaces this machine's
    last record. The machine is part of the task's fingerprint, so records of two machines are never compared.
    """

    rows: ClassVar[frozenset[str]] = frozenset({"documents"})
    version: ClassVar[int] = 1
    Settings: ClassVar[type[EfficiencySettings]] = EfficiencySettings
    notes: ClassVar[Sequence[str]] = ("timings hold for the hardware, device and threads of this record's environment",)

    def __init__(self, settings: EfficiencySettings, context: TaskContext) -> None:
        self.headline = "tokens_per_second"
        self._settings = settings

    def requests(self, row: Row) -> Sequence[Request]:
        """Ask for one timing."""
        given = self._settings
        return [
            Timing(
                row_of(row, Document, "efficiency").text,
                given.prompt_tokens,
                given.new_tokens,
                given.batch,
                given.repeats,
            )
        ]

    def score(self, row: Row, answers: Sequence[Answer]) -> ItemScore:
        """Return tokens and seconds; of a model that is too small for the lengths, only that nothing was timed."""
        text = row_of(row, Document, "efficiency").text
        answer, given = one_answer(row.id, answers, Timed), self._settings
        if not answer.first:
            return ItemScore(row.id, row.cluster, {"rows": 0.0})
        new = given.batch * (given.new_tokens - 1)
        values = {
            "rows": 1,
            "prompt_tokens": given.batch * given.prompt_tokens,
            "new_tokens": new,
            "new_bytes": new * len(text.encode()) / answer.text_tokens,
            "first_seconds": median(answer.first),
            "rest_seconds": median(answer.rest),
            "cache_bytes": answer.cache_bytes,
            "cache_tokens": given.batch * (given.prompt_tokens + given.new_tokens),
            "peak_memory_bytes": answer.peak_memory_bytes,
        }
        return ItemScore(row.id, row.cluster, {name: float(value) for name, value in values.items()})

    def aggregate(self, scores: Sequence[ItemScore]) -> Mapping[str, Value]:
        """Return rates and means over rows. Raises Refused where nothing could be timed."""
        timed = [score for score in scores if score.values["rows"]]
        if not timed:
            given = self._settings
            raise Refused(
                f"{given.batch} × {given.prompt_tokens} + {given.new_tokens} tokens are more than the model attends "
                "over, or than fits into memory"
            )
        return ratio_values(timed, _RATIOS)

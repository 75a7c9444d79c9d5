"""Probes: where the expected next word of a prompt stands among all that a model could say."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import ClassVar

from tilbench.config.base import Schema
from tilbench.data.rows import Probe, Row, row_of
from tilbench.errors import PluginError
from tilbench.kinds.metric import ItemScore, TaskContext, Value
from tilbench.kinds.requests import Answer, NextWord, Ranked, Request, one_answer
from tilbench.results.statistics import Ratio, ratio_values
from tilbench.results.values import power_value, share_value

__all__ = ["ProbeMetric", "ProbeSettings"]

_RATIOS = {
    "reciprocal_rank": Ratio("reciprocal_rank", "probes", "1/rank", "higher", most=1.0),
    "probability": Ratio("probability", "probes", "fraction", "higher"),
    "target_perplexity": Ratio("nats", "tokens", "perplexity/token", "lower"),
    "tokens_per_target": Ratio("tokens", "probes", "tokens/target", "none"),
}
_TOP = {"top1": 1, "top10": 10}


class ProbeSettings(Schema):
    """Probes have nothing to set."""


class ProbeMetric:
    """What a model makes of prompts whose next word is known, such as `The capital of Italy is` → `Rome`.

    A target of several tokens has the rank of its first token (1 is the likeliest) and the probability of all
    of them, a space before the word included. Over the n probes, with p the probability of the whole target:

    reciprocal_rank = Σ 1/rank / n, from 0 to 1. top1, top10: share of probes of rank 1, and of 10 or better. A token
    that is exactly as likely as others shares their places: it counts the mean of 1/place and the share of the places
    that are good enough, which is what an order at random gives, and its rank is their mean. tied counts such probes.
    probability = Σ p / n. target_perplexity = exp(−Σ ln p / Σ tokens): of a target of one token it is 1/p.
    tokens_per_target = Σ tokens / n. Of these only `probability` is comparable between tokenizers: where
    words break into many tokens, the rank is that of a small piece, at worst of the space before the word,
    and each piece is easy given those before it. Read the others beside tokens_per_target.

    A probe's own scores are its rank, logprob (natural logarithm), tokens, probability and perplexity
    = exp(−logprob / tokens), a table of one probe a line, and what it adds to the sums: nats, reciprocal_rank, top1,
    top10 and probes (1). Intervals: docs/statistics.md.
    """

    rows: ClassVar[frozenset[str]] = frozenset({"probes"})
    version: ClassVar[int] = 2
    Settings: ClassVar[type[ProbeSettings]] = ProbeSettings

    def __init__(self, settings: ProbeSettings, context: TaskContext) -> None:
        self.headline = "reciprocal_rank"

    def requests(self, row: Row) -> Sequence[Request]:
        """Ask where the target stands after the prompt."""
        probe = row_of(row, Probe, "probe")
        return [NextWord(probe.prompt, probe.target)]

    def score(self, row: Row, answers: Sequence[Answer]) -> ItemScore:
        """Return the target's rank, log-probability, probability and perplexity."""
        row_of(row, Probe, "probe")
        answer = one_answer(row.id, answers, Ranked)
        if answer.rank < 1 or answer.tokens < 1:
            raise PluginError(f"probe {row.id!r}: rank {answer.rank} of {answer.tokens} tokens; both start at 1")
        places = range(answer.rank, answer.rank + answer.tied + 1)
        values = {
            "rank": answer.rank + answer.tied / 2,
            "tied": float(answer.tied > 0),
            "logprob": answer.logprob,
            "tokens": float(answer.tokens),
            "probability": math.exp(answer.logprob),
            "perplexity": _exp(-answer.logprob / answer.tokens),
            "nats": -answer.logprob,
            "reciprocal_rank": math.fsum(1 / place for place in places) / len(places),
            **{name: len(range(places.start, min(places.stop, best + 1))) / len(places) for name, best in _TOP.items()},
            "probes": 1.0,
        }
        return ItemScore(row.id, row.cluster, values)

    def aggregate(self, scores: Sequence[ItemScore]) -> Mapping[str, Value]:
        """Return the means over probes; a single probe has no interval."""
        if not scores:
            return {}
        values = ratio_values(scores, _RATIOS)
        values["target_perplexity"] = power_value(values["target_perplexity"], math.e, "perplexity/token")
        values |= {name: share_value(scores, name, "higher") for name in _TOP}
        tied = math.fsum(score.values["tied"] for score in scores)
        return {**values, "tied": Value(value=tied, n=len(scores), unit="probes", direction="none")}


def _exp(nats: float) -> float:
    """Return e^nats, infinite where that is more than a float can hold."""
    return math.exp(nats) if nats < 709 else math.inf

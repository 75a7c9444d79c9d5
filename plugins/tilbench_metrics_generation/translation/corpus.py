"""Corpus scores of sacreBLEU from the counts of segments, which add up.

BLEU: Papineni et al. (2002), as sacreBLEU computes it (Post, "A Call for Clarity in Reporting BLEU Scores", 2018).
chrF++: Popović (2017), characters up to 6-grams and words up to 2-grams. TER: Snover et al. (2006); as sacreBLEU's, it
ignores case always. All else is sacreBLEU's default too, and its signature says what that is. All three are on
sacreBLEU's scale from 0 to 100; TER may exceed it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tilbench.errors import MissingDependency
from tilbench.kinds.metric import Direction, ItemScore, Value
from tilbench.results.statistics import estimate, statistic_interval

__all__ = ["UNIT", "Scorer", "corpus_values", "scorers"]

UNIT = "of 100"


@dataclass(frozen=True, slots=True)
class Scorer:
    """One score. name: of its value. counts: names of what it counts in a segment. tool: sacreBLEU's own object."""

    name: str
    direction: Direction
    counts: tuple[str, ...]
    tool: Any

    def count(self, hypothesis: str, references: Sequence[str]) -> Mapping[str, float]:
        """Return the counts of one segment, by name."""
        (counts,) = self.tool._extract_corpus_statistics([hypothesis], [[each] for each in references])
        return dict(zip(self.counts, map(float, counts), strict=True))

    def corpus(self, sums: Sequence[float]) -> float:
        """Return the corpus score of summed counts, as sacreBLEU does."""
        return float(self.tool._compute_score_from_stats(list(sums)).score)

    def signature(self, references: int) -> str:
        """Return sacreBLEU's signature, with which others can compute the same."""
        self.tool.corpus_score(["a"], [["a"]] * references)
        return f"{self.name}: {self.tool.get_signature()}"


def scorers(tokenize: str, *, lowercase: bool, ter: bool) -> list[Scorer]:
    """Return chrF++, BLEU and, if asked, TER. Raises MissingDependency without sacreBLEU."""
    try:
        from sacrebleu.metrics.bleu import BLEU
        from sacrebleu.metrics.chrf import CHRF
        from sacrebleu.metrics.ter import TER
    except ModuleNotFoundError:
        raise MissingDependency("sacrebleu", "translation", "scoring translations") from None
    orders = (*(f"c{order}" for order in range(1, 7)), *(f"w{order}" for order in range(1, 3)))
    chrf = tuple(f"chrfpp_{order}_{what}" for order in orders for what in ("hyp", "ref", "match"))
    bleu = (
        "bleu_hyp_length",
        "bleu_ref_length",
        *(f"bleu_{order}_match" for order in range(1, 5)),
        *(f"bleu_{order}_hyp" for order in range(1, 5)),
    )
    found = [
        Scorer("chrfpp", "higher", chrf, CHRF(word_order=2, lowercase=lowercase)),
        Scorer("bleu", "higher", bleu, BLEU(tokenize=tokenize, lowercase=lowercase, force=True)),
    ]
    if ter:
        found.append(Scorer("ter", "lower", ("ter_edits", "ter_ref_length"), TER()))
    return found


def corpus_values(scores: Sequence[ItemScore], used: Sequence[Scorer]) -> dict[str, Value]:
    """Return each corpus score with the interval of the jackknife: the score is computed anew without each segment."""
    clusters = [score.cluster for score in scores]
    values: dict[str, Value] = {}
    for scorer in used:
        columns = [[score.values[name] for score in scores] for name in scorer.counts]
        interval = statistic_interval(scorer.corpus, columns, clusters)
        interval = interval and interval.within(0.0, math.inf)
        score = scorer.corpus([math.fsum(column) for column in columns])
        values[scorer.name] = estimate(score, interval, len(scores), UNIT, scorer.direction)
    return values

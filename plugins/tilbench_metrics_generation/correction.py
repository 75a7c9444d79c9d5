"""Correction of faulty texts: a text is asked for, and its edits are compared with those of the reference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import ClassVar

from tilbench.data.rows import Pair
from tilbench.kinds.metric import ItemScore, Value
from tilbench.kinds.requests import Generated
from tilbench.results.statistics import Ratio, ratio_values
from tilbench.results.values import share_value
from tilbench_metrics_generation.edits import distance, edits, plain, tokens
from tilbench_metrics_generation.prompted import Prompted, TemplateSettings

__all__ = ["Correction", "CorrectionSettings"]

_BETA2 = 0.5**2  # precision counts twice as much as recall

_RATIOS = {
    "f05": Ratio("f05_above", "f05_below", "fraction", "higher"),
    "precision": Ratio("right_edits", "edits", "fraction", "higher"),
    "recall": Ratio("right_edits", "wanted_edits", "fraction", "higher"),
    "cer": Ratio("distance", "characters", "fraction", "lower"),
    "cer_source": Ratio("distance_source", "characters", "fraction", "none"),
}


class CorrectionSettings(TemplateSettings):
    """How corrections are asked for; part of the task's fingerprint."""

    known = ("source", "passage_cue", "answer_cue")
    needed = ("source",)

    template: str = "{passage_cue}: {source}\n{answer_cue}:"
    """The prompt of one text. Say in the language's own words that a correction is wanted, or show examples."""


class Correction(Prompted[Pair]):
    """F0.5 of edits, and character error rate, on pairs of a faulty text (source) and its correction (target).

    An edit replaces, deletes or inserts one token (`edits`). right_edits are those of the model's text that the
    reference has too, at the same place and with the same replacement, after Dahlmeier and Ng, "Better Evaluation for
    Grammatical Error Correction" (2012): of all shortest alignments of the source with the text, the one that agrees
    most with the reference counts. Over all rows: precision = right / edits of the model, recall = right / edits of the
    reference, f05 = 1.25 · right / (edits + 0.25 · wanted edits), their weighted harmonic mean (Ng et al., 2014). A
    ratio without a denominator is no value.

    cer = Σ Levenshtein distance to the target / Σ characters of the target; cer_source is what leaving every text as
    it is would have. exact_match: share of texts that are the target. over_correction_rate: share of the rows with
    nothing to correct that were changed all the same. completion_rate: texts that a stop or the end-of-text token
    ended. Texts are compared composed (NFC), white space but for its place does not count.
    Intervals: docs/statistics.md.
    """

    name = "correction"
    row_type = Pair
    rows: ClassVar[frozenset[str]] = frozenset({"pairs"})
    headline = "f05"
    version: ClassVar[int] = 2
    Settings: ClassVar[type[CorrectionSettings]] = CorrectionSettings

    def fields(self, row: Pair) -> Mapping[str, str]:
        """Return the faulty text and the cue words."""
        cues = self.language.cues
        return {"source": row.source.strip(), "passage_cue": cues.passage, "answer_cue": cues.answer}

    def solution(self, row: Pair) -> str:
        """Return the correction."""
        return row.target

    def compare(self, row: Pair, answer: Generated) -> Mapping[str, float]:
        """Compare the text with the source and the target."""
        source, target, text = map(plain, (row.source, row.target, answer.whole))
        wanted = edits(tokens(source), tokens(target))
        made = edits(tokens(source), tokens(text), wanted)
        right = (made & wanted).total()
        values: dict[str, float] = {
            "right_edits": right,
            "edits": made.total(),
            "wanted_edits": wanted.total(),
            "f05_above": (1 + _BETA2) * right,
            "f05_below": made.total() + _BETA2 * wanted.total(),
            "distance": distance(text, target),
            "distance_source": distance(source, target),
            "characters": len(target),
            "exact": text == target,
            "faultless": source == target,
            "over_corrected": source == target != text,
            "complete": answer.complete,
        }
        return {name: float(value) for name, value in values.items()}

    def aggregate(self, scores: Sequence[ItemScore]) -> Mapping[str, Value]:
        """Return corpus ratios and shares."""
        if not scores:
            return {}
        values = ratio_values(scores, _RATIOS)
        values["exact_match"] = share_value(scores, "exact", "higher")
        if faultless := [score for score in scores if score.values["faultless"]]:
            rate = share_value(faultless, "over_corrected", "lower")
            values["over_correction_rate"] = replace(rate, of=("over_corrected", "faultless"))
        values["completion_rate"] = share_value(scores, "complete", "higher")
        return values

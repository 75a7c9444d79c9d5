"""Correction of faulty texts: a text is asked for, and its edits are compared with those of the reference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import ClassVar

from pydantic import field_validator

from tilbench.data.rows import Pair, Row
from tilbench.errors import ConfigError, DataError, PluginError
from tilbench.kinds.examples import ExamplePool
from tilbench.kinds.generation import GenerativeSettings, check_template, few_shot
from tilbench.kinds.metric import ItemScore, TaskContext, Value
from tilbench.kinds.requests import Answer, Generated, Request
from tilbench.results.statistics import Ratio, ratio_values
from tilbench.results.values import share_value
from tilbench_metrics_generation.edits import distance, edits, plain, tokens

__all__ = ["Correction", "CorrectionSettings"]

_FIELDS = ("source", "passage_cue", "answer_cue")
_BETA2 = 0.5**2  # precision counts twice as much as recall

_RATIOS = {
    "f05": Ratio("f05_above", "f05_below", "fraction", "higher"),
    "precision": Ratio("right_edits", "edits", "fraction", "higher"),
    "recall": Ratio("right_edits", "wanted_edits", "fraction", "higher"),
    "cer": Ratio("distance", "characters", "fraction", "lower"),
    "cer_source": Ratio("distance_source", "characters", "fraction", "none"),
}


class CorrectionSettings(GenerativeSettings):
    """How corrections are asked for; part of the task's fingerprint."""

    template: str = "{passage_cue}: {source}\n{answer_cue}:"
    """The prompt of one text. Say in the language's own words that a correction is wanted, or show examples."""

    @field_validator("template")
    @classmethod
    def _template_is_whole(cls, template: str) -> str:
        return check_template(template, _FIELDS, ["source"])


class Correction:
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

    rows: ClassVar[frozenset[str]] = frozenset({"pairs"})
    headline = "f05"
    version: ClassVar[int] = 2
    Settings: ClassVar[type[CorrectionSettings]] = CorrectionSettings

    def __init__(self, settings: CorrectionSettings, context: TaskContext) -> None:
        if context.language is None:
            raise ConfigError(
                "a correction task needs a language for the words of its prompt; set 'language' in the task or in its "
                "dataset"
            )
        self._settings, self._context = settings, context
        cues = context.language.cues
        self._cues = {"passage_cue": cues.passage, "answer_cue": cues.answer}
        self._pool = ExamplePool([_pair(example) for example in context.examples], context.seed)

    def requests(self, row: Row) -> Sequence[Request]:
        """Ask for the corrected text."""
        pair, settings = _pair(row), self._settings
        solved = self._pool.pick(pair, self._context.shots)
        blocks = [(self._block(example), example.target.strip()) for example in solved]
        prompt = few_shot(settings.instruction, blocks, self._block(pair))
        return [settings.ask(prompt, row, self._context.seed)]

    def score(self, row: Row, answers: Sequence[Answer]) -> ItemScore:
        """Compare the text with the source and the target."""
        pair = _pair(row)
        if len(answers) != 1 or not isinstance(answers[0], Generated):
            raise PluginError(f"pair {row.id!r} was not answered by one Generated")
        source, target, text = map(plain, (pair.source, pair.target, answers[0].whole))
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
            "complete": answers[0].complete,
        }
        return ItemScore(row.id, row.cluster, {name: float(value) for name, value in values.items()})

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

    def _block(self, pair: Pair) -> str:
        return self._settings.template.format(source=pair.source.strip(), **self._cues)


def _pair(row: Row) -> Pair:
    if not isinstance(row, Pair):
        raise DataError(f"row {row.id!r}: correction scores pairs, not {row.kind}")
    return row

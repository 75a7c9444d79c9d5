"""Translation of sentences: a text is asked for, and scored against the reference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

from tilbench.data.rows import Pair
from tilbench.kinds.metric import Direction, ItemScore, TaskContext, Value
from tilbench.kinds.requests import Generated
from tilbench.results.values import share_value
from tilbench_metrics_generation.prompted import Prompted, TemplateSettings
from tilbench_metrics_generation.translation.corpus import corpus_values, scorers
from tilbench_metrics_generation.translation.refusals import Limits, Traps

__all__ = ["Translation", "TranslationSettings"]

_SHARES: Mapping[str, tuple[str, Direction]] = {
    "equal_rate": ("equal", "none"),
    "empty_rate": ("empty", "lower"),
    "off_target_rate": ("off_target", "lower"),
    "completion_rate": ("complete", "higher"),
}


class TranslationSettings(TemplateSettings):
    """How translations are asked for and scored; part of the task's fingerprint."""

    known = ("source", "passage_cue", "language")
    needed = ("source",)

    template: str = "{passage_cue}: {source}\n{language}:"
    """The prompt of one pair. {source} is its text, {passage_cue} the language's word for a text, {language} its own
    name for itself."""
    tokenize: Literal["13a", "intl", "char", "zh", "none"] = "13a"
    """How BLEU finds words; sacreBLEU's names."""
    lowercase: bool = False
    """Ignore case in BLEU and chrF++. TER ignores it always, as sacreBLEU's does."""
    ter: bool = False
    """Compute TER too, which takes long."""
    refuse_above: Limits = Limits()
    """Shares of odd hypotheses above which nothing is scored."""


class Translation(Prompted[Pair]):
    """Corpus chrF++ and BLEU, and TER if asked, equal to sacreBLEU's on the same texts.

    One text a pair is asked for; white space around it is left off. Item scores hold sacreBLEU's counts of each segment
    (matches, n-grams, lengths), whose sums give the corpus score. Intervals: the jackknife over segments
    (docs/statistics.md). Shares of hypotheses that are equal to
    the reference, empty, in another language (where languages can be told apart), and complete, which a stop or the
    end-of-text token ended. Above a limit of the first three nothing is scored, and the record says why. sacreBLEU's
    signatures are in the record's notes.
    """

    name = "translation"
    row_type = Pair
    rows: ClassVar[frozenset[str]] = frozenset({"pairs"})
    headline = "chrfpp"
    version: ClassVar[int] = 2
    Settings: ClassVar[type[TranslationSettings]] = TranslationSettings

    def __init__(self, settings: TranslationSettings, context: TaskContext) -> None:
        super().__init__(settings, context)
        self._scorers = scorers(settings.tokenize, lowercase=settings.lowercase, ter=settings.ter)
        self._traps = Traps(self.language, settings.refuse_above)

    @property
    def notes(self) -> Sequence[str]:
        """The signatures of sacreBLEU, and the rule for texts in another language."""
        return [*(scorer.signature(1) for scorer in self._scorers), self._traps.note]

    @property
    def deciding(self) -> Mapping[str, object]:
        """What the values depend on besides settings, rows and answers."""
        return {"language_id": self._traps.deciding}

    def fields(self, row: Pair) -> Mapping[str, str]:
        """Return the text, its cue word, and what the language calls itself."""
        cue, name = self.language.cues.passage, self.language.native_name
        return {"source": row.source.strip(), "passage_cue": cue, "language": name}

    def solution(self, row: Pair) -> str:
        """Return the reference."""
        return row.target

    def compare(self, row: Pair, answer: Generated) -> Mapping[str, float]:
        """Count what the text and the reference share, and mark what is odd about it."""
        hypothesis = answer.whole.strip()
        values = {"complete": float(answer.complete), **self._traps.mark(hypothesis, [row.target])}
        for scorer in self._scorers:
            values.update(scorer.count(hypothesis, [row.target]))
        return values

    def aggregate(self, scores: Sequence[ItemScore]) -> Mapping[str, Value]:
        """Return corpus scores and shares. Raises Refused where the hypotheses cannot be a model's translations."""
        if not scores:
            return {}
        self._traps.refuse(scores)
        shares = {
            label: share_value(scores, name, direction)
            for label, (name, direction) in _SHARES.items()
            if all(name in score.values for score in scores)
        }
        return {**corpus_values(scores, self._scorers), **shares}

"""Translation of sentences: a text is asked for, and scored against the reference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

from pydantic import field_validator

from tilbench.data.rows import Pair, Row
from tilbench.errors import ConfigError, DataError, PluginError
from tilbench.kinds.examples import ExamplePool
from tilbench.kinds.generation import GenerativeSettings, check_template, few_shot
from tilbench.kinds.metric import Direction, ItemScore, TaskContext, Value
from tilbench.kinds.requests import Answer, Generated, Request
from tilbench.results.values import share_value
from tilbench_metrics_generation.translation.corpus import corpus_values, scorers
from tilbench_metrics_generation.translation.refusals import Limits, Traps

__all__ = ["Translation", "TranslationSettings"]

_FIELDS = ("source", "passage_cue", "language")
_SHARES: Mapping[str, tuple[str, Direction]] = {
    "equal_rate": ("equal", "none"),
    "empty_rate": ("empty", "lower"),
    "off_target_rate": ("off_target", "lower"),
    "completion_rate": ("complete", "higher"),
}


class TranslationSettings(GenerativeSettings):
    """How translations are asked for and scored; part of the task's fingerprint."""

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

    @field_validator("template")
    @classmethod
    def _template_is_whole(cls, template: str) -> str:
        return check_template(template, _FIELDS, ["source"])


class Translation:
    """Corpus chrF++ and BLEU, and TER if asked, equal to sacreBLEU's on the same texts.

    One text a pair is asked for; white space around it is left off. Item scores hold sacreBLEU's counts of each segment
    (matches, n-grams, lengths), whose sums give the corpus score. Intervals: the jackknife over segments
    (docs/statistics.md). Shares of hypotheses that are equal to
    the reference, empty, in another language (where languages can be told apart), and complete, which a stop or the
    end-of-text token ended. Above a limit of the first three nothing is scored, and the record says why. sacreBLEU's
    signatures are in the record's notes.
    """

    rows: ClassVar[frozenset[str]] = frozenset({"pairs"})
    headline = "chrfpp"
    version: ClassVar[int] = 2
    Settings: ClassVar[type[TranslationSettings]] = TranslationSettings

    def __init__(self, settings: TranslationSettings, context: TaskContext) -> None:
        if context.language is None:
            raise ConfigError(
                "a translation task needs the language that is translated into; set 'language' in the task or in its "
                "dataset"
            )
        self._settings, self._context = settings, context
        self._cues = {"passage_cue": context.language.cues.passage, "language": context.language.native_name}
        self._pool = ExamplePool([_pair(example) for example in context.examples], context.seed)
        self._scorers = scorers(settings.tokenize, lowercase=settings.lowercase, ter=settings.ter)
        self._traps = Traps(context.language, settings.refuse_above)

    @property
    def notes(self) -> Sequence[str]:
        """The signatures of sacreBLEU, and the rule for texts in another language."""
        return [*(scorer.signature(1) for scorer in self._scorers), self._traps.note]

    @property
    def deciding(self) -> Mapping[str, Any]:
        """What the values depend on besides settings, rows and answers."""
        return {"language_id": self._traps.deciding}

    def requests(self, row: Row) -> Sequence[Request]:
        """Ask for the translation."""
        pair, settings = _pair(row), self._settings
        solved = self._pool.pick(pair, self._context.shots)
        blocks = [(self._block(example), example.target.strip()) for example in solved]
        prompt = few_shot(settings.instruction, blocks, self._block(pair))
        return [settings.ask(prompt, row, self._context.seed)]

    def score(self, row: Row, answers: Sequence[Answer]) -> ItemScore:
        """Count what the text and the reference share, and mark what is odd about it."""
        pair = _pair(row)
        if len(answers) != 1 or not isinstance(answers[0], Generated):
            raise PluginError(f"pair {row.id!r} was not answered by one Generated")
        hypothesis = answers[0].whole.strip()
        values = {"complete": float(answers[0].complete), **self._traps.mark(hypothesis, [pair.target])}
        for scorer in self._scorers:
            values.update(scorer.count(hypothesis, [pair.target]))
        return ItemScore(row.id, row.cluster, values)

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

    def _block(self, pair: Pair) -> str:
        return self._settings.template.format(source=pair.source.strip(), **self._cues)


def _pair(row: Row) -> Pair:
    if not isinstance(row, Pair):
        raise DataError(f"row {row.id!r}: translation scores pairs, not {row.kind}")
    return row

"""Behaviour: whether a model's texts loop, repeat themselves, end, and stay in their language."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import ClassVar

from tilbench.config.base import Schema
from tilbench.config.decoding import (
    Decoding,
    MaxNewTokens,
    NoRepeatNgram,
    RepetitionPenalty,
    Stop,
    Temperature,
    TopK,
    TopP,
)
from tilbench.data.rows import Prompt, Row, row_of
from tilbench.errors import UnknownName
from tilbench.kinds.language import Language
from tilbench.kinds.metric import Direction, ItemScore, TaskContext, Value
from tilbench.kinds.requests import Answer, Generated, Generation, Request, one_answer
from tilbench.results.values import mean_value, share_value
from tilbench.text.scripts import letters_of
from tilbench_metrics_generation.spoken import Spoken
from tilbench_metrics_generation.texts import distinct, letter_shares, loops, repeats, switches, words_of

__all__ = ["Behavior", "BehaviorSettings"]

_SHARES: Mapping[str, Direction] = {
    "loop_rate": "lower",
    "repeated_4gram_rate": "lower",
    "completion_rate": "higher",
    "script_switch_rate": "lower",
    "language_switch_rate": "lower",
    "empty_rate": "lower",
}
_MEANS: Mapping[str, tuple[str, Direction]] = {
    "distinct_1": ("fraction", "higher"),
    "distinct_2": ("fraction", "higher"),
    "distinct_3": ("fraction", "higher"),
    "script_consistency": ("fraction", "higher"),
    "language_consistency": ("fraction", "higher"),
    "alphabet_consistency": ("fraction", "higher"),
    "mean_words": ("words", "none"),
}


class BehaviorSettings(Schema):
    """How texts are generated; part of the task's fingerprint.

    The defaults are the preset `balanced` of 1gpu-llm small EN/IT, the winner of its decoding sweep on prompts
    that the sweep had not seen.
    """

    max_new_tokens: MaxNewTokens = 64
    temperature: Temperature = 0.8
    top_k: TopK = 50
    top_p: TopP = 0.95
    repetition_penalty: RepetitionPenalty = 1.1
    no_repeat_ngram: NoRepeatNgram = 0
    """Tokens of the n-grams that may not come twice; 0 forbids none. It breaks loops of tokens by force."""
    stop: Stop = ()
    """A text ends before the first of these, and is then complete."""
    languages: tuple[str, ...] = ()
    """Tags of languages that a text is likely to turn out to be in, besides the task's own: the choice among these is
    sharper than that among all languages. A language that py3langid does not know is found only where it is named."""


class Behavior:
    """How a model continues prompts: one text a prompt, drawn with the suite's seed. The prompt is not scored.

    Shares of texts: loop_rate, that end in a loop (a phrase of 2 words or more 3 times in a row, or 20 characters
    of one short unit: `texts.loops`). repeated_4gram_rate, in which some 4 words stand twice in the same order.
    completion_rate, that ended by themselves or at a stop before the limit. script_switch_rate, with 3 words or more
    in a row in another script than the language's. language_switch_rate, with a sentence in another language.
    empty_rate, with nothing but white space.

    Means over texts: distinct_n = distinct n-grams / n-grams of words of a text, after Li et al., "A Diversity-
    Promoting Objective Function for Neural Conversation Models" (2016), who take all texts together and divide by
    words; long texts have less of it, so compare at equal length. script_consistency, the share of letters in
    the language's script; alphabet_consistency, in its alphabet, which tells some languages of one script apart,
    and one way only: Kazakh has letters that Russian has not, but all of Russian's. language_consistency, the share of
    the letters of sentences that are in sentences of the language. mean_words.

    The language of a sentence, or of a piece of a long one, is what `tilbench.text.language_id` says, given the task's
    language and those of the setting `languages` as candidates. Sentences that it leaves undecided, mostly for their
    shortness, do not count; a text with no other has neither value, nor has a task whose language has no profile.

    Words: `texts`. An empty text is a text: it does not loop, repeat or switch script, so read those beside empty_rate.
    It has no n-grams and no letters, and like every text too short for a mean it is left out of it, as the
    value's n says; where no text is left, so is the value. A task without a language, or whose language is of no
    one script (code), has no values of language. Intervals: Wilson's for shares, Student's over prompts for means.
    """

    rows: ClassVar[frozenset[str]] = frozenset({"prompts"})
    version: ClassVar[int] = 3
    Settings: ClassVar[type[BehaviorSettings]] = BehaviorSettings

    def __init__(self, settings: BehaviorSettings, context: TaskContext) -> None:
        self.headline = "loop_rate"
        self._decoding = Decoding.of(settings)
        self._stop = settings.stop
        language = context.language
        self._alphabet = language.alphabet if language else ""
        self._own = letters_of(language.script) if language else None
        self._spoken = Spoken(language, _named(settings.languages, context))
        self._seed = context.seed

    @property
    def notes(self) -> Sequence[str]:
        """The rule behind the values of language, or why there are none."""
        return [f"language_consistency: {self._spoken.rule}"] if self._own else []

    @property
    def deciding(self) -> Mapping[str, object]:
        """What the values depend on besides settings, rows and answers."""
        return self._spoken.deciding

    def requests(self, row: Row) -> Sequence[Request]:
        """Ask for one text."""
        return [Generation(row_of(row, Prompt, "behavior").prompt, self._decoding, self._stop, self._seed)]

    def score(self, row: Row, answers: Sequence[Answer]) -> ItemScore:
        """Measure the text; a measure that it is too short for is left out."""
        row_of(row, Prompt, "behavior")
        answer = one_answer(row.id, answers, Generated)
        text = answer.whole
        words = words_of(text, self._alphabet)
        values: dict[str, float | None] = {
            "loop_rate": loops(text, words, answer.complete),
            "repeated_4gram_rate": repeats(words, 4),
            "completion_rate": answer.complete,
            "empty_rate": not text.strip(),
            "mean_words": len(words),
            **{f"distinct_{size}": distinct(words, size) for size in (1, 2, 3)},
            **self._of_language(text, words),
        }
        return ItemScore(
            row.id, row.cluster, {name: float(value) for name, value in values.items() if value is not None}
        )

    def aggregate(self, scores: Sequence[ItemScore]) -> Mapping[str, Value]:
        """Return shares and means over the texts that have the measure; a single text has no interval."""
        having = {name: [score for score in scores if name in score.values] for name in (*_SHARES, *_MEANS)}
        return {name: self._value(name, some, len(some) == len(scores)) for name, some in having.items() if some}

    def _of_language(self, text: str, words: Sequence[str]) -> dict[str, float]:
        if self._own is None:
            return {}
        shares = letter_shares(text, self._own, self._alphabet)
        found = dict(zip(("script_consistency", "alphabet_consistency"), shares, strict=True)) if shares else {}
        return {"script_switch_rate": switches(words, self._own), **found, **self._of_sentences(text)}

    def _of_sentences(self, text: str) -> dict[str, float]:
        share = self._spoken.share(text)
        return {} if share is None else {"language_consistency": share, "language_switch_rate": share < 1}

    def _value(self, name: str, scores: Sequence[ItemScore], all_have_it: bool) -> Value:
        if name in _SHARES:
            value = share_value(scores, name, _SHARES[name])
        else:
            unit, direction = _MEANS[name]
            value = mean_value(scores, name, unit, direction)
        return value if all_have_it else replace(value, of=None)  # it is no mean over all items


def _named(tags: Sequence[str], context: TaskContext) -> Sequence[Language]:
    """Return the languages of `tags`. Raises UnknownName for a tag that is not registered."""
    known = {each.tag: each for each in context.languages}
    for tag in tags if context.languages else ():
        if tag not in known:
            raise UnknownName("language", tag, known)
    return [known[tag] for tag in tags if tag in known]

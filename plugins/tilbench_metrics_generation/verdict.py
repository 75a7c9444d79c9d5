"""OK, WEAK or FAIL: a smoke test of what a base model writes, a dozen texts long."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from tilbench.config.base import Schema
from tilbench.config.decoding import Decoding
from tilbench.data.rows import Prompt, Row, row_of
from tilbench.errors import PluginError
from tilbench.kinds.metric import Direction, ItemScore, TaskContext, Value
from tilbench.kinds.requests import Answer, Generated, Generation, Request
from tilbench.results.statistics import estimate, proportion_interval
from tilbench_metrics_generation.spoken import Spoken
from tilbench_metrics_generation.texts import disordered, distinct, loops, words_of

__all__ = ["LABELS", "Label", "Verdict", "VerdictSettings", "judge", "overall"]

Label = Literal["FAIL", "WEAK", "OK"]
LABELS: Sequence[Label] = ("FAIL", "WEAK", "OK")
"""The labels, worst first; a label's place is its number in item scores."""

_LEAST_WORDS = 3
_LEAST_TEXT = 0.3  # of the characters that are not white space, letters and digits
_LEAST_DISTINCT = 0.5  # of the pairs of words
_LEAST_SPOKEN = 0.5  # of the letters in sentences whose language is decided
_ENOUGH = 0.75  # of the texts, OK

_RULE = (
    f"a text is FAIL with fewer than {_LEAST_WORDS} words, less than {_LEAST_TEXT:.0%} letters and digits, U+FFFD or "
    f"less than {_LEAST_SPOKEN:.0%} in its language; WEAK where it ends in a loop, distinct-2 is below "
    f"{_LEAST_DISTINCT} or sentences do not begin where others end; else OK, whether it is true or not"
)

_DIRECTIONS: Mapping[Label, Direction] = {"OK": "higher", "WEAK": "lower", "FAIL": "lower"}


class VerdictSettings(Schema):
    """How texts are generated; part of the task's fingerprint.

    temperature 0.8, top_k 40 and 120 tokens are those of the samples on the card of auto-g-nano-1b. The card does not
    print its second temperature; here it is 0, where it says that loops are to be seen.
    """

    temperatures: tuple[Annotated[float, Field(ge=0, allow_inf_nan=False)], ...] = Field(
        default=(0.0, 0.8), min_length=1
    )
    """Each prompt is continued once at each; 0 takes the likeliest token."""
    max_new_tokens: int = Field(default=120, ge=1)
    """Tokens at most."""
    top_k: int = Field(default=40, ge=0)
    """0 keeps all."""


class Verdict:
    """OK, WEAK or FAIL for each text that a model writes, and for all of them together.

    A text is FAIL where it is no text or in another language: fewer than 3 words; a character that is no Unicode text
    (U+FFFD, but for what the token limit cuts); less than 30% letters and digits among its characters, white space left
    out; or less than half of it in the task's language, as far as the language of its sentences is decided
    (`spoken.Spoken`). Language is not judged where the prompt itself is in another one (code) or the task's has no
    profile. Else a text is WEAK where it ends in a loop (`texts.loops`), distinct-2 is below 0.5 (more than half of its
    word pairs were there before), or sentences do not begin where others end (`texts.disordered`). Else it is OK.
    Whether it is true, or to the point, is not looked at, nor the order of words inside a sentence.

    ok, weak and fail count texts; ok_rate, weak_rate and fail_rate are their shares, with Wilson's intervals,
    prompts as clusters. verdict is 0 (FAIL) where some text is FAIL, else 2 (OK) where three quarters are OK, else 1
    (WEAK). An item score has the number of the label of each text, in the order of the temperatures.

    The form is that of the smoke test of auto-g-nano-1b: 6 prompts × 2 temperatures, 9 OK / 3 WEAK / 0 FAIL. Its card
    names "heuristic verdict checks" and does not print them, so the rule is this one's own, and its counts are not
    comparable with the card's.
    """

    rows: ClassVar[frozenset[str]] = frozenset({"prompts"})
    version: ClassVar[int] = 2
    Settings: ClassVar[type[VerdictSettings]] = VerdictSettings

    def __init__(self, settings: VerdictSettings, context: TaskContext) -> None:
        self.headline = "ok_rate"
        self._decodings = [
            Decoding(max_new_tokens=settings.max_new_tokens, temperature=temperature, top_k=settings.top_k)
            for temperature in settings.temperatures
        ]
        self._language = context.language
        self._spoken = Spoken(context.language)
        self._seed = context.seed

    @property
    def notes(self) -> Sequence[str]:
        """The rule, for whoever reads the value."""
        return [f"verdict: {_RULE}; language: {self._spoken.rule}"]

    @property
    def deciding(self) -> Mapping[str, object]:
        """What the values depend on besides settings, rows and answers."""
        return self._spoken.deciding

    def requests(self, row: Row) -> Sequence[Request]:
        """Ask for one text at each temperature."""
        prompt = row_of(row, Prompt, "verdict").prompt
        return [Generation(prompt, decoding, (), self._seed) for decoding in self._decodings]

    def score(self, row: Row, answers: Sequence[Answer]) -> ItemScore:
        """Return the number of each text's label, and how many texts have each label."""
        prompt = row_of(row, Prompt, "verdict").prompt
        texts = [answer for answer in answers if isinstance(answer, Generated)]
        if not len(texts) == len(answers) == len(self._decodings):
            raise PluginError(f"prompt {row.id!r} was not answered by {len(self._decodings)} Generated")
        alphabet = self._language.alphabet if self._language else ""
        spoken = None if self._spoken.elsewhere(prompt) else self._spoken
        labels = [judge(text.whole, complete=text.complete, alphabet=alphabet, spoken=spoken) for text in texts]
        values = {f"label_{place}": float(LABELS.index(label)) for place, label in enumerate(labels, start=1)}
        values |= {label.lower(): float(labels.count(label)) for label in LABELS}
        return ItemScore(row.id, row.cluster, {**values, "texts": float(len(labels))})

    def aggregate(self, scores: Sequence[ItemScore]) -> Mapping[str, Value]:
        """Return counts, shares and the overall verdict."""
        if not scores:
            return {}
        counts = {label: round(sum(score.values[label.lower()] for score in scores)) for label in _DIRECTIONS}
        number, n = LABELS.index(overall(counts)), len(scores)
        return {
            "verdict": Value(value=number, n=n, unit="0 FAIL, 1 WEAK, 2 OK", direction="higher"),
            **{f"{label.lower()}_rate": _rate(scores, label) for label in _DIRECTIONS},
            **{
                label.lower(): Value(value=count, n=n, unit="texts", direction=_DIRECTIONS[label])
                for label, count in counts.items()
            },
        }


def _rate(scores: Sequence[ItemScore], label: Label) -> Value:
    """Return the share of texts with a label; the texts of one prompt are a cluster."""
    having: list[float] = []
    clusters: list[str] = []
    for score in scores:
        numbers = [value for name, value in score.values.items() if name.startswith("label_")]
        having += [float(number == LABELS.index(label)) for number in numbers]
        clusters += [score.cluster] * len(numbers)
    interval = proportion_interval(having, clusters)
    share, terms = math.fsum(having) / len(having), (label.lower(), "texts")
    return estimate(share, interval, len(scores), "fraction", _DIRECTIONS[label], of=terms)


def judge(text: str, *, complete: bool = True, alphabet: str = "", spoken: Spoken | None = None) -> Label:
    """Return the label of one text (`Verdict`).

    complete: it ended by itself, and its last word is whole. spoken: the language that it must be in, if any.

    >>> judge("The river runs down to the sea."), judge("so it was and so it was and so it was"), judge("?!")
    ('OK', 'WEAK', 'FAIL')
    """
    words = words_of(text, alphabet)
    signs = "".join(text.split())
    if len(words) < _LEAST_WORDS or "\N{REPLACEMENT CHARACTER}" in text:
        return "FAIL"
    if sum(map(str.isalnum, signs)) < _LEAST_TEXT * len(signs):
        return "FAIL"
    share = spoken.share(text) if spoken else None
    if share is not None and share < _LEAST_SPOKEN:
        return "FAIL"
    pairs = distinct(words, 2)
    if loops(text, words, complete) or disordered(text) or (pairs is not None and pairs < _LEAST_DISTINCT):
        return "WEAK"
    return "OK"


def overall(counts: Mapping[Label, int]) -> Label:
    """Return the verdict on texts of which so many have each label.

    >>> overall({"OK": 9, "WEAK": 3, "FAIL": 0}), overall({"OK": 8, "WEAK": 4, "FAIL": 0})
    ('OK', 'WEAK')
    """
    if counts["FAIL"]:
        return "FAIL"
    return "OK" if counts["OK"] >= _ENOUGH * sum(counts.values()) else "WEAK"

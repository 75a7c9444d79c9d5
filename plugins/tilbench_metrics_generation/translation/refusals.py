"""What is wrong with a hypothesis whatever it scores, and when that makes the score of a corpus a false one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pydantic import Field

from tilbench.config.base import Schema
from tilbench.errors import Refused
from tilbench.kinds.language import Language
from tilbench.kinds.metric import ItemScore
from tilbench.text.language_id import OTHER, deciding, identify, untold

__all__ = ["Limits", "Traps"]


class Limits(Schema):
    """Shares of hypotheses above which nothing is scored."""

    equal: float = Field(default=0.8, ge=0, le=1)
    """Equal to a reference; set 1 for texts so short that good models find them."""
    empty: float = Field(default=0.5, ge=0, le=1)
    """With nothing but white space."""
    off_target: float = Field(default=0.5, ge=0, le=1)
    """In another language."""


class Traps:
    """Marks hypotheses, and refuses to score where too many are marked. A few odd ones are counted, and no more.

    equal: it is a reference, but for white space. empty: nothing but white space. off_target: it is in another language
    (`identify`); a text that is too short to tell is not. Where the language cannot be told from others, no hypothesis
    has that mark.
    """

    def __init__(self, language: Language, limits: Limits) -> None:
        self._language, self._limits = language, limits
        self._untold = untold(language)

    @property
    def deciding(self) -> Mapping[str, object]:
        """What the marks depend on besides the texts."""
        return deciding([self._language])

    @property
    def note(self) -> str:
        """The rule behind off_target_rate, or why there is none."""
        if self._untold:
            return f"off_target_rate: none; {self._untold}"
        tool = self.deciding["tool"]
        return f"off_target_rate: another language is {OTHER} times as likely as {self._language.tag} by {tool}"

    def mark(self, hypothesis: str, references: Sequence[str]) -> Mapping[str, float]:
        """Return each mark of one hypothesis, 0 or 1."""
        words = hypothesis.split()
        equal = bool(words) and any(words == reference.split() for reference in references)
        marks = {"equal": float(equal), "empty": float(not words)}
        if not self._untold:
            marks["off_target"] = float(identify(hypothesis, [self._language]) not in (None, self._language.tag))
        return marks

    def refuse(self, scores: Sequence[ItemScore]) -> None:
        """Raise Refused where the share of a mark is above its limit; the message says what to look at."""
        for name, reason in (
            (
                "equal",
                "are the reference itself, so that no model seems to be behind them; look at where they come from",
            ),
            ("empty", "are empty; look at the prompt and at 'stop'"),
            ("off_target", f"are in another language than {self._language.tag}; look at the prompt, or show examples"),
        ):
            marked = sum(score.values.get(name, 0.0) for score in scores)
            limit = getattr(self._limits, name)
            if marked > limit * len(scores):
                raise Refused(f"not scored: {marked:.0f} of {len(scores)} hypotheses {reason} ({limit:.0%} may be)")

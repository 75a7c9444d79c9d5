"""What is wrong with a hypothesis whatever it scores, and when that makes the score of a corpus a false one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pydantic import Field

from tilbench.config.base import Schema
from tilbench.data.language_id import identify
from tilbench.errors import Refused
from tilbench.kinds.language import Language
from tilbench.kinds.metric import ItemScore

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

    equal: it is a reference, but for white space. empty: nothing but white space. off_target: `identify` takes it
    for another of the registered languages; a text that is too short to tell is not. Without a second language to
    tell from, that is not known.
    """

    def __init__(self, language: Language, languages: Sequence[Language], limits: Limits) -> None:
        self.tag = language.tag
        candidates = [each for each in languages if not each.domain]
        self._candidates = candidates if len(candidates) > 1 and language in candidates else []
        self._limits = limits

    @property
    def told_apart(self) -> Sequence[str]:
        """Tags of the other languages that a text may be taken for."""
        return [each.tag for each in self._candidates if each.tag != self.tag]

    def mark(self, hypothesis: str, references: Sequence[str]) -> Mapping[str, float]:
        """Return each mark of one hypothesis, 0 or 1."""
        words = hypothesis.split()
        equal = bool(words) and any(words == reference.split() for reference in references)
        marks = {"equal": float(equal), "empty": float(not words)}
        if self._candidates:
            found = identify(hypothesis, self._candidates) if words else None
            marks["off_target"] = float(found not in (None, self.tag))
        return marks

    def refuse(self, scores: Sequence[ItemScore]) -> None:
        """Raise Refused where the share of a mark is above its limit; the message says what to look at."""
        for name, reason in (
            (
                "equal",
                "are the reference itself, so that no model seems to be behind them; look at where they come from",
            ),
            ("empty", "are empty; look at the prompt and at 'stop'"),
            ("off_target", f"are in another language than {self.tag}; look at the prompt, or show examples"),
        ):
            marked = sum(score.values.get(name, 0.0) for score in scores)
            limit = getattr(self._limits, name)
            if marked > limit * len(scores):
                raise Refused(f"not scored: {marked:.0f} of {len(scores)} hypotheses {reason} ({limit:.0%} may be)")

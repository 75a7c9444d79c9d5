"""How much of a text is in the language of its task."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from tilbench.kinds.language import Language
from tilbench.text.language_id import OTHER, deciding, identify, segments, untold

__all__ = ["Spoken"]


class Spoken:
    """Tells texts in one language from texts in others. others: languages that are likely besides (`identify`)."""

    def __init__(self, language: Language | None, others: Sequence[Language] = ()) -> None:
        self._tag = language.tag if language else ""
        self._candidates = [language, *(each for each in others if each.tag != self._tag)] if language else []
        self._untold = untold(language) if language else "the task has no language"

    @property
    def deciding(self) -> Mapping[str, object]:
        """What the answers depend on besides the texts."""
        return {"language_id": deciding(self._candidates)}

    @property
    def rule(self) -> str:
        """The rule in words, or why no text is judged."""
        if self._untold:
            return f"not judged: {self._untold}"
        named = ", ".join(each.tag for each in self._candidates[1:])
        tool = deciding(self._candidates)["tool"]
        rule = f"a sentence is in {self._tag} unless another language is {OTHER} times as likely by {tool}"
        return f"{rule}, and chosen among {self._tag}, {named}" if named else rule

    def share(self, text: str) -> float | None:
        """Return letters in sentences of the language / letters in sentences whose language is decided.

        None where the language of no sentence is.
        """
        letters: Counter[str] = Counter()
        for segment in segments(text, self._candidates):
            if segment.language is not None:
                letters[segment.language] += sum(map(str.isalpha, segment.text))
        return letters[self._tag] / letters.total() if letters else None

    def elsewhere(self, text: str) -> bool:
        """Return whether `text` as a whole is in another language."""
        return identify(text, self._candidates) not in (None, self._tag)

"""When two rows ask the same: what keeps a question out of its own prompt, whatever its spelling."""

from __future__ import annotations

from dataclasses import dataclass

from tilbench.data.rows import Conversation, Document, Item, Labelled, Pair, Probe, Prompt, Question, Reading, Row
from tilbench.text.fold import fold

__all__ = ["Asked", "asked"]


@dataclass(frozen=True, slots=True)
class Asked:
    """What a row asks, without its answer, as it is compared.

    id: the row's own; empty where it is only a number, which counts the rows of a file and names no row of another.
    group: the cluster that the row shares with others, empty where it is a cluster of its own. about: its passage.
    texts: what is asked. options: of a question, in no order.
    """

    id: str
    group: str
    about: str
    texts: tuple[str, ...]
    options: frozenset[str] = frozenset()

    @property
    def text(self) -> tuple[object, ...]:
        """What two rows share only if they ask the same in the same words."""
        return self.about, self.texts, self.options

    def gives_away(self, other: Asked) -> bool:
        """Say whether a solved example of one may not be shown before the other: they ask the same, or on one text."""
        return (
            bool(self.id and self.id == other.id)
            or bool(self.group and self.group == other.group)
            or bool(self.about and self.about == other.about)
            or self.text == other.text
        )


def asked(row: Row) -> Asked:
    """Return what a row asks, as `tilbench.text.fold` compares it whatever the language, in NFKC.

    Any white space is one space.
    """
    name = "" if row.id.isdecimal() else row.id
    group = row.cluster if row.cluster != row.id else ""
    match row:
        case Question():
            options = frozenset(map(_folded, row.choices))
            return Asked(name, group, _folded(row.passage), (_folded(row.question),), options)
        case Reading():
            return Asked(name, group, _folded(row.context), (_folded(row.question),))
        case Pair():
            texts: tuple[str, ...] = (row.source,)
        case Conversation():
            texts = tuple(content for role, content in row.messages if role != "assistant")
        case Prompt() | Probe():
            texts = (row.prompt,)
        case Document() | Labelled():
            texts = (row.text,)
        case Item():
            texts = (row.content,)
    return Asked(name, group, "", tuple(map(_folded, texts)))


def _folded(text: str) -> str:
    return " ".join(fold(text, form="NFKC").split())

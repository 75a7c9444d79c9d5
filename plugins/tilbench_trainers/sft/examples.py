"""From conversations to examples: token ids, and which of them the assistant wrote."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tilbench.config.model import Chat
from tilbench.data.rows import Conversation
from tilbench.errors import DataError
from tilbench.kinds.tokenizer import Tokenizer
from tilbench.scoring.encode.chat import ChatEncoder, Piece
from tilbench.text.chat import Segment, Template, template
from tilbench_trainers.data.batch import IGNORED

__all__ = ["Encoder", "Example", "Examples"]

_CHUNK = 1024
"""Conversations encoded at a time."""


@dataclass(frozen=True, slots=True)
class Example:
    """One conversation as a model reads it.

    ids: int64 [n], the prefix first. learned: bool [n], the assistant's. cut: tokens that the first prompt has lost.
    """

    id: str
    ids: NDArray[np.int64]
    learned: NDArray[np.bool_]
    cut: int = 0

    @property
    def inputs(self) -> NDArray[np.int64]:
        """Every token but the last, [n - 1]."""
        return self.ids[:-1]

    @property
    def targets(self) -> NDArray[np.int64]:
        """What follows each input and is the assistant's; `IGNORED` where it is not. [n - 1]."""
        return np.where(self.learned[1:], self.ids[1:], IGNORED)


@dataclass(frozen=True, slots=True)
class Examples:
    """The examples of a source. counts: what became of its conversations, in words."""

    found: list[Example]
    counts: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        """Return the counts in one line."""
        said = [f"{count:,} {what}" for what, count in self.counts.items() if count]
        return "; ".join([f"{len(self.found):,} examples", *said])


class Encoder:
    """Makes examples of conversations, written by a template and encoded as `ChatEncoder` does it."""

    def __init__(self, tokenizer: Tokenizer, chat: Chat, *, prefix: int | None, length: int) -> None:
        """Encode for sequences of `length` inputs, each example after the token `prefix`.

        Raises ConfigError where the template needs an end-of-text token and the tokenizer has none.
        """
        self.template: Template = template(chat.template)
        self._code = ChatEncoder(tokenizer, self.template)
        self._chat, self._prefix, self._longest = chat, prefix, length + 1
        self.marks = self._code.marks
        self._spelled = {name for name, number in tokenizer.special.named.items() if number == prefix}

    def encode(self, conversations: Sequence[Conversation]) -> Examples:
        """Return the examples of conversations, and what was cut, left out and dropped to make them fit.

        Raises DataError for turns that are no conversation and for one that begins with the prefix spelled out.
        """
        made = Examples([])
        for start in range(0, len(conversations), _CHUNK):
            chunk = conversations[start : start + _CHUNK]
            answered = [row for row in chunk if _is_answered(row)]
            made.counts["without an answer, dropped"] += len(chunk) - len(answered)
            for row, pieces in zip(answered, self._code.encode([self._rendered(row) for row in answered]), strict=True):
                if (example := self._fitted(row.id, pieces, made.counts)) is not None:
                    made.found.append(example)
        return made

    def _rendered(self, row: Conversation) -> list[Segment]:
        turns = row.messages
        while turns[-1][0] != "assistant":  # a question that nobody answered
            turns = turns[:-1]
        if any(turns[0][1].lstrip().startswith(name) for name in self._spelled):
            raise DataError(
                f"row {row.id!r} begins with the token that every example begins with anyway; take it out of the text"
            )
        try:
            return self._code.render(turns)
        except DataError as error:
            raise DataError(f"row {row.id!r}: {error}") from None

    def _fitted(self, identity: str, pieces: Sequence[Piece], counts: Counter[str]) -> Example | None:
        """Return an example of at most `length` + 1 tokens, or None; count what that took.

        An answer is kept whole or left out, and that is counted.
        """
        exchanges = list(_exchanges(pieces))
        head = [] if self._prefix is None else [self._prefix]
        while exchanges and exchanges[0][0][:1] == head and head:
            exchanges[0] = (exchanges[0][0][1:], exchanges[0][1])  # a tokenizer or template that wrote it too
        left_out = 0
        while True:
            over = len(head) + sum(len(prompt) + len(answer) for prompt, answer in exchanges) - self._longest
            if over <= 0 or (self._chat.too_long == "cut" and over < len(exchanges[0][0]) - self._code.opening):
                break
            if self._chat.too_long == "drop" or len(exchanges) == 1:
                counts["too long, dropped"] += 1
                return None
            exchanges.pop(0)
            left_out += 1
        counts["answers left out of long conversations"] += left_out
        cut = max(over, 0)
        counts["with a prompt cut from the left"] += bool(cut)
        exchanges[0] = (exchanges[0][0][cut:], exchanges[0][1])
        ids, learned = list(head), [False] * len(head)
        for prompt, answer in exchanges:
            ids += [*prompt, *answer]
            learned += [False] * len(prompt) + [True] * len(answer)
        return Example(identity, np.array(ids, dtype=np.int64), np.array(learned), cut)


def _is_answered(row: Conversation) -> bool:
    answers = [content for role, content in row.messages if role == "assistant"]
    return bool(answers) and all(content.strip() for content in answers)


def _exchanges(pieces: Sequence[Piece]) -> Iterator[tuple[list[int], list[int]]]:
    """Yield (prompt, answer); what comes after the last answer is left out."""
    prompt: list[int] = []
    for piece in pieces:
        if piece.is_answer:
            yield prompt, piece.ids
            prompt = []
        else:
            prompt = piece.ids

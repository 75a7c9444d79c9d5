"""From the turns of a conversation to the ids that a model reads: in training, in scoring and in a chat alike.

Marks of the template that the tokenizer has as special tokens become those; spelled out in a turn, they stay text. No
token is both prompt and answer, nor both answer and end: each is encoded by itself.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from tilbench.errors import ConfigError
from tilbench.kinds.requests import Exchange
from tilbench.kinds.tokenizer import Tokenizer
from tilbench.text.chat import Segment, Template, Turn, template

__all__ = ["ChatEncoder", "Piece", "exchange_ids"]

_GUARD = "\ufdd0"
"""Put into a mark that a turn's own text spells out, so that it stays text; a character that no text has."""
_EVERY_ROLE: Sequence[Turn] = (("system", "s"), ("user", "u"), ("assistant", "a"), ("user", "u"), ("assistant", "a"))


@dataclass(slots=True)
class Piece:
    """Ids, whether they are the assistant's, and how many of them, the last ones, only say that its answer ends."""

    ids: list[int]
    is_answer: bool
    ends: int = 0


@dataclass(frozen=True, slots=True)
class _Stretch:
    """Text, or the id of a mark; whether it is the assistant's, and whether it ends the answer."""

    content: str | int
    is_answer: bool
    is_end: bool = False


class ChatEncoder:
    """Writes conversations by a template and encodes them.

    An answer ends with the template's end, or with the end-of-text token where it has none. marks: the template's
    special tokens by their spelling. ends: ids of which one ends an answer.
    """

    def __init__(self, tokenizer: Tokenizer, template: Template, *, must_end: bool = True) -> None:
        """Raises ConfigError where the template needs an end-of-text token and the tokenizer has none.

        must_end: without it, such answers just have no end, which is enough for scoring them.
        """
        self.template = template
        self._tokenizer = tokenizer
        eos = tokenizer.special.eos
        if must_end and not template.end and eos is None:
            raise ConfigError(
                f"chat template {template.name!r} ends an answer with the end-of-text token, and the tokenizer has "
                "none; use chatml or gemma"
            )
        self._end = [] if template.end or eos is None else [eos]
        written = "".join(segment.text for segment in template.render(_EVERY_ROLE))
        self.marks = {name: number for name, number in tokenizer.special.named.items() if name in written}
        self.ends = frozenset(self.marks[name] for name in (template.end,) if name in self.marks)
        self._split = re.compile("(" + "|".join(map(re.escape, sorted(self.marks, key=len, reverse=True))) + ")")
        self.opening = len(self.encode([[Segment(template.opening, is_answer=False)]])[0][0].ids)
        """Tokens of what stands before an answer."""

    def encode(self, conversations: Sequence[Sequence[Segment]]) -> list[list[Piece]]:
        """Return the pieces of rendered conversations, no two in a row of one kind; texts are encoded all at once."""
        return self._encoded([self._parts(segments) for segments in conversations])

    def render(self, turns: Sequence[Turn]) -> list[Segment]:
        """Return the pieces of text of a conversation, in whose turns marks stay text.

        Raises DataError where the turns are no conversation.
        """
        return self.template.render([(role, self._guarded(content)) for role, content in turns])

    def prompt(self, turns: Sequence[Turn]) -> list[int]:
        """Return the ids after which the model writes the next answer, its prefix aside; the last turn is the user's.

        Raises DataError where it is not.
        """
        self.template.prompt(turns)  # which refuses what is no prompt
        *before, last = self.render(turns)
        segments = [*before, Segment(last.text + self.template.opening, is_answer=False)]
        return [number for piece in self.encode([segments])[0] for number in piece.ids]

    def _guarded(self, content: str) -> str:
        for name in self.marks:
            content = content.replace(name, name[0] + _GUARD + name[1:])
        return content

    def _parts(self, segments: Sequence[Segment]) -> list[_Stretch]:
        """Return the segments cut at marks, and answers before their end."""
        parts: list[_Stretch] = []
        for text, is_answer in segments:
            end = self.template.end if is_answer and text.endswith(self.template.end) else ""
            parts += [_Stretch(part, is_answer) for part in self._cut(text.removesuffix(end))]
            if is_answer:
                parts += [_Stretch(part, True, is_end=True) for part in (*self._cut(end), *self._end)]
        return parts

    def _cut(self, text: str) -> list[str | int]:
        parts = self._split.split(text) if self.marks else [text]
        return [self.marks.get(part, part.replace(_GUARD, "")) for part in parts if part]

    def _encoded(self, rows: Sequence[Sequence[_Stretch]]) -> list[list[Piece]]:
        texts = [part.content for row in rows for part in row if isinstance(part.content, str)]
        encoded = iter(self._tokenizer.encode_batch(texts))
        joined: list[list[Piece]] = []
        for row in rows:
            pieces: list[Piece] = []
            for part in row:
                ids = [part.content] if isinstance(part.content, int) else list(next(encoded))
                if not pieces or pieces[-1].is_answer is not part.is_answer:
                    pieces.append(Piece([], part.is_answer))
                pieces[-1].ids.extend(ids)
                pieces[-1].ends += len(ids) if part.is_end else 0
            joined.append(pieces)
        return joined


def exchange_ids(tokenizer: Tokenizer, exchanges: Sequence[Exchange]) -> list[tuple[list[int], list[int]]]:
    """Return of each exchange the ids of its context, the prefix aside, and of what is scored after it.

    These are the ids of an example of fine-tuning, so that a score is the loss that was trained. What is scored is
    empty for the end of an answer that has none. Raises DataError where the turns are no conversation.
    """
    found: list[tuple[list[int], list[int]]] = []
    codes = {
        name: ChatEncoder(tokenizer, template(name), must_end=False) for name in {each.template for each in exchanges}
    }
    for exchange in exchanges:
        code = codes[exchange.template]
        pieces = code.encode([code.render(exchange.turns)])[0]
        while not pieces[-1].is_answer:  # a line break after the end
            pieces.pop()
        last = pieces.pop()
        before, cut = [number for piece in pieces for number in piece.ids], len(last.ids) - last.ends
        answer, end = last.ids[:cut], last.ids[cut:]
        found.append(([*before, *answer], end) if exchange.end else (before, answer))
    return found

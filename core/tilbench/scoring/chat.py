"""From the turns of a conversation to the ids that a model reads: in training and when it is talked to alike.

Marks of the template that the tokenizer has as special tokens become those; spelled out in a turn, they stay text. No
token is both prompt and answer: each is encoded by itself.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from tilbench.data.chat import Segment, Template, Turn
from tilbench.errors import ConfigError
from tilbench.kinds.tokenizer import Tokenizer

__all__ = ["ChatEncoder", "Piece"]

_GUARD = "\ufdd0"
"""Put into a mark that a turn's own text spells out, so that it stays text; a character that no text has."""
_EVERY_ROLE: Sequence[Turn] = (("system", "s"), ("user", "u"), ("assistant", "a"), ("user", "u"), ("assistant", "a"))

Piece = tuple[list[int], bool]
"""Ids, and whether they are the assistant's."""
_Part = tuple[str | int, bool]
"""Text, or the id of a mark; and whether it is the assistant's."""


class ChatEncoder:
    """Writes conversations by a template and encodes them.

    An answer ends with the template's end, or with the end-of-text token where it has none. marks: the template's
    special tokens by their spelling. ends: ids of which one ends an answer.
    """

    def __init__(self, tokenizer: Tokenizer, template: Template) -> None:
        """Raises ConfigError where the template needs an end-of-text token and the tokenizer has none."""
        self.template = template
        self._tokenizer = tokenizer
        eos = tokenizer.special.eos
        if not template.end and eos is None:
            raise ConfigError(
                f"chat template {template.name!r} ends an answer with the end-of-text token, and the tokenizer has "
                "none; use chatml or gemma"
            )
        self._end = [] if template.end or eos is None else [eos]
        written = "".join(segment.text for segment in template.render(_EVERY_ROLE))
        self.marks = {name: number for name, number in tokenizer.special.named.items() if name in written}
        self.ends = frozenset(self.marks[name] for name in (template.end,) if name in self.marks)
        self._split = re.compile("(" + "|".join(map(re.escape, sorted(self.marks, key=len, reverse=True))) + ")")
        self.opening = len(self.encode([[Segment(template.opening, is_answer=False)]])[0][0][0])
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
        return [number for ids, _ in self.encode([segments])[0] for number in ids]

    def _guarded(self, content: str) -> str:
        for name in self.marks:
            content = content.replace(name, name[0] + _GUARD + name[1:])
        return content

    def _parts(self, segments: Sequence[Segment]) -> list[_Part]:
        """Return the segments cut at marks."""
        parts: list[_Part] = []
        for text, is_answer in segments:
            for part in self._split.split(text) if self.marks else [text]:
                if part:
                    parts.append((self.marks.get(part, part.replace(_GUARD, "")), is_answer))
            if is_answer:
                parts += [(number, True) for number in self._end]
        return parts

    def _encoded(self, rows: Sequence[Sequence[_Part]]) -> list[list[Piece]]:
        texts = [part for row in rows for part, _ in row if isinstance(part, str)]
        encoded = iter(self._tokenizer.encode_batch(texts))
        joined: list[list[Piece]] = []
        for row in rows:
            pieces: list[Piece] = []
            for part, is_answer in row:
                ids = [part] if isinstance(part, int) else list(next(encoded))
                if pieces and pieces[-1][1] is is_answer:
                    pieces[-1][0].extend(ids)
                else:
                    pieces.append((ids, is_answer))
            joined.append(pieces)
        return joined

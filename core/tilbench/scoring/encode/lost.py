"""Which bytes of a text its token ids do not reproduce.

A tokenizer that maps unknown words to one token, folds case or drops characters makes a text easier to predict than it
is. So every byte that the ids do not reproduce is charged 8 bits, what a byte costs a model that knows nothing.

A byte is reproduced where its character belongs to a longest common subsequence of the text and what the ids decode to,
without special and unknown tokens; characters weigh their UTF-8 bytes. The subsequence is found bit-parallel
(H. Hyyrö, "Bit-parallel LCS-length computation revisited", 2004).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from tilbench.kinds.tokenizer import Tokenizer

__all__ = ["LOST_NATS", "common_bytes", "lost_after", "lost_bytes"]

LOST_NATS = 8 * math.log(2)
"""What a lost byte is charged, in nats: 8 bits."""
_PIECE = 4096
"""Characters that are aligned at once: the time is quadratic in them."""
_TAIL = 8
"""Tokens before a continuation that are decoded with it, since what a token decodes to can depend on those before."""


def lost_bytes(tokenizer: Tokenizer, text: str, ids: Sequence[int]) -> int:
    """Return how many UTF-8 bytes of `text` its `ids` do not reproduce.

    Decoding may leave out a space at the beginning that the ids tell apart (SentencePiece does); it is not lost where
    the text without it has other ids. A long text that does not come back whole is compared in pieces that end before
    white space, each with ids of its own, so that the time grows with its length only.
    """
    found = _decoded(tokenizer, ids)
    if found == text:
        return 0
    if len(text) > _PIECE:
        return _lost_in_pieces(tokenizer, text)
    if text[:1] == " " != found[:1] and list(tokenizer.encode(text[1:])) != list(ids):
        found = f" {found}"
    return _lost(text, found)


def lost_after(tokenizer: Tokenizer, text: str, ids: Sequence[int], start: int) -> int:
    """Return how many UTF-8 bytes of `text` are not reproduced by `ids[start:]`, which follow the ids of a context."""
    if not start:
        return lost_bytes(tokenizer, text, ids)
    for first in (max(0, start - _TAIL), 0):  # few tokens are enough nearly always
        before, whole = _decoded(tokenizer, ids[first:start]), _decoded(tokenizer, ids[first:])
        if whole == before + text:
            return 0
    if len(text) > _PIECE:
        return _lost_in_pieces(tokenizer, text)
    return _lost(text, whole[_shared(before, whole) :])


def _lost(text: str, found: str) -> int:
    """Return the bytes of `text` that are not in `found`, or those that `found` has besides, whichever are more.

    A decoder that puts a space between all tokens does not say which of them the text has.
    """
    common = common_bytes(text, found)
    return min(_size(text), max(_size(text), _size(found)) - common)


def common_bytes(text: str, found: str) -> int:
    """Return the UTF-8 bytes of a heaviest common subsequence of the characters of two texts.

    Each character stands there as often as it has bytes, so that the longest subsequence is the heaviest.

    >>> common_bytes("Ой, бала", "ой бала"), common_bytes("ab", "")
    (11, 0)
    """
    start = _shared(text, found)
    same, text, found = _size(text[:start]), text[start:], found[start:]
    end = _shared(text[::-1], found[::-1])
    if end:
        same, text, found = same + _size(text[-end:]), text[:-end], found[:-end]
    places: dict[str, int] = {}
    length = 0
    for character in found:
        width = _size(character)
        places[character] = places.get(character, 0) | ((1 << width) - 1) << length
        length += width
    full = (1 << length) - 1
    free = full
    for character in text:
        if here := places.get(character):
            for _ in range(_size(character)):
                met = free & here
                free = (free + met | free - met) & full
    return same + length - free.bit_count()


def _lost_in_pieces(tokenizer: Tokenizer, text: str) -> int:
    """Return the bytes that are lost of pieces of a long text, each encoded alone and cut before white space."""
    pieces, start = list[str](), 0
    while start < len(text):
        end = start + _PIECE
        if end < len(text):
            space = max(text.rfind(" ", start + 1, end), text.rfind("\n", start + 1, end))
            end = space if space > start else end
        pieces.append(text[start:end])
        start = end
    encoded = tokenizer.encode_batch(pieces)
    return sum(lost_bytes(tokenizer, piece, ids) for piece, ids in zip(pieces, encoded, strict=True))


def _decoded(tokenizer: Tokenizer, ids: Sequence[int]) -> str:
    """Return the text of ids without the unknown ones: how an unknown token is spelled is not what it stood for."""
    if tokenizer.unknown(ids):
        ids = [token for token in ids if not tokenizer.unknown([token])]
    return tokenizer.decode(ids)


def _shared(one: str, other: str) -> int:
    """Return how many characters two texts have in common at the beginning."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((place for place, (a, b) in pairs if a != b), min(len(one), len(other)))


def _size(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))

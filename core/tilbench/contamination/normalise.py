"""Text as it is compared: folded (`tilbench.text.fold`) in NFKC, of letters, marks and numbers only.

Everything else separates words, so that punctuation, line breaks and markup make no difference. Both sides of a
comparison go through the same function. It takes no language: a training text may be in several, and a copy may have
been re-cased by a program that knew none.
"""

from __future__ import annotations

import functools
import unicodedata
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tilbench.text.fold import fold

__all__ = ["BOUNDARY", "Words", "join", "normalise", "tail"]

BOUNDARY = " \U0010ffff "
"""Put between two texts: a noncharacter that is a word of its own, and that no window of a text holds."""
MARK = 0x10FFFF

Codes = NDArray[np.uint32]
Places = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Words:
    """Words laid end to end.

    letters: code points, without anything between words. starts: [words + 1], where each word begins in `letters`,
    and where the last one ends.
    """

    letters: Codes
    starts: Places

    def __len__(self) -> int:
        return len(self.starts) - 1


def normalise(text: str) -> Words:
    """Return the words of `text`; those between two `BOUNDARY` belong to one text."""
    folded = fold(text, form="NFKC")
    codes = np.frombuffer(folded.encode("utf-32-le", "surrogatepass"), dtype="<u4")
    inside = _word_characters()[codes]
    before = np.empty(len(codes), dtype=bool)
    before[:1] = True
    before[1:] = ~inside[:-1]
    first = (inside & before)[inside]
    starts = np.append(np.flatnonzero(first), len(first))
    return Words(codes[inside].astype(np.uint32, copy=False), starts.astype(np.int64, copy=False))


def join(left: Words, right: Words) -> Words:
    """Return the words of both, in order."""
    starts = np.concatenate([left.starts[:-1], right.starts + len(left.letters)])
    return Words(np.concatenate([left.letters, right.letters]), starts)


def tail(words: Words, letters: int) -> Words:
    """Return the last words, as many as hold that many letters; all of them where they hold fewer."""
    first = int(np.searchsorted(words.starts, max(0, len(words.letters) - letters), side="right")) - 1
    begin = words.starts[first]
    return Words(words.letters[begin:].copy(), words.starts[first:] - begin)


@functools.cache
def _word_characters() -> NDArray[np.bool_]:
    """Return, of every code point, whether it stands in words: categories L, M and N."""
    table = np.fromiter((unicodedata.category(chr(code))[0] in "LMN" for code in range(0x110000)), dtype=bool)
    table[MARK] = True
    return table

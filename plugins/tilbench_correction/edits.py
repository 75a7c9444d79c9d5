"""The edits between two texts, word by word, and the distance between them, character by character."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from tilbench.data.words import unicode_words, whitespace_words

__all__ = ["Edit", "distance", "edits", "plain", "tokens"]


@dataclass(frozen=True, slots=True)
class Edit:
    """Replace the tokens from `start` up to `end` (not included) by `replacement`."""

    start: int
    end: int
    replacement: tuple[str, ...]


def plain(text: str) -> str:
    """Return `text` composed (NFC), with one space between its words and none around them."""
    return " ".join(whitespace_words(unicodedata.normalize("NFC", text)))


def tokens(text: str) -> list[str]:
    """Return the words of Unicode Standard Annex 29, and every other character but white space by itself.

    >>> tokens("Бар, 3,14-ке?")
    ['Бар', ',', '3,14', '-', 'ке', '?']
    """
    found: list[str] = []
    for piece in whitespace_words(text):
        start = 0
        for word in unicode_words(piece):
            place = piece.index(word, start)
            found += [*piece[start:place], word]
            start = place + len(word)
        found += piece[start:]
    return found


def edits(source: Sequence[str], target: Sequence[str]) -> frozenset[Edit]:
    """Return the edits that turn the tokens of `source` into those of `target`.

    They are read off an alignment with the fewest substituted, deleted and inserted tokens. Each substituted and each
    deleted token is an edit; tokens inserted at one place are one. Of several such alignments it is the one that, read
    from the end, takes a match or a substitution before a deletion and a deletion before an insertion.

    >>> sorted(map(str, edits("a b c".split(), "a x c d e".split())))
    ["Edit(start=1, end=2, replacement=('x',))", "Edit(start=3, end=3, replacement=('d', 'e'))"]
    """
    costs = _costs(source, target)
    found: list[Edit] = []
    inserted: list[str] = []
    i, j = len(source), len(target)
    while i or j:
        same = bool(i and j) and source[i - 1] == target[j - 1]
        if i and j and costs[i][j] == costs[i - 1][j - 1] + (not same):
            kind, step = "match" if same else "substitution", (1, 1)
        elif i and costs[i][j] == costs[i - 1][j] + 1:
            kind, step = "deletion", (1, 0)
        else:
            kind, step = "insertion", (0, 1)
        if kind == "insertion":
            inserted.append(target[j - 1])
        elif inserted:
            found.append(Edit(i, i, tuple(reversed(inserted))))
            inserted = []
        if kind == "substitution":
            found.append(Edit(i - 1, i, (target[j - 1],)))
        elif kind == "deletion":
            found.append(Edit(i - 1, i, ()))
        i, j = i - step[0], j - step[1]
    if inserted:
        found.append(Edit(0, 0, tuple(reversed(inserted))))
    return frozenset(found)


def _costs(source: Sequence[str], target: Sequence[str]) -> list[list[int]]:
    """Return the fewest edits between every two beginnings, [source + 1, target + 1]."""
    rows = [list(range(len(target) + 1))]
    for count, token in enumerate(source, start=1):
        above, row = rows[-1], [count]
        for place, other in enumerate(target):
            row.append(min(above[place] + (token != other), above[place + 1] + 1, row[place] + 1))
        rows.append(row)
    return rows


def distance(one: str, other: str) -> int:
    """Return the Levenshtein distance: the fewest characters to substitute, delete and insert."""
    row = list(range(len(other) + 1))
    for count, letter in enumerate(one, start=1):
        diagonal, row[0] = row[0], count
        for place, against in enumerate(other, start=1):
            diagonal, row[place] = row[place], min(diagonal + (letter != against), row[place] + 1, row[place - 1] + 1)
    return row[-1]

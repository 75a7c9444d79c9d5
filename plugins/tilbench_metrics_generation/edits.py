"""The edits between two texts, word by word, and the distance between them, character by character."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Container, Iterator, Sequence
from typing import NamedTuple

from rapidfuzz.distance import Levenshtein

from tilbench.text.words import unicode_words, whitespace_words

__all__ = ["Edit", "distance", "edits", "plain", "tokens"]


_Cost = tuple[int, int, int]  # edits; those that are not wanted; how unlike the substituted tokens are


class Edit(NamedTuple):
    """Replace the tokens from `start` up to `end` (not included), one or none, by `replacement`, one token or ""."""

    start: int
    end: int
    replacement: str


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


def edits(source: Sequence[str], target: Sequence[str], wanted: Container[Edit] = ()) -> Counter[Edit]:
    """Return the edits that turn the tokens of `source` into those of `target`; one may be there several times.

    Each substituted, deleted or inserted token is an edit by itself. They are read off an alignment with the fewest
    edits. Of several it is the one that has most of the edits `wanted`, as in MaxMatch (Dahlmeier and Ng, 2012). Of
    several again it is the one whose substituted tokens are the most alike, as in ERRANT (Bryant et al., 2017): a
    misspelled word stays with its correction where a word is added beside it. Of alignments that are equal in all that
    it is the one that, read from the end, takes a match or a substitution before a deletion and a deletion before an
    insertion.

    >>> sorted(edits("a b c".split(), "a x c d".split()))
    [Edit(start=1, end=2, replacement='x'), Edit(start=3, end=3, replacement='d')]
    >>> min(edits("жтік білгең".split(), "жетік білген және".split()))
    Edit(start=0, end=1, replacement='жетік')
    """
    costs: list[list[_Cost]] = [[(0, 0, 0)] * (len(target) + 1) for _ in range(len(source) + 1)]
    for i in range(len(source) + 1):
        for j in range(len(target) + 1):
            if i or j:
                costs[i][j] = min(cost for cost, *_ in _steps(source, target, wanted, costs, i, j))
    found: Counter[Edit] = Counter()
    i, j = len(source), len(target)
    while i or j:
        steps = _steps(source, target, wanted, costs, i, j)
        _, i, j, edit = next(step for step in steps if step[0] == costs[i][j])
        if edit:
            found[edit] += 1
    return found


def _steps(
    source: Sequence[str], target: Sequence[str], wanted: Container[Edit], costs: list[list[_Cost]], i: int, j: int
) -> Iterator[tuple[_Cost, int, int, Edit | None]]:
    """Yield the steps of an alignment that lead to the first `i` and `j` tokens: cost up to here, from where, edit."""
    if i and j:
        one, other = source[i - 1], target[j - 1]
        edit = Edit(i - 1, i, other) if one != other else None
        unlike = 1000 * distance(one, other) // max(len(one), len(other))  # whole numbers add up in any order
        yield _add(costs[i - 1][j - 1], edit, unlike, wanted), i - 1, j - 1, edit
    if i:
        edit = Edit(i - 1, i, "")
        yield _add(costs[i - 1][j], edit, 1000, wanted), i - 1, j, edit
    if j:
        edit = Edit(i, i, target[j - 1])
        yield _add(costs[i][j - 1], edit, 1000, wanted), i, j - 1, edit


def _add(cost: _Cost, edit: Edit | None, unlike: int, wanted: Container[Edit]) -> _Cost:
    return (cost[0] + 1, cost[1] + (edit not in wanted), cost[2] + unlike) if edit else cost


def distance(one: str, other: str) -> int:
    """Return the Levenshtein distance: the fewest characters to substitute, delete and insert."""
    return Levenshtein.distance(one, other)

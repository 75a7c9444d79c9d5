"""N-gram counts of characters in flat arrays, and the Witten–Bell probabilities read from them.

The n-grams of one length are a level of a trie. A node of level k + 1 has the key parent · symbols + symbol,
where the parent is the node of its first k symbols; keys of a level are sorted, and a node is its place among
them. That is exact (nothing is hashed), fits 64 bits for any order and alphabet, and counts and looks up
whole texts at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["SCALARS", "Counts", "count", "probabilities"]

SCALARS = 1_112_064
"""Unicode scalar values: what a character of a text can be."""

Ints = NDArray[np.int64]
_START = 0  # the symbol before the first character of every document; it is never predicted


@dataclass(frozen=True, slots=True)
class Level:
    """The n-grams of one length.

    keys: sorted. counts: how often each was seen. followed, kinds: how many characters, and how many
    different ones, were seen after each.
    """

    keys: Ints
    counts: Ints
    followed: Ints
    kinds: Ints


@dataclass(frozen=True, slots=True)
class Counts:
    """Counts of n-grams up to an order. alphabet: sorted code points; the symbol of one is its place + 1."""

    alphabet: Ints
    levels: tuple[Level, ...]

    @property
    def order(self) -> int:
        """The length of the longest n-grams."""
        return len(self.levels)

    @property
    def stored(self) -> int:
        """How many n-grams have a count."""
        return sum(int((level.counts > 0).sum()) for level in self.levels)


def count(documents: Sequence[str], order: int) -> Counts:
    """Count the n-grams of documents, each of which starts from the start symbol alone."""
    points = _code_points("".join(documents))
    alphabet = np.unique(points)
    starts = np.cumsum([0, *(len(document) for document in documents)])[:-1]
    symbols = np.insert(np.searchsorted(alphabet, points) + 1, starts, _START)
    size = len(alphabet) + 1
    begins = symbols == _START

    nodes = np.zeros(len(symbols), dtype=np.int64)  # of the n-gram starting at each position; −1: it has none
    keys_of: list[Ints] = []
    counts_of: list[Ints] = []
    for length in range(1, order + 1):
        here = nodes[: len(symbols) - length + 1]
        last = symbols[length - 1 :]
        fits = here >= 0
        if length > 1:
            fits &= ~begins[length - 1 :]  # an n-gram does not run on into the next document
        keys, inverse, counts = np.unique(here[fits] * size + last[fits], return_inverse=True, return_counts=True)
        if length == 1:
            counts = np.where(keys == _START, 0, counts)
        nodes = np.full(len(here), -1, dtype=np.int64)
        nodes[fits] = inverse
        keys_of.append(keys)
        counts_of.append(counts)
    levels = []
    for length in range(order):
        followed = kinds = np.zeros(len(keys_of[length]), dtype=np.int64)
        if length + 1 < order:
            parents = keys_of[length + 1] // size
            followed = np.bincount(parents, counts_of[length + 1], len(followed)).astype(np.int64)
            kinds = np.bincount(parents, minlength=len(kinds))
        levels.append(Level(keys_of[length], counts_of[length], followed, kinds))
    return Counts(alphabet, tuple(levels))


def probabilities(counts: Counts, history: str, text: str) -> NDArray[np.float64]:
    """Return the probability of each character of `text` after `history` and the characters before it.

    The history is all there is of the document so far. Witten–Bell interpolation (Chen and Goodman 1998,
    section 2.4; Witten and Bell 1991, method C), from the uniform distribution over Unicode scalar values up:
    p(c | h) = (N(hc) + T(h) · p(c | h′)) / (N(h) + T(h)), with N(h) characters and T(h) different ones seen
    after h, and h′ being h without its first character; an h that was never seen changes nothing.
    """
    reach = counts.order - 1
    symbols = _symbols(counts, history[-reach:] if reach else "") if history else np.empty(0, dtype=np.int64)
    if len(history) < reach:
        symbols = np.concatenate([[_START], symbols])
    context = len(symbols)
    symbols = np.concatenate([symbols, _symbols(counts, text)])
    total = len(symbols)
    unigrams = counts.levels[0]
    p = np.full(total, 1 / SCALARS)
    seen, kinds = int(unigrams.counts.sum()), int((unigrams.counts > 0).sum())
    nodes, found = _descend(counts, 0, np.zeros(total, dtype=np.int64), symbols)
    p = (found + kinds * p) / (seen + kinds) if seen else p
    for length in range(1, counts.order):
        if length >= total or not len(counts.levels[length].keys):
            break  # nothing in the text, or no training document, is as long as this
        parents = nodes[: total - length]
        known = np.maximum(parents, 0)
        level = counts.levels[length - 1]
        followed = np.where(parents >= 0, level.followed[known], 0)
        types = np.where(parents >= 0, level.kinds[known], 0)
        nodes, found = _descend(counts, length, parents, symbols[length:])
        higher = (found + types * p[length:]) / np.maximum(followed + types, 1)
        p[length:] = np.where(followed > 0, higher, p[length:])
    return p[context:]


def _descend(counts: Counts, length: int, parents: Ints, symbols: Ints) -> tuple[Ints, Ints]:
    """Return node and count of each n-gram of `length + 1` symbols, −1 and 0 where it was never seen."""
    level = counts.levels[length]
    keys = parents * (len(counts.alphabet) + 1) + symbols
    places = np.minimum(np.searchsorted(level.keys, keys), len(level.keys) - 1)
    hit = (parents >= 0) & (symbols >= 0) & (level.keys[places] == keys)
    return np.where(hit, places, -1), np.where(hit, level.counts[places], 0)


def _symbols(counts: Counts, text: str) -> Ints:
    """Return the symbols of a text, −1 for a character that is not in the alphabet."""
    points = _code_points(text)
    places = np.minimum(np.searchsorted(counts.alphabet, points), len(counts.alphabet) - 1)
    return np.where(counts.alphabet[places] == points, places + 1, -1)


def _code_points(text: str) -> Ints:
    return np.frombuffer(text.encode("utf-32-le"), dtype="<u4").astype(np.int64)

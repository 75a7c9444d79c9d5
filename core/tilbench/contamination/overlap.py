"""Finds the windows of scored items in a text of any length, in one pass and in memory that does not grow with it.

An item counts as found where the text holds 13 words of it in a row (T. Brown et al., "Language Models are
Few-Shot Learners", 2020, appendix C), 50 letters of it in a row with spaces left out (OpenAI, "GPT-4 Technical
Report", 2023, appendix C, which takes three such substrings of each item; here it is every one), or, where an
item has fewer than 13 words, all of them in a row. 13 Kazakh words are about 95 letters: the second rule is
what finds half a sentence there. Texts of fewer than 12 letters stand everywhere and are not looked for.

The index is over the items: about 20 bytes a letter of theirs. The text streams past it in stretches.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tilbench.contamination.items import NamedText
from tilbench.contamination.normalise import BOUNDARY, MARK, Words, join, normalise, tail
from tilbench.contamination.rolling import Hasher, Hashes

__all__ = ["LETTERS", "RULE", "SHORTEST", "WORDS", "Item", "ItemOverlap", "Overlap", "OverlapIndex"]

WORDS = 13
LETTERS = 50
SHORTEST = 12
RULE = f"{WORDS} words, {LETTERS} letters, or all of a shorter text of at least {SHORTEST} letters"
_STRETCH = 1 << 19
"""Characters hashed at a time."""

Places = NDArray[np.int64]
Item = tuple[str, Sequence[NamedText]]
"""Key of an item, and its parts."""


@dataclass(frozen=True, slots=True)
class ItemOverlap:
    """What of one item was found.

    covered: share of the letters of its best-covered text that stand in windows that were found; 0 where none was.
    parts: names of the parts with such a window. short: all its texts are too short to be looked for.
    """

    covered: float
    parts: frozenset[str] = frozenset()
    short: bool = False


@dataclass(frozen=True, slots=True)
class Overlap:
    """What was found of every item, and in what.

    documents, bytes: of the text that was read, in UTF-8. fingerprint: SHA-256 of that text.
    """

    items: dict[str, ItemOverlap]
    documents: int
    bytes: int
    fingerprint: str


class _Table:
    """The windows of one kind and size in the items, by hash."""

    def __init__(self, hashes: Hashes, places: Places, begin: Places, end: Places) -> None:
        order = np.argsort(hashes[places], kind="stable")
        self._places = places[order]
        self._hashes = hashes[self._places]
        self._begin, self._end = begin, end
        self._found = np.zeros(len(order), dtype=bool)
        bits = int(np.clip(np.ceil(np.log2(32 * max(1, len(order)))), 16, 26))
        self._shift = np.uint64(64 - bits)
        self._bloom = np.zeros(1 << bits, dtype=bool)
        self._bloom[self._hashes >> self._shift] = True

    def spans(self) -> tuple[Places, Places]:
        """Return begin and end, in letters of the items, of the windows that were found."""
        found = self._places[self._found]
        return self._begin[found], self._end[found]

    def match(self, hashes: Hashes, same: Callable[[int, int], bool]) -> None:
        """Mark the windows that have one of `hashes` and are the `same` (place in items, place in text)."""
        places = np.flatnonzero(self._bloom[hashes >> self._shift])
        while len(places):
            wanted = hashes[places]
            low = np.searchsorted(self._hashes, wanted, side="left")
            high = np.searchsorted(self._hashes, wanted, side="right")
            done = np.concatenate([[0], np.cumsum(self._found)])
            open_ = done[high] - done[low] < high - low
            places, wanted, low, high = places[open_], wanted[open_], low[open_], high[open_]
            _, first = np.unique(wanted, return_index=True)
            for each in first:  # one place of each hash; other places only while a window is still not found
                for entry in range(low[each], high[each]):
                    if not self._found[entry] and same(int(self._places[entry]), int(places[each])):
                        self._found[entry] = True
            places = np.delete(places, first)


class OverlapIndex:
    """An index of the items, past which a text streams."""

    def __init__(self, items: Iterable[Item]) -> None:
        self._keys: list[str] = []
        self._owner: list[int] = []
        self._names: list[str] = []
        texts: list[str] = []
        for key, parts in items:
            for name, text in parts:
                self._owner.append(len(self._keys))
                self._names.append(name)
                texts.append(text.replace(chr(MARK), " "))
            self._keys.append(key)
        self._hasher = Hasher()
        self._words = normalise("".join(text + BOUNDARY for text in texts))
        self._ends = np.flatnonzero(self._words.letters == MARK)  # of each text, in letters
        self._begins = np.concatenate([[0], self._ends[:-1] + 1]) if len(self._ends) else self._ends
        self._letter_table = self._letters()
        self._word_tables = dict(self._by_words())
        self._last = normalise(BOUNDARY)

    def _letters(self) -> _Table:
        sums, _ = self._hasher.prefixes(self._words)
        hashes = self._hasher.letter_windows(sums, LETTERS)
        places = np.arange(len(hashes))
        return _Table(hashes, self._inside(places, LETTERS), places, places + LETTERS)

    def _inside(self, places: Places, size: int) -> Places:
        """Return the windows of `size` letters that lie in one text."""
        ends = self._ends[np.minimum(np.searchsorted(self._ends, places), len(self._ends) - 1)]
        inside: Places = places[places + size <= ends]
        return inside

    def _by_words(self) -> Iterable[tuple[int, _Table]]:
        """Yield a table for each number of words: 13, and those of texts that have fewer."""
        words = self._words
        _, sums = self._hasher.prefixes(words)
        first = np.searchsorted(words.starts, self._begins)
        counts = np.searchsorted(words.starts, self._ends) - first
        long_enough = self._ends - self._begins >= SHORTEST
        for size in range(1, WORDS + 1):
            if size == WORDS:
                runs = [np.arange(at, at + count - WORDS + 1) for at, count in zip(first, counts, strict=True)]
                places = np.concatenate(runs) if runs else first
            else:
                places = first[(counts == size) & long_enough]
            if len(places):
                hashes = self._hasher.word_windows(sums, size)
                every = np.arange(len(hashes))
                yield size, _Table(hashes, places, words.starts[every], words.starts[every + size])

    def scan(self, pieces: Iterable[str]) -> Overlap:
        """Read a text to its end, and return what of the items stands in it.

        pieces: documents, each ended by `BOUNDARY`; a long one may come in several pieces, cut between words.
        """
        digest = hashlib.sha256()
        documents = size = held = 0
        batch: list[str] = []
        for piece in pieces:
            encoded = piece.encode("utf-8", "surrogatepass")
            digest.update(encoded)
            ended = piece.endswith(BOUNDARY)
            documents += ended
            size += len(encoded) - (len(BOUNDARY.encode()) if ended else 0)
            for stretch in _stretches(piece):
                batch.append(stretch)
                held += len(stretch)
                if held >= _STRETCH:
                    self._scan(normalise("".join(batch)))
                    batch, held = [], 0
        self._scan(normalise("".join(batch)))
        return Overlap(self._items(), documents, size, digest.hexdigest())

    def _scan(self, new: Words) -> None:
        words = join(self._last, new)
        letters, word_sums = self._hasher.prefixes(words)
        own = self._words

        def same_letters(one: int, other: int) -> bool:
            return bool((own.letters[one : one + LETTERS] == words.letters[other : other + LETTERS]).all())

        self._letter_table.match(self._hasher.letter_windows(letters, LETTERS), same_letters)
        for size, table in self._word_tables.items():
            table.match(self._hasher.word_windows(word_sums, size), _same_words(own, words, size))
        self._last = tail(words, LETTERS - 1)  # what is longer in words has a window of letters across the cut

    def _items(self) -> dict[str, ItemOverlap]:
        change = np.zeros(len(self._words.letters) + 1, dtype=np.int64)
        for table in (self._letter_table, *self._word_tables.values()):
            begin, end = table.spans()
            np.add.at(change, begin, 1)
            np.add.at(change, end, -1)
        inside = np.concatenate([[0], np.cumsum(np.cumsum(change)[:-1] > 0)])
        covered = inside[self._ends] - inside[self._begins]
        lengths = self._ends - self._begins
        found: list[ItemOverlap] = [ItemOverlap(0.0, short=True) for _ in self._keys]
        for place, owner in enumerate(self._owner):
            old = found[owner]
            share = float(covered[place] / lengths[place]) if covered[place] else 0.0
            name = frozenset({self._names[place]} if share else ())
            short = old.short and bool(lengths[place] < SHORTEST)
            found[owner] = ItemOverlap(max(old.covered, share), old.parts | name, short)
        return dict(zip(self._keys, found, strict=True))


def _stretches(text: str) -> Iterator[str]:
    """Yield a text in stretches that end at a space, where there is one."""
    begin = 0
    while len(text) - begin > _STRETCH:
        end = text.rfind(" ", begin, begin + _STRETCH) + 1 or begin + _STRETCH
        yield text[begin:end]
        begin = end
    yield text[begin:]


def _same_words(own: Words, words: Words, size: int) -> Callable[[int, int], bool]:
    """Return a function that says whether `size` words from one place of each are the same words."""

    def same(one: int, other: int) -> bool:
        mine, theirs = own.starts[one : one + size + 1], words.starts[other : other + size + 1]
        if not np.array_equal(mine - mine[0], theirs - theirs[0]):
            return False
        return bool((own.letters[mine[0] : mine[-1]] == words.letters[theirs[0] : theirs[-1]]).all())

    return same

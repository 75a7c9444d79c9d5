"""The token trie of many sequences, laid out depth first: what they share at the beginning is there once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Ids", "Trie", "as_ids", "shared_length", "sort_key"]

Ids = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Trie:
    """N distinct tokens in depth-first order.

    ids: [N] token ids. depth: [N] tokens before each on its path, which is its position. end: [N] one past the last
    token of each subtree, so that k is an ancestor of q, or q itself, exactly where k <= q < end[k].
    paths: for each sequence, in the order they were given, the places of its tokens [its length].
    """

    ids: Ids
    depth: Ids
    end: Ids
    paths: list[Ids]

    def __len__(self) -> int:
        """Return N."""
        return len(self.ids)

    def leaves(self) -> list[Ids]:
        """Return the distinct paths that end where no other goes on, the longest first."""
        distinct = {path[-1]: path for path in self.paths if len(path) and self.end[path[-1]] == path[-1] + 1}
        return sorted(distinct.values(), key=lambda path: (-len(path), path[-1]))

    @classmethod
    def of(cls, sequences: Sequence[Ids]) -> Trie:
        """Build the trie of any number of sequences, equal ones and beginnings of others among them."""
        order = sorted(range(len(sequences)), key=lambda place: sort_key(sequences[place]))
        paths: list[Ids] = [np.empty(0, np.int64)] * len(sequences)
        ids: list[Ids] = []
        depth: list[Ids] = []
        end = np.empty(sum(map(len, sequences)), np.int64)
        size = 0
        before = path = np.empty(0, np.int64)
        for place in order:
            sequence = sequences[place]
            shared = shared_length(before, sequence)
            end[path[shared:]] = size
            new = len(sequence) - shared
            ids.append(sequence[shared:])
            depth.append(np.arange(shared, shared + new))
            path = np.concatenate([path[:shared], np.arange(size, size + new)])
            paths[place] = path
            before = sequence
            size += new
        end[path] = size
        empty = np.empty(0, np.int64)
        return cls(np.concatenate([empty, *ids]), np.concatenate([empty, *depth]), end[:size], paths)


def as_ids(ids: Sequence[int]) -> Ids:
    """Return token ids as an array."""
    return np.array(ids, dtype=np.int64)


def sort_key(ids: Ids) -> bytes:
    """Return bytes that sort as the sequences of ids do."""
    return ids.astype(">u4").tobytes()


def shared_length(first: Ids, second: Ids) -> int:
    """Return how many ids two sequences have in common at the beginning."""
    width = min(len(first), len(second))
    differ = np.nonzero(first[:width] != second[:width])[0]
    return int(differ[0]) if len(differ) else width

"""The order of training: rows of tokens as a pure function of (seed, row), so that a position is one integer.

Nothing here remembers what it handed out. Row r of a run is found in constant time in two steps: the
mixture says which source it comes from and how many rows of that source come before it, and the packing says
which tokens those are.

    mixing      weighted         blocks of 10,000 rows hold each source's share exactly, in shuffled order
                source_balanced  blocks of one row of each source, in shuffled order
                interleaved      the weighted shares, spread evenly and in the same order whatever the seed
    packing     packed           the tokens form a ring that is cut into rows of T targets; an epoch is a
                                 shuffle of all rows, and the cuts move from epoch to epoch
                windows          each row begins anywhere
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tilbench.errors import ConfigError, DataError
from tilbench_trainers.data.batch import Batch, rank_rows, restarted

__all__ = ["Mixture", "Place", "Stream", "block_shares", "key_of", "keyed", "permuted"]

_BLOCK = 10_000
"""Rows in a block of a weighted mixture: shares are exact to one hundredth of a per cent."""
_MASK = (1 << 64) - 1
_GOLDEN, _FIRST, _SECOND = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
_ROUNDS = 8
"""Even, so that the two halves end where they began."""


def _mix(value: int) -> int:
    """Scramble 64 bits (the finaliser of SplitMix64; Steele, Lea & Flood, 2014)."""
    value = ((value ^ (value >> 30)) * _FIRST) & _MASK
    value = ((value ^ (value >> 27)) * _SECOND) & _MASK
    return value ^ (value >> 31)


def keyed(key: int, counter: int) -> int:
    """Return 64 pseudo-random bits for (key, counter): output `counter` of SplitMix64 seeded with `key`."""
    return _mix((key + (counter + 1) * _GOLDEN) & _MASK)


def _scrambled(key: int, count: int) -> NDArray[np.uint64]:
    """Return `keyed(key, counter)` for each counter below `count`."""
    counters = np.arange(1, count + 1, dtype=np.uint64)
    value = np.uint64(key) + counters * np.uint64(_GOLDEN)
    value = (value ^ (value >> np.uint64(30))) * np.uint64(_FIRST)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(_SECOND)
    return value ^ (value >> np.uint64(31))


def key_of(*parts: object) -> int:
    """Return a 64-bit key for a tuple of plain values, the same on every machine."""
    return int.from_bytes(hashlib.sha256("\0".join(map(str, parts)).encode()).digest()[:8], "little")


def permuted(index: int, size: int, key: int) -> int:
    """Return where the permutation of range(`size`) chosen by `key` sends `index`, in constant time.

    A Feistel network over the next power of two, walked until it lands inside the range (Black & Rogaway,
    Ciphers with Arbitrary Finite Domains, 2002). Raises IndexError unless 0 ≤ index < size.
    """
    if not 0 <= index < size:
        raise IndexError(f"index {index} is outside 0 … {size - 1}")
    if size == 1:
        return 0
    bits = max(2, (size - 1).bit_length())
    half = bits // 2
    while True:
        wide, narrow = bits - half, half
        left, right = index >> half, index & ((1 << half) - 1)
        for turn in range(_ROUNDS):
            left, right = right, left ^ (keyed(key ^ right, turn) & ((1 << wide) - 1))
            wide, narrow = narrow, wide
        index = left << half | right
        if index < size:
            return index


def block_shares(weights: Sequence[float], size: int) -> list[int]:
    """Divide `size` rows by weight: largest remainders, ties to the earlier, and at least one row each.

    weights: positive. Raises DataError where there are more sources than rows.
    """
    if len(weights) > size:
        raise DataError(f"{len(weights)} sources do not fit into blocks of {size} rows")
    total = sum(weights)
    exact = [weight / total * size for weight in weights]
    shares = [max(1, int(share)) for share in exact]
    while sum(shares) > size:  # because tiny weights were given a row
        spare = [each for each in range(len(shares)) if shares[each] > 1]
        shares[max(spare, key=lambda each: shares[each] - exact[each])] -= 1
    while sum(shares) < size:
        shares[max(range(len(shares)), key=lambda each: exact[each] - shares[each])] += 1
    return shares


class Mixture:
    """Says for row r of a run its source, and how many rows of that source come before it."""

    def __init__(self, weights: Sequence[float], mixing: str, seed: int) -> None:
        self._balanced = mixing == "source_balanced" or len(weights) == 1
        shares = np.array([1] * len(weights) if self._balanced else block_shares(weights, _BLOCK))
        self._shares = shares.tolist()
        self._size = int(shares.sum())
        self._key = key_of(seed, "mixing")
        self._pattern = np.repeat(np.arange(len(shares)), shares)  # source of each row of a block, sorted
        self._ranks = np.concatenate([np.arange(share) for share in shares])
        # interleaved: the k-th of n rows of a source belongs at (k + 1/2) / n of the block.
        self._fixed = (self._ranks + 0.5) / shares[self._pattern] if mixing == "interleaved" else None
        self._held: tuple[int, list[int], list[int]] = (-1, [], [])

    def source(self, row: int) -> tuple[int, int]:
        """Return (index of the source, number of the row within the source)."""
        block, place = divmod(row, self._size)
        if self._balanced:
            return permuted(place, self._size, keyed(self._key, block)), block
        if self._held[0] != block:
            self._held = block, *self._laid(block)
        which, rank = self._held[1][place], self._held[2][place]
        return which, block * self._shares[which] + rank

    def _laid(self, block: int) -> tuple[list[int], list[int]]:
        """Return the source of each row of a block, and its rank among the block's rows of that source."""
        scores = _scrambled(keyed(self._key, block), self._size) if self._fixed is None else self._fixed
        which = self._pattern[np.argsort(scores, kind="stable")]
        ranks = np.empty_like(self._ranks)
        ranks[np.argsort(which, kind="stable")] = self._ranks
        return which.tolist(), ranks.tolist()


@dataclass(frozen=True, slots=True)
class Place:
    """Where a row's tokens are: they begin at token `offset` of the source and go round at its end.

    epoch: how often the source had been read to its end before.
    """

    source: str
    epoch: int
    offset: int

    def __str__(self) -> str:
        """Return what an error message says."""
        return f"{self.source} token {self.offset:,} (epoch {self.epoch})"


class Stream:
    """Rows of T + 1 tokens (the inputs are the first T, the targets the last T) from a mix of sources.

    In `packed` every token of a source is a target at most once an epoch; where T does not divide the
    number of tokens, the remainder of fewer than T tokens is left out, a different stretch in every epoch.
    """

    def __init__(
        self,
        sources: Mapping[str, tuple[float, NDArray[np.integer]]],
        *,
        sequence_length: int,
        rows: int,
        seed: int = 0,
        mixing: str = "weighted",
        packing: str = "packed",
        separator: int | None = None,
        masked: bool = False,
    ) -> None:
        """Mix `sources`: name → (weight, ids of all its documents end to end). rows: sequences in a step.

        masked: no document sees another. Then a segment begins with the `separator` before its document, as a
        document alone does when it is scored, and positions restart there.
        A source of weight 0 is left out. Raises DataError where nothing is left or a source is too short,
        ConfigError where documents are to be masked and nothing separates them.
        """
        if masked and separator is None:
            raise ConfigError("document_masks needs a separator between documents, and the tokenizer has no eos or bos")
        used = {name: (weight, ids) for name, (weight, ids) in sources.items() if weight > 0}
        if not used:
            raise DataError("there is nothing to train on: no source has a weight above 0")
        for name, (_, ids) in used.items():
            if len(ids) <= sequence_length:
                raise DataError(
                    f"source {name!r} has {len(ids):,} tokens, and one sequence needs "
                    f"{sequence_length + 1:,} (sequence_length {sequence_length:,} + 1); "
                    "give it more text or lower sequence_length"
                )
        self.sequence_length, self.rows = sequence_length, rows
        self._boundary = separator if masked else None
        self._names = list(used)
        self._ids = [ids for _, ids in used.values()]
        self._packed = packing == "packed"
        self._seed = seed
        self._keys = [key_of(seed, packing, name) for name in used]
        self._mixture = Mixture([weight for weight, _ in used.values()], mixing, seed)

    def batch(self, step: int, rank: int = 0, world_size: int = 1) -> Batch:
        """Return the rows of step `step` (counted from 0) that fall to `rank` of `world_size` processes.

        Raises ConfigError where the processes cannot share the rows equally.
        """
        mine = rank_rows(self.rows, rank, world_size)
        read = self.read(step * self.rows + mine.start, len(mine))
        ids, targets = read[:, :-1].contiguous(), read[:, 1:].contiguous()
        predicted = self.rows * self.sequence_length
        if self._boundary is None:
            return Batch(ids, targets, predicted)
        return Batch(ids, targets, predicted, *restarted(ids.numpy() == self._boundary))

    def read(self, first: int, count: int) -> Tensor:
        """Return rows `first` … `first + count - 1` of the run: int64 [count, T + 1]."""
        length = self.sequence_length + 1
        batch = np.empty((count, length), dtype=np.int64)
        for place in range(count):
            which, start = self._find(first + place)[:2]
            ids = self._ids[which]
            head = ids[start : start + length]
            batch[place, : len(head)] = head
            if len(head) < length:
                batch[place, len(head) :] = ids[: length - len(head)]
        return torch.from_numpy(batch)

    def places(self, step: int) -> list[Place]:
        """Say where each row of a step comes from."""
        found = (self._find(row) for row in range(step * self.rows, (step + 1) * self.rows))
        return [Place(self._names[which], epoch, start) for which, start, epoch in found]

    def _find(self, row: int) -> tuple[int, int, int]:
        """Return (index of the source, its token that row `row` begins at, epoch)."""
        which, number = self._mixture.source(row)
        size, key = len(self._ids[which]), self._keys[which]
        if not self._packed:
            start = keyed(key, number) % (size - self.sequence_length)
            return which, start, number * self.sequence_length // size
        epoch, number = divmod(number, size // self.sequence_length)
        cut = permuted(number, size // self.sequence_length, keyed(key, epoch))
        # Epoch 0 begins at the first document, after the separator that ends the ring.
        phase = keyed(key ^ _MASK, epoch) % size if epoch else 0
        return which, (phase + cut * self.sequence_length - 1) % size, epoch

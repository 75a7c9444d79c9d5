"""Examples packed into rows, and the order of the rows: a function of (seed, step)."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Mapping, Sequence

import numpy as np
import torch

from tilbench.errors import DataError
from tilbench_trainers.data.batch import IGNORED, Batch, rank_rows, restarted
from tilbench_trainers.data.packing import Mixture, key_of, keyed, permuted
from tilbench_trainers.sft.examples import Example

__all__ = ["ChatBatches", "bins"]


def bins(sizes: Sequence[int], capacity: int) -> list[list[int]]:
    """Put items of `sizes` into bins of `capacity`, the largest first, each where it leaves the least room.

    Return the items of each bin. Best-fit decreasing (Johnson, 1973): at most 11/9 of the fewest bins possible.
    """
    filled: list[list[int]] = []
    room: list[tuple[int, int]] = []  # (room, bin), ascending
    for item in sorted(range(len(sizes)), key=lambda each: (-sizes[each], each)):
        place = bisect_left(room, (sizes[item], 0))
        left, number = room.pop(place) if place < len(room) else (capacity, len(filled))
        if number == len(filled):
            filled.append([])
        filled[number].append(item)
        insort(room, (left - sizes[item], number))
    return filled


class ChatBatches:
    """Rows of examples from a mix of sources (`tilbench_trainers.data.batch.Batches`).

    What shares a row is decided once; an epoch of a source is a shuffle of its rows. In a packed row each example is
    a segment of its own. Row r of a run is found in constant time.
    """

    def __init__(
        self,
        sources: Mapping[str, tuple[float, Sequence[Example]]],
        *,
        sequence_length: int,
        rows: int,
        seed: int = 0,
        mixing: str = "weighted",
        packed: bool = True,
    ) -> None:
        """Mix `sources`: name → (weight, examples). rows: sequences in a step.

        A source of weight 0 is left out. Raises DataError where nothing is left or a source has no example.
        """
        used = {name: (weight, examples) for name, (weight, examples) in sources.items() if weight > 0}
        if not used:
            raise DataError("there is nothing to train on: no source has a weight above 0")
        for name, (_, examples) in used.items():
            if not examples:
                raise DataError(
                    f"source {name!r} has no example that fits into {sequence_length:,} tokens; raise sequence_length"
                )
        self._names, self._length, self.rows = list(used), sequence_length, rows
        self._examples = [examples for _, examples in used.values()]
        self._bins = [
            bins([len(example.inputs) for example in examples], sequence_length)
            if packed
            else [[number] for number in range(len(examples))]
            for examples in self._examples
        ]
        self._packed = packed
        self._keys = [key_of(seed, "conversations", name) for name in used]
        self._mixture = Mixture([weight for weight, _ in used.values()], mixing, seed)

    def epoch_rows(self) -> dict[str, int]:
        """Return how many rows each source has."""
        return {name: len(rows) for name, rows in zip(self._names, self._bins, strict=True)}

    def batch(self, step: int, rank: int = 0, world_size: int = 1) -> Batch:
        """Return the rows of step `step` (counted from 0) that fall to `rank`; see `Batches`."""
        rows = [self._row(step * self.rows + row) for row in range(self.rows)]
        mine = rank_rows(self.rows, rank, world_size)
        shape = len(mine), self._length
        ids, targets = np.zeros(shape, dtype=np.int64), np.full(shape, IGNORED, dtype=np.int64)
        begins = np.zeros(shape, dtype=np.bool_)
        for place, row in enumerate(mine):
            start = 0
            for example in rows[row]:
                stop = start + len(example.inputs)
                ids[place, start:stop], targets[place, start:stop] = example.inputs, example.targets
                begins[place, start] = True
                start = stop
            begins[place, start : start + 1] = True  # what is left over sees no example
        predicted = sum(int(example.learned[1:].sum()) for row in rows for example in row)
        where = restarted(begins) if self._packed else (None, None)
        return Batch(torch.from_numpy(ids), torch.from_numpy(targets), max(predicted, 1), *where)

    def places(self, step: int) -> list[str]:
        """Say which examples each row of a step holds."""
        found = []
        for row in range(step * self.rows, (step + 1) * self.rows):
            which, epoch, _ = self._find(row)
            names = [example.id for example in self._row(row)]
            more = f" and {len(names) - 3} more" if names[3:] else ""
            found.append(f"{self._names[which]} {', '.join(names[:3])}{more} (epoch {epoch})")
        return found

    def _row(self, row: int) -> list[Example]:
        which, _, number = self._find(row)
        return [self._examples[which][item] for item in self._bins[which][number]]

    def _find(self, row: int) -> tuple[int, int, int]:
        """Return (index of the source, epoch, its row)."""
        which, number = self._mixture.source(row)
        size = len(self._bins[which])
        epoch, number = divmod(number, size)
        return which, epoch, permuted(number, size, keyed(self._keys[which], epoch))

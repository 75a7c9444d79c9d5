"""The key-value cache: preallocated tensors for a fixed batch, filled from the left."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from tilbench.errors import Unsupported

__all__ = ["KVCache"]


class KVCache:
    """What attention layers remember of the tokens seen so far, in `length` of `capacity` slots per row.

    Set `length` back to forget the newest tokens. Key positions are kept too, since a distance penalty needs
    them and slots need not be positions (packed trees, left offsets). For inference: it carries no gradient.
    """

    def __init__(
        self,
        layers: Sequence[Sequence[tuple[int, int]]],
        *,
        batch: int,
        capacity: int,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        """Allocate, for each layer, one tensor [batch, heads, capacity, width] per (heads, width)."""
        self.length = 0
        self.batch = batch
        self.capacity = capacity
        self._layers = [
            [torch.empty(batch, heads, capacity, width, device=device, dtype=dtype) for heads, width in shapes]
            for shapes in layers
        ]
        self._positions = torch.empty(batch, capacity, device=device, dtype=torch.int64)

    @property
    def bytes(self) -> int:
        """Size in bytes of the tensors kept for attention."""
        return sum(tensor.nbytes for tensors in self._layers for tensor in tensors)

    def begin(self, rows: int, positions: Tensor) -> Tensor:
        """Note the positions [1 or B, T] of T new tokens and return those of all S = length + T keys [B, S].

        Raises Unsupported where the batch differs or the tokens do not fit.
        """
        end = self.length + positions.shape[1]
        if rows != self.batch:
            raise Unsupported(
                f"the cache was made for {self.batch} rows and got {rows}; make one with new_cache({rows}, …)"
            )
        if end > self.capacity:
            raise Unsupported(f"the cache holds {self.capacity} tokens per row and {end} are needed; make a longer one")
        self._positions[:, self.length : end] = positions
        return self._positions[:, :end]

    def append(self, layer: int, *new: Tensor) -> tuple[Tensor, ...]:
        """Store a layer's new tensors [B, heads, T, width] and return all it holds [B, heads, S, width]."""
        end = self.length + new[0].shape[2]
        for held, tensor in zip(self._layers[layer], new, strict=True):
            held[:, :, self.length : end] = tensor.detach()
        return tuple(held[:, :, :end] for held in self._layers[layer])

    def advance(self, tokens: int) -> None:
        """Count `tokens` new tokens as held, once every layer has stored them."""
        self.length += tokens

    def keep(self, slots: Tensor) -> None:
        """Keep the filled slots at the places `slots`, ascending int64 [length], of every row; forget the others."""
        length = len(slots)
        for tensors in self._layers:
            for held in tensors:
                held[:, :, :length] = held[:, :, slots]
        self._positions[:, :length] = self._positions[:, slots]
        self.length = length

    def select(self, rows: Tensor) -> None:
        """Keep the rows at the places `rows` [B], in this order; a row may be kept more than once."""
        self._layers = [[held[rows] for held in tensors] for tensors in self._layers]
        self._positions = self._positions[rows]
        self.batch = len(rows)

    def join(self, others: Sequence[KVCache]) -> None:
        """Put the rows of other caches below its own, all from slot 0; `length` becomes that of the longest.

        Slots that a shorter cache has not filled hold zeros, which a mask has to leave out.
        """
        caches = [self, *others]
        batch, length = sum(cache.batch for cache in caches), max(cache.length for cache in caches)
        capacity = max(cache.capacity for cache in caches)
        layers = [
            [_joined(each, caches, batch, capacity) for each in zip(*tensors, strict=True)]
            for tensors in zip(*(cache._layers for cache in caches), strict=True)
        ]
        self._positions = _joined([cache._positions for cache in caches], caches, batch, capacity, slots=1)
        self._layers = layers
        self.batch, self.length, self.capacity = batch, length, capacity


def _joined(tensors: Sequence[Tensor], caches: Sequence[KVCache], batch: int, capacity: int, slots: int = 2) -> Tensor:
    """Return the filled slots (dimension `slots`) of each cache's tensor, one cache's rows below another's."""
    shape = [batch, *tensors[0].shape[1:]]
    shape[slots] = capacity
    joined = tensors[0].new_zeros(shape)
    start = 0
    for tensor, cache in zip(tensors, caches, strict=True):
        joined[start : start + cache.batch].narrow(slots, 0, cache.length).copy_(tensor.narrow(slots, 0, cache.length))
        start += cache.batch
    return joined

"""What a decoder remembers between calls, whichever way its class can remember."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

from tilbench.errors import Unsupported

if TYPE_CHECKING:
    from transformers import PretrainedConfig

__all__ = ["Memory", "Slots", "Way", "new_state"]


_ATTENTION = (DynamicLayer, DynamicSlidingWindowLayer)
"""Layers of keys and values. A window is a matter of the mask: keys beyond it are kept, so that texts can branch."""


class Way(Enum):
    """How a class goes on from tokens it has seen: in chunks, token by token, or computing them again."""

    CHUNKS = "chunks"
    STEPS = "steps"
    AGAIN = "again"


class Slots(DynamicLayer):  # type: ignore[no-untyped-call]
    """Transformers' layer of keys and values that attend over everything, in tensors made once for `capacity` tokens.

    Its own layer copies all it holds for every new token.
    """

    def __init__(self, capacity: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.capacity = capacity
        self._held: tuple[Tensor, Tensor] | None = None  # [B, heads, capacity, width] each

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Allocate for rows, heads and widths like those of the first tokens."""
        self.dtype, self.device = key_states.dtype, key_states.device
        shapes = [(*each.shape[:2], self.capacity, each.shape[3]) for each in (key_states, value_states)]
        self._hold([key_states.new_zeros(shape) for shape in shapes], length=0)

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: object, **kwargs: object
    ) -> tuple[Tensor, Tensor]:
        """Store new keys and values [B, heads, T, width] and return all so far."""
        if self._held is None:
            self.lazy_initialization(key_states, value_states)
        assert self._held is not None
        start = self.get_seq_length()
        end = start + key_states.shape[2]
        if end > self.capacity:
            raise Unsupported(f"the cache holds {self.capacity} tokens per row and {end} are needed; make a longer one")
        for held, new in zip(self._held, (key_states, value_states), strict=True):
            held[:, :, start:end] = new.detach()
        self.keys, self.values = (held[:, :, :end] for held in self._held)
        return self.keys, self.values

    @property
    def bytes(self) -> int:
        """Size of keys and values, slots that are not filled yet included."""
        return sum(held.nbytes for held in self._held or ())

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Keep these rows, in this order."""
        if self._held is not None:
            self._hold([held.index_select(0, beam_idx) for held in self._held], length=self.get_seq_length())

    def keep(self, slots: Tensor) -> None:
        """Keep the filled slots at these places, ascending; forget the others."""
        if self._held is not None:
            for held in self._held:
                held[:, :, : len(slots)] = held[:, :, slots]
            self._hold(self._held, length=len(slots))

    def join(self, others: Sequence[Slots]) -> None:
        """Put the rows of other layers below its own, from slot 0; slots that a shorter one has not filled are 0."""
        if self._held is None:  # a layer that uses another's keys and values
            return
        layers = [self, *others]
        length, capacity = (
            max(sizes) for sizes in zip(*((e.get_seq_length(), e.capacity) for e in layers), strict=True)
        )
        parts = [(layer.keys, layer.values) for layer in layers]
        joined = []
        for tensors in zip(*parts, strict=True):
            batch = sum(len(tensor) for tensor in tensors)
            whole = tensors[0].new_zeros(batch, tensors[0].shape[1], capacity, tensors[0].shape[3])
            start = 0
            for tensor in tensors:
                whole[start : start + len(tensor), :, : tensor.shape[2]] = tensor
                start += len(tensor)
            joined.append(whole)
        self.capacity = capacity
        self._hold(joined, length)

    def _hold(self, held: Sequence[Tensor], length: int) -> None:
        keys, values = self._held = (held[0], held[1])
        self.keys, self.values = keys[:, :, :length], values[:, :, :length]
        self.is_initialized = True


def new_state(config: PretrainedConfig, capacity: int) -> DynamicCache:
    """Return transformers' cache for a model of this config, with room for `capacity` tokens."""
    state = DynamicCache(config=config)
    state.layers = [Slots(capacity) if type(layer) in _ATTENTION else layer for layer in state.layers]
    return state


@dataclass(slots=True)
class Memory:
    """A cache. length: tokens held per row. make: makes transformers' cache; None for a class that has none.

    keeps_ids: the tokens themselves are held, to be computed again. positions: of the tokens held, and of those that
    are about to be. regime: which rotary angles the tokens held were computed with (`stretch.Stretch`).
    """

    way: Way
    make: Callable[[], DynamicCache] | None = None
    keeps_ids: bool = False
    state: Any = None
    ids: Tensor | None = None  # [B, length]
    length: int = 0
    positions: Tensor | None = None  # [B, length]
    regime: int = 0

    def __post_init__(self) -> None:
        self.state = self.make() if self.make else None

    def reach(self, ids: Tensor, positions: Tensor | None) -> int:
        """Return the length of the longest text once `ids` [B, T] are held."""
        return self.length + ids.shape[1] if positions is None else int(positions.max()) + 1

    def in_regime(self, regime: int, ids: Tensor, plain: bool) -> Tensor:
        """Return what is to be computed to hold `ids` [B, T] too: all tokens, where those held had other angles.

        plain: neither mask nor positions are given. Raises Unsupported where the tokens held cannot be computed again.
        """
        if regime != self.regime and self.length:
            if self.ids is None or not plain:
                raise Unsupported("the rotary angles depend on the length of a text; give it one text a row")
            ids = torch.cat([self.ids, ids], dim=1)
            self.state, self.ids, self.length, self.positions = self.make() if self.make else None, None, 0, None
        self.regime = regime
        return ids

    def note(self, ids: Tensor, positions: Tensor | None) -> Tensor:
        """Note the positions of new `ids` [B, T], None counting on, and return those of all S = length + T keys."""
        if positions is None:
            positions = torch.arange(self.length, self.length + ids.shape[1], device=ids.device)
        positions = positions.expand(ids.shape)
        held = positions[:, :0] if self.positions is None else self.positions[:, : self.length]
        self.positions = torch.cat([held, positions], dim=1)
        return self.positions

    @property
    def bytes(self) -> int:
        """Size of all that is remembered, slots that are not filled yet included."""
        layers = [] if self.state is None else self.state.layers
        return sum(map(_bytes, layers)) + (0 if self.ids is None else self.ids.nbytes)

    def all(self, ids: Tensor) -> Tensor:
        """Append `ids` [B, T] and return every id so far."""
        self.ids = ids if self.ids is None else torch.cat([self.ids, ids], dim=1)
        return self.ids

    def keep(self, slots: Tensor) -> None:
        """Keep the slots at the places `slots`, ascending int64 [new length], of every row; forget the others.

        Raises Unsupported for a class whose layers remember otherwise than by all keys and values.
        """
        if self.ids is not None:
            self.ids = self.ids[:, slots]
        if self.state is not None:
            for layer in _slots(self):
                layer.keep(slots)
        if self.positions is not None:
            self.positions = self.positions[:, slots]
        self.length = len(slots)

    def select(self, rows: Tensor) -> None:
        """Keep the rows at the places `rows` [B], in this order; a row may be kept more than once."""
        if self.ids is not None:
            self.ids = self.ids[rows]
        if self.positions is not None:
            self.positions = self.positions[rows]
        if self.state is not None:
            self.state.reorder_cache(rows)

    def join(self, others: Sequence[Memory]) -> None:
        """Put the rows of other caches below its own; see `tilbench.kinds.architecture.Cache`.

        Raises Unsupported for a class whose layers remember otherwise than by all keys and values.
        """
        for first, *rest in zip(*map(_slots, [self, *others]), strict=True):
            first.join(rest)
        self.keeps_ids, self.ids = False, None  # of rows of different lengths
        self.length = max(self.length, *(other.length for other in others))
        places = [each.positions for each in (self, *others) if each.positions is not None]
        self.positions = torch.cat([F.pad(each, (0, self.length - each.shape[1])) for each in places])


def _slots(memory: Memory) -> list[Slots]:
    """Return the layers of a cache. Raises Unsupported where they are not keys and values of all tokens."""
    layers = [] if memory.state is None else memory.state.layers
    if not layers or not all(isinstance(layer, Slots) for layer in layers):
        raise Unsupported("this class remembers more than keys and values of all tokens")
    return list(layers)


def _bytes(layer: object) -> int:
    """Return the size of what one of transformers' layers remembers."""
    if isinstance(layer, Slots):
        return layer.bytes
    held = [each for value in vars(layer).values() for each in (value if isinstance(value, list) else [value])]
    return sum(each.nbytes for each in held if isinstance(each, Tensor) and each.ndim > 0)

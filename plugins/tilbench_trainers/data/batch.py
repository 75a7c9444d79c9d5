"""What a training loop is handed for a step: ids, what follows them, and who may see whom."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tilbench.errors import ConfigError

__all__ = ["IGNORED", "Batch", "Batches", "rank_rows", "restarted"]

IGNORED = -100
"""The target of a token after which nothing is to be learned, as torch has it."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Sequences of one optimizer step, or some of them. B rows, T tokens.

    ids: int64 [B, T]. targets: int64 [B, T], the token after each, or `IGNORED`.
    predicted: targets of the whole step that are not ignored, over all ranks; the sum of the losses of all parts is
    divided by it, so that every predicted token counts the same however the step is cut up.
    segments: int64 [B, T]; a token sees only those before it of its own segment. None: all before it.
    positions: int64 [B, T], counted from 0 in each segment; None counts from 0 in each row.
    """

    ids: Tensor
    targets: Tensor
    predicted: int
    segments: Tensor | None = None
    positions: Tensor | None = None

    @property
    def mask(self) -> Tensor | None:
        """Who may attend to whom: bool [B, 1, T, T], True = may; None is causal. It is made at each call."""
        if self.segments is None:
            return None
        length = self.ids.shape[1]
        causal = torch.ones(length, length, dtype=torch.bool, device=self.ids.device).tril()
        return ((self.segments[:, :, None] == self.segments[:, None, :]) & causal)[:, None]

    def parts(self, rows: int) -> Iterator[Batch]:
        """Yield the rows, `rows` at a time."""
        for start in range(0, len(self.ids), rows):
            yield self._each(lambda tensor, start=start: tensor[start : start + rows])

    def to(self, device: torch.device) -> Batch:
        """Return the batch on a device; onto an accelerator it is copied while the host goes on."""
        if device.type == "cpu":
            return self
        return self._each(lambda tensor: tensor.pin_memory().to(device, non_blocking=True))

    def _each(self, change: Any) -> Batch:
        held = {name: getattr(self, name) for name in ("ids", "targets", "segments", "positions")}
        return replace(self, **{name: change(tensor) for name, tensor in held.items() if tensor is not None})


class Batches(Protocol):
    """The data of a run: what a step reads is a function of the step alone."""

    def batch(self, step: int, rank: int = 0, world_size: int = 1) -> Batch:
        """Return the rows of step `step` (counted from 0) that fall to `rank` of `world_size` processes."""

    def places(self, step: int) -> Sequence[object]:
        """Say where each row of a step comes from, in words for an error message."""


def rank_rows(rows: int, rank: int, world_size: int) -> range:
    """Return which of the `rows` sequences of a step are a rank's. Raises ConfigError where they cannot be divided."""
    if rows % world_size:
        raise ConfigError(
            f"a step has {rows} sequences (batch_size × accumulation × devices), which {world_size} processes cannot "
            "share equally; change one of them"
        )
    each = rows // world_size
    return range(rank * each, (rank + 1) * each)


def restarted(begins: NDArray[np.bool_]) -> tuple[Tensor, Tensor]:
    """Return segments and positions, int64 [B, T] each, of rows in which `begins` [B, T] marks first tokens."""
    places = np.arange(begins.shape[1])
    first = np.maximum.accumulate(np.where(begins, places, 0), axis=1)
    return torch.from_numpy(begins.cumsum(axis=1, dtype=np.int64)), torch.from_numpy(places - first)

"""What a decoder remembers between calls, whichever way its class can remember."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any

import torch
from torch import Tensor

__all__ = ["Memory", "Way"]


class Way(Enum):
    """How a class goes on from tokens it has seen: in chunks, token by token, or computing them again."""

    CHUNKS = "chunks"
    STEPS = "steps"
    AGAIN = "again"


@dataclass(slots=True)
class Memory:
    """A cache. length: tokens held per row. state: transformers' cache. ids: the tokens, if it has none."""

    way: Way
    state: Any = None
    ids: Tensor | None = None  # [B, length]
    length: int = 0

    def all(self, ids: Tensor) -> Tensor:
        """Append `ids` [B, T] and return every id so far."""
        self.ids = ids if self.ids is None else torch.cat([self.ids, ids], dim=1)
        return self.ids

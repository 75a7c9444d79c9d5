"""What a built decoder may offer: a matrix to project by, and what its numbers depend on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from tilbench.kinds.weight_layout import Slot

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["DependsOnLength", "HasOutputWeight", "StatesOwnParts"]


@runtime_checkable
class HasOutputWeight(Protocol):
    """Projects states to logits by one matrix, from which trainers compute the loss in chunks."""

    @property
    def output_weight(self) -> Tensor | None:
        """The matrix [V, D] whose product with states is all that `project` does; None where it does more."""


@runtime_checkable
class DependsOnLength(Protocol):
    """Computes states that depend on the longest row of a forward pass."""

    @property
    def alone_above(self) -> int | None:
        """Texts of more tokens are computed one a pass, without padding; None where every text may have neighbours."""


@runtime_checkable
class StatesOwnParts(Protocol):
    """Says which of its weights hold several matrices, where its architecture cannot say so by the config."""

    def parts(self) -> Sequence[Slot]:
        """Return those weights, with the parts that each is made of."""

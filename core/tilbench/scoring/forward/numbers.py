"""What a model computes must be numbers: NaN would pass for a score, and for a most likely token."""

from __future__ import annotations

from torch import Tensor

from tilbench.errors import CheckpointError

__all__ = ["check_numbers"]


def check_numbers(found: Tensor) -> None:
    """Raise CheckpointError where any of `found`, which comes of a model's logits, is NaN."""
    if found.isnan().any():
        raise CheckpointError(
            "the model's logits are not numbers (NaN): its weights are damaged, or too large for the precision; take "
            "another checkpoint, or --dtype float32"
        )

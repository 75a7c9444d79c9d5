"""Asks a class what it can do, by trying it on a few tokens."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor, nn

from tilbench_huggingface.library import quiet

__all__ = ["FAULTS", "LENGTH", "ask", "close"]

LENGTH = 6
"""Tokens of the sequences on which a class is tried."""
FAULTS = (AttributeError, IndexError, KeyError, RuntimeError, StopIteration, TypeError, ValueError)
"""What a class raises that was asked for something it does not know."""

_Result = TypeVar("_Result")


def ask(module: nn.Module, vocab_size: int, question: Callable[[Tensor], _Result], length: int = LENGTH) -> _Result:
    """Answer a question about two rows of `length` ids that differ in their last only; no dropout, no gradients."""
    device = next(module.parameters()).device
    ids = (torch.arange(length + 1, device=device) * 7919 + 13) % vocab_size
    modes = {each: each.training for each in module.modules()}
    module.eval()
    try:
        with torch.no_grad(), quiet():  # a class announces once, at its first call, which kernels it lacks
            return question(torch.stack([ids[:-1], torch.cat([ids[:-2], ids[-1:]])]))
    finally:
        for each, mode in modes.items():
            each.training = mode


def close(one: Tensor, other: Tensor) -> bool:
    """Say whether two results of one computation agree, up to the rounding of their precision."""
    if one.shape != other.shape:
        return False
    error = 1e-4 if other.dtype in {torch.float32, torch.float64} else 5e-2
    one, other = one.float(), other.float()
    return bool((one - other).abs().max() <= error * other.abs().max())

"""Asks a class what it can do, by trying it on a few tokens.

What a class can do does not depend on its precision, and rounding would hide what it cannot: 16-bit weights are widened
to fp32 for a trial, those of a layer only while it runs.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

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
    """Answer a question about two rows of `length` ids that differ in their last only.

    The module computes in fp32, without dropout and gradients.
    """
    device = next(module.parameters()).device
    ids = (torch.arange(length + 1, device=device) * 7919 + 13) % vocab_size
    modes = {each: each.training for each in module.modules()}
    module.eval()
    try:
        # A class announces once, at its first call, which kernels it lacks.
        with torch.inference_mode(False), torch.no_grad(), quiet(), _in_fp32(module):
            return question(torch.stack([ids[:-1], torch.cat([ids[:-2], ids[-1:]])]))
    finally:
        for each, mode in modes.items():
            each.training = mode


@contextlib.contextmanager
def _in_fp32(module: nn.Module) -> Iterator[None]:
    """Let a module compute in fp32."""
    layers = [each for stack in module.modules() if isinstance(stack, nn.ModuleList) for each in stack]
    within = {id(part) for layer in layers for part in layer.modules()}
    always = [_Widened([each for each in module.modules() if id(each) not in within])]
    hooks: list[Any] = []
    try:
        always[0].widen()
        for layer in layers:
            widened = _Widened(list(layer.modules()))
            hooks.append(layer.register_forward_pre_hook(lambda *_, widened=widened: widened.widen()))
            hooks.append(layer.register_forward_hook(lambda *_, widened=widened: widened.narrow(), always_call=True))
        yield
    finally:
        for hook in hooks:
            hook.remove()
        always[0].narrow()


class _Widened:
    """The parameters and buffers of modules, which can be in fp32 for a while."""

    def __init__(self, modules: list[nn.Module]) -> None:
        self._modules = modules
        self._before: list[tuple[Tensor, Tensor]] = []

    def widen(self) -> None:
        """Replace what is in 16 bits."""
        for module in self._modules:
            for tensor in (*module.parameters(recurse=False), *module.buffers(recurse=False)):
                if tensor.dtype in (torch.bfloat16, torch.float16):
                    self._before.append((tensor, tensor.data))
                    tensor.data = tensor.data.float()

    def narrow(self) -> None:
        """Put back what was replaced."""
        for tensor, data in self._before:
            tensor.data = data
        self._before.clear()


def close(one: Tensor, other: Tensor) -> bool:
    """Say whether two results of one computation agree, up to the rounding of their precision."""
    if one.shape != other.shape:
        return False
    error = 1e-4 if other.dtype in {torch.float32, torch.float64} else 5e-2
    one, other = one.float(), other.float()
    return bool((one - other).abs().max() <= error * other.abs().max())

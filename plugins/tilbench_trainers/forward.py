"""From the rows of a step to their loss: precision, compilation and what is computed again in the backward pass."""

from __future__ import annotations

import ctypes
import os
import shutil
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial, wraps
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from tilbench.config.model import Recipe
from tilbench.data.batch import Batch
from tilbench.errors import Unsupported
from tilbench.kinds.architecture import Decoder
from tilbench.kinds.hardware import HardwareProfile
from tilbench.scoring.chunked import cross_entropy

__all__ = ["Forward", "check_compiler", "keep_freed_memory", "recompute_activations"]

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
_CHUNK_BYTES = {"cpu": 2**27}
_CHUNK_BYTES_ELSEWHERE = 2**30
"""Of logits that are held at once: the more, the fewer times the gradient of the output matrix is added to."""


class Forward:
    """The loss of a part of a step."""

    def __init__(self, module: nn.Module, recipe: Recipe, device: torch.device) -> None:
        self._decoder = cast("Decoder", module)
        self._device, self._dtype = device, _DTYPES[recipe.precision]
        if recipe.activation_checkpointing:
            recompute_activations(module)
        # The method and not the module is compiled, so that no parameter gets another name.
        self._hidden: Callable[..., Tensor] = (
            torch.compile(self._decoder.hidden, dynamic=False) if recipe.compile else self._decoder.hidden
        )
        self._chunk_bytes = _CHUNK_BYTES.get(device.type, _CHUNK_BYTES_ELSEWHERE)
        if device.type == "cpu":
            keep_freed_memory()

    def step(self) -> AbstractContextManager[Any]:
        """Return what to enter around the parts of a step: weights are cast to half precision once in it."""
        # Autocast forgets its casts when the outermost context ends. This one is off, so backward passes are outside.
        return torch.autocast(self._device.type, enabled=False)

    def loss(self, part: Batch, *, compiled: bool = True) -> Tensor:
        """Return the cross-entropy in nats of a part of a step, as its share of the step's mean, without [B, T, V]."""
        run = self._hidden if compiled else self._decoder.hidden
        with torch.autocast(self._device.type, dtype=self._dtype, enabled=self._dtype != torch.float32):
            hidden = run(part.ids, positions=part.positions, mask=part.mask)  # [B, T, D]
            weight = getattr(self._decoder, "output_weight", None)
            total = cross_entropy(
                self._decoder.project if weight is None else weight,
                hidden.flatten(0, 1),
                part.targets.flatten(),
                reduction="sum",
                chunk_bytes=self._chunk_bytes,
            )
        return total / part.predicted


def recompute_activations(module: nn.Module) -> None:
    """Keep only the inputs of a decoder's blocks for the backward pass, and compute the rest again (Chen et al., 2016).

    The blocks are the longest list of parts in the module. Numbers do not change, dropout's included. Raises
    Unsupported where there is no list.
    """
    lists = [part for part in module.modules() if isinstance(part, nn.ModuleList) and len(part)]
    if not lists:
        raise Unsupported("activation_checkpointing needs a decoder whose blocks are an nn.ModuleList; turn it off")
    for block in max(lists, key=len):
        block.forward = _recomputed(block.forward)


def _recomputed(forward: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(forward)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        if not torch.is_grad_enabled():
            return forward(*args, **kwargs)
        return checkpoint(partial(forward, **kwargs), *args, use_reentrant=False)

    return wrapped


def check_compiler(recipe: Recipe, hardware: HardwareProfile) -> None:
    """Raise Unsupported where the recipe asks for compilation and this machine cannot do it."""
    if not recipe.compile:
        return
    if not hardware.compiles:
        raise Unsupported(f"hardware profile {hardware.name!r} does not compile; set recipe.compile: false")
    if hardware.device == "cpu" and not any(map(shutil.which, (os.environ.get("CXX") or "g++", "c++", "clang++"))):
        raise Unsupported("recipe.compile needs a C++ compiler and there is none; install g++ or set compile: false")


def keep_freed_memory() -> None:
    """Let the C library keep memory that is freed, instead of giving it back to the system at once.

    A step frees and asks for the same large blocks again and again. By default (glibc) each is new to the process,
    and the system clears every page of it at its first use, which can take longer than the arithmetic.
    """
    if sys.platform == "linux" and hasattr(library := ctypes.CDLL(None), "mallopt"):
        trim_threshold, mmap_max = -1, -4  # names in malloc.h
        library.mallopt(mmap_max, 0)
        library.mallopt(trim_threshold, 2**31 - 1)

"""From the rows of a step to their loss: precision, compilation and what is computed again in the backward pass."""

from __future__ import annotations

import ctypes
import os
import shutil
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial, wraps
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from tilbench.config.model import Recipe
from tilbench.errors import Unsupported
from tilbench.kinds.architecture import Decoder
from tilbench.kinds.capabilities.decoder import HasOutputWeight
from tilbench.kinds.hardware import HardwareProfile
from tilbench.ranks import ALONE, Ranks
from tilbench.scoring.forward.chunked import cross_entropy
from tilbench_trainers.data.batch import IGNORED, Batch
from tilbench_trainers.parallel import blocks, in_step, sharded, shared

__all__ = ["Forward", "check_compiler", "keep_freed_memory", "recompute_activations"]

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
_CHUNK_BYTES = {"cpu": 2**27}
_CHUNK_BYTES_ELSEWHERE = 2**30
"""Of logits that are held at once: the more, the fewer times the gradient of the output matrix is added to."""


class Forward:
    """The loss of a step's rows and its gradients, with those of other processes where there are any."""

    def __init__(self, module: nn.Module, recipe: Recipe, device: torch.device, ranks: Ranks = ALONE) -> None:
        """Compute with `module`, in place: where the recipe has shards, its parameters are cut into them."""
        self._device, self._world = device, ranks.world
        self._shards = sharded(recipe, ranks)
        decoder = cast("Decoder", module)
        if recipe.activation_checkpointing:
            recompute_activations(module)
        if recipe.compile and self._shards:
            for block in blocks(module, "recipe.compile"):  # what gathers their weights is not compiled
                block.forward = torch.compile(block.forward, dynamic=False)
        # The method and not the module is compiled, so that no parameter gets another name.
        whole = recipe.compile and not self._shards
        hidden = torch.compile(decoder.hidden, dynamic=False) if whole else decoder.hidden
        self._loss = _Loss(module, hidden, _DTYPES[recipe.precision], device)
        self._shared = shared(self._loss, recipe, device, ranks)
        if device.type == "cpu":
            keep_freed_memory()

    def accumulate(self, batch: Batch, rows: int, scaler: torch.amp.GradScaler) -> Tensor:
        """Add the gradient of the step's mean loss to the parameters, `rows` rows at a time.

        batch: this process's rows. Return their share of the step's mean loss in nats, a scalar on the device; over all
        processes the shares sum to it. The gradients are those of all when it returns.
        """
        total = torch.zeros((), device=self._device)
        parts = list(batch.parts(rows))
        with self._casts():
            for place, part in enumerate(parts):
                with in_step(self._shared, last=place == len(parts) - 1):
                    loss = self._shared(part)
                    # Gradients of several processes come out averaged, and are to be summed.
                    scaler.scale(loss * self._world if self._world > 1 else loss).backward()
                total += loss.detach()
        return total

    @torch.no_grad()
    def row_losses(self, batch: Batch) -> list[float]:
        """Return the mean loss in nats of each row, without compilation where that can be; the module as it is."""
        losses = []
        for row in batch.parts(1):
            share = row.predicted / max(1, int((row.targets != IGNORED).sum()))
            losses.append(share * self._loss(row, compiled=False).item())
        return losses

    def _casts(self) -> AbstractContextManager[Any]:
        """Return what to enter around the parts of a step: weights are cast to half precision once in it.

        Not where they are in shards: their casts would be whole.
        """
        # Autocast forgets its casts when the outermost context ends. This one is off, so backward passes are outside.
        return nullcontext() if self._shards else torch.autocast(self._device.type, enabled=False)


class _Loss(nn.Module):
    """From a part of a step to the sum of its cross-entropies over the tokens of the whole step, without [B, T, V]."""

    def __init__(
        self, decoder: nn.Module, hidden: Callable[..., Tensor], dtype: torch.dtype, device: torch.device
    ) -> None:
        super().__init__()
        self.decoder = decoder
        self._hidden, self._dtype, self._device = hidden, dtype, device
        self._chunk_bytes = _CHUNK_BYTES.get(device.type, _CHUNK_BYTES_ELSEWHERE)

    def forward(self, part: Batch, *, compiled: bool = True) -> Tensor:
        """Return a part's share of the step's mean loss in nats, a scalar."""
        decoder: Any = self.decoder
        run = self._hidden if compiled else decoder.hidden
        with torch.autocast(self._device.type, dtype=self._dtype, enabled=self._dtype != torch.float32):
            hidden = run(part.ids, positions=part.positions, mask=part.mask)  # [B, T, D]
            weight = decoder.output_weight if isinstance(decoder, HasOutputWeight) else None
            total = cross_entropy(
                decoder.project if weight is None else weight,
                hidden.flatten(0, 1),
                part.targets.flatten(),
                reduction="sum",
                chunk_bytes=self._chunk_bytes,
            )
        return total / part.predicted


def recompute_activations(module: nn.Module) -> None:
    """Keep only the inputs of a decoder's blocks for the backward pass, and compute the rest again (Chen et al., 2016).

    Numbers do not change, dropout's included. Raises Unsupported where there is no list of blocks.
    """
    for block in blocks(module, "activation_checkpointing"):
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

"""Muon (Jordan et al., 2024), where each part of a fused weight is orthogonalised by itself."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from tilbench.kinds.architecture import Decoder
from tilbench.kinds.weight_layout import Slot

__all__ = ["OUTER", "Cut", "PartedMuon", "cuts", "orthogonal", "outer"]

OUTER = frozenset({"embedding", "positions", "lm_head"})
"""Roles (`tilbench.kinds.weight_layout`) of matrices that are not hidden: their rows are tokens or places."""
_A, _B, _C = 3.4445, -4.7750, 2.0315
"""Coefficients of the quintic iteration, and below how often it is done: Jordan et al., 2024."""
_ITERATIONS = 5
_RMS = 0.2
"""Root mean square of AdamW's updates, which Muon's are scaled to (Liu et al., Muon is Scalable for LLM Training)."""


@dataclass(frozen=True, slots=True)
class Cut:
    """Where the parts of a weight lie: the indices (int64) of each along `axis`."""

    parts: Sequence[Tensor]
    axis: int = 0


def cuts(slots: Iterable[Slot], names: Iterable[str]) -> dict[str, Cut]:
    """Return where the parts of every weight lie that holds several, by the weight's name in `names`."""
    names, found = list(names), dict[str, Cut]()
    for slot in slots:
        if len(slot.parts) > 1 and slot.columns:
            pattern = re.compile(re.escape(slot.name).replace(r"\*", r"\d+"))
            found |= dict.fromkeys(filter(pattern.fullmatch, names), Cut(_rows(slot), int(slot.transposed)))
    return found


def _rows(slot: Slot) -> list[Tensor]:
    sizes = [part.rows // part.heads if slot.by_head else part.rows for part in slot.parts]
    heads = slot.parts[0].heads if slot.by_head else 1
    places = torch.arange(heads * sum(sizes)).view(heads, sum(sizes))
    return [each.flatten() for each in torch.split(places, sizes, dim=1)]


def outer(module: nn.Module, slots: Iterable[Slot]) -> set[int]:
    """Return the ids of parameters that are no hidden matrix: embeddings, and what logits are computed with.

    A matrix is what it is used for. How many rows it has says nothing: a feed-forward layer may have as many as there
    are tokens.
    """
    roles = "|".join(
        re.escape(slot.name).replace(r"\*", r"\d+") for slot in slots if any(part.role in OUTER for part in slot.parts)
    )
    found = {id(part.weight) for part in module.modules() if isinstance(part, nn.Embedding)}
    if roles:
        found |= {id(each) for name, each in module.named_parameters() if re.fullmatch(roles, name)}
    return found | _projecting(module)


def _projecting(module: nn.Module) -> set[int]:
    """Return the ids of the parameters that `project` of a decoder uses, as its gradient shows."""
    if not isinstance(module, Decoder):
        return set()
    decoder: Any = module
    device = next(module.parameters()).device
    wanted = [each for each in module.parameters() if each.requires_grad]
    training = module.training
    module.eval()
    try:
        with torch.no_grad():
            states = decoder.hidden(torch.zeros(1, 1, dtype=torch.int64, device=device))
        with torch.enable_grad():
            logits = decoder.project(states)
            if not logits.requires_grad:
                return set()
            found = torch.autograd.grad(logits.float().sum(), wanted, allow_unused=True)
    finally:
        module.train(training)
    return {id(each) for each, gradient in zip(wanted, found, strict=True) if gradient is not None}


def orthogonal(matrix: Tensor) -> Tensor:
    """Return about the nearest semi-orthogonal matrix, by Newton-Schulz in bf16 as `torch.optim.Muon` does it."""
    wide = matrix.bfloat16()
    tall = len(wide) > wide.shape[1]
    wide = wide.T if tall else wide
    wide = wide / wide.norm().clamp(min=1e-7)
    for _ in range(_ITERATIONS):
        gram = wide @ wide.T
        wide = torch.addmm(wide, torch.addmm(gram, gram, gram, beta=_B, alpha=_C), wide, beta=_A)
    return wide.T if tall else wide


class PartedMuon(torch.optim.Optimizer):
    """Muon with Nesterov momentum, decoupled weight decay and updates of AdamW's size, part by part.

    A matrix of one part is updated as by `torch.optim.Muon(adjust_lr_fn="match_rms_adamw")`. One of several parts is
    updated as if each were a matrix of its own, its size included. State: `momentum_buffer` of each matrix.
    """

    def __init__(
        self,
        matrices: Sequence[nn.Parameter],
        parts: Mapping[int, Cut],
        *,
        lr: float,
        weight_decay: float,
        momentum: float,
    ) -> None:
        """Optimise `matrices`. parts: by the id of a matrix, where its parts lie."""
        super().__init__(matrices, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})
        self._parts = {each: parts[id(each)] for each in matrices if id(each) in parts}

    @torch.no_grad()
    def step(self, closure: object = None) -> None:  # type: ignore[override]
        """Update every matrix that has a gradient."""
        for group in self.param_groups:
            lr, momentum = group["lr"], group["momentum"]
            for matrix in group["params"]:
                if matrix.grad is None:
                    continue
                kept = self.state[matrix]
                if "momentum_buffer" not in kept:
                    kept["momentum_buffer"] = torch.zeros_like(matrix.grad)
                buffer = kept["momentum_buffer"].lerp_(matrix.grad, 1 - momentum)
                direction = matrix.grad.lerp(buffer, momentum)
                matrix.mul_(1 - lr * group["weight_decay"])
                if (cut := self._parts.get(matrix)) is None:
                    matrix.add_(orthogonal(direction), alpha=-lr * _size(direction))
                    continue
                for places in cut.parts:
                    there = places.to(matrix.device)
                    part = direction.index_select(cut.axis, there)
                    matrix.index_add_(cut.axis, there, orthogonal(part).to(matrix.dtype), alpha=-lr * _size(part))


def _size(matrix: Tensor) -> float:
    return _RMS * math.sqrt(max(matrix.shape))

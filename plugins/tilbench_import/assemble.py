"""Our weights put together from theirs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

from tilbench.errors import CheckpointError
from tilbench.kinds.weight_layout import Slot, WeightSlice
from tilbench_import.match import Match
from tilbench_import.templates import Template
from tilbench_import.words import Guess

__all__ = ["assemble"]


def assemble(slots: Sequence[Slot], found: Match, weights: Mapping[str, Tensor], layers: int) -> dict[str, Tensor]:
    """Return our state dict. Raises CheckpointError for a copy of a tied weight that differs from it."""
    source = _Source(slots, found, weights)
    state = {
        slot.name.replace("*", str(layer)): _joined(slot, [source.part(part, slot, layer) for part in slot.parts])
        for slot in slots
        if not slot.copy
        for layer in range(layers if slot.layered else 1)
    }
    for slot in (slot for slot in slots if slot.copy):
        for part in slot.parts:
            if part.role in source.found and not torch.equal(source.part(part, slot, 0), state[slot.name]):
                theirs = source.found[part.role][0].name
                raise CheckpointError(
                    f"{theirs} is not the embedding, and the model has them tied; untie them with "
                    "--set architecture.config.tie_embeddings=false"
                )
    return state


class _Source:
    def __init__(self, slots: Sequence[Slot], found: Match, weights: Mapping[str, Tensor]) -> None:
        self.match = found
        self.weights = weights
        self.parts = {part.role: part for slot in slots for part in slot.parts}
        self.found: dict[str, tuple[Template, Guess]] = {
            f"{role}.bias" if template.bias else role: (template, guess)
            for template, guess, _ in found.found
            for role in guess.roles
        }

    def part(self, part: WeightSlice, slot: Slot, layer: int) -> Tensor:
        """Return the rows [rows, columns] of a part, in our order."""
        template, guess = self.found[part.role]
        tensors = [self.weights[name] for name in template.members[layer]]
        if slot.columns and slot.layered and self.match.transposed:
            tensors = [tensor.t() for tensor in tensors]
        whole = torch.cat(tensors) if len(tensors) > 1 else tensors[0]
        whole = whole.reshape(-1, slot.columns) if slot.columns else whole.reshape(-1)
        suffix = ".bias" if template.bias else ""
        rows = _rows(whole, [self.parts[f"{role}{suffix}"] for role in guess.roles], part, guess.by_head)
        return _half_apart(rows, part) if part.rotated and self.match.neighbours else rows


def _rows(whole: Tensor, parts: Sequence[WeightSlice], wanted: WeightSlice, by_head: bool) -> Tensor:
    """Return the rows of `wanted` out of those of `parts`."""
    groups = math.gcd(*(part.heads for part in parts)) if by_head else 1
    grouped: Tensor = whole.view(groups, -1, *whole.shape[1:])  # [groups, rows of a group, …]
    before = sum(part.rows // groups for part in parts[: parts.index(wanted)])
    return grouped[:, before : before + wanted.rows // groups].flatten(0, 1)


def _half_apart(rows: Tensor, part: WeightSlice) -> Tensor:
    """Return rows whose rotary pairs (2i, 2i + 1) are now (i, i + rotated / 2)."""
    heads = rows.reshape(part.heads, -1, *rows.shape[1:])
    kept, turned = heads[:, : -part.rotated], heads[:, -part.rotated :]
    return torch.cat((kept, turned[:, 0::2], turned[:, 1::2]), dim=1).flatten(0, 1)


def _joined(slot: Slot, parts: Sequence[Tensor]) -> Tensor:
    if len(parts) == 1:
        return parts[0].contiguous().clone()
    if not slot.by_head:
        return torch.cat(list(parts))
    split: Iterator[Tensor] = (
        rows.reshape(part.heads, -1, *rows.shape[1:]) for part, rows in zip(slot.parts, parts, strict=True)
    )
    return torch.cat(list(split), dim=1).flatten(0, 1)

"""Rotary angles that depend on how long the text of a forward pass is: `longrope` and `dynamic` of Transformers.

One pass has one set of angles, chosen by its longest row (`dynamic_rope_update` in `modeling_rope_utils` of
Transformers). So a text beyond the trained length gives the same numbers only where it is computed alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import nn

if TYPE_CHECKING:
    from transformers import PretrainedConfig

__all__ = ["Stretch", "restore", "stretch_of"]

_ORIGINAL = "original_inv_freq"


@dataclass(frozen=True, slots=True)
class Stretch:
    """Up to `limit` tokens all texts have the same angles. each: beyond, every length has angles of its own."""

    limit: int
    each: bool

    def regime(self, length: int) -> int:
        """Return a number that is equal for two lengths whose angles are equal."""
        return 0 if length <= self.limit else length if self.each else 1


def stretch_of(config: PretrainedConfig) -> Stretch | None:
    """Return where the angles of a model of this config begin to depend on the length; None where they never do."""
    inner = config.get_text_config()
    found = [each for rope in _ropes(getattr(inner, "rope_parameters", None)) if (each := _stretch(rope, inner))]
    return min(found, key=lambda each: each.limit, default=None)


def _ropes(parameters: Any) -> Iterator[Mapping[str, object]]:
    """Yield the rotary parameters of a config: one set for all layers, or one for each type of layer."""
    if not isinstance(parameters, Mapping):
        return
    if "rope_type" in parameters:
        yield parameters
    for each in parameters.values():
        yield from _ropes(each)


def _stretch(rope: Mapping[str, Any], config: PretrainedConfig) -> Stretch | None:
    if "dynamic" in str(rope["rope_type"]):
        return Stretch(int(config.max_position_embeddings), True)
    if rope["rope_type"] == "longrope" or "long_mscale" in rope:  # PhiMoE scales every type by the length
        return Stretch(int(rope["original_max_position_embeddings"]), False)
    return None


def restore(model: nn.Module) -> None:
    """Give rotary modules the angles of short texts again: `dynamic` keeps those of the longest text so far."""
    for module in model.modules():
        for name, angles in list(module.named_buffers(recurse=False)):
            if name.endswith(_ORIGINAL) and hasattr(module, "original_max_seq_len"):
                prefix = name.removesuffix(_ORIGINAL)
                module.register_buffer(f"{prefix}inv_freq", angles.clone(), persistent=False)
                setattr(module, f"{prefix}max_seq_len_cached", module.original_max_seq_len)

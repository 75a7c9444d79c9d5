"""Parts of the architecture checks: tiny configs, inputs, weights worth comparing, comparisons."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import pydantic
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from tilbench.errors import ConfigError, TilbenchError
from tilbench.kinds.architecture import Architecture, DecoderConfig
from tilbench.kinds.capabilities.architecture import HasExample
from tilbench.testing.base import require

__all__ = ["Lookups", "delta", "example_config", "lively", "require_equal", "token_ids", "variations"]

_COMMON: Mapping[str, object] = {
    "vocab_size": 61,
    "max_length": 24,
    "hidden_size": 32,
    "num_layers": 2,
    "num_heads": 4,
    "num_kv_heads": 2,
    "intermediate_size": 48,
    "q_lora_rank": 16,
    "kv_lora_rank": 12,
    "qk_rope_head_dim": 4,
    "qk_nope_head_dim": 8,
    "v_head_dim": 8,
}
"""Sizes of a tiny decoder, by the names that configs commonly use."""


def example_config(
    architecture: Architecture, config: DecoderConfig | Mapping[str, object] | None = None
) -> DecoderConfig:
    """Return a tiny config: `config`'s fields over the architecture's own `example`, else over common names.

    Raises ConfigError that says which fields to give where they do not make a config.
    """
    if config is not None and not isinstance(config, Mapping):
        return config
    if isinstance(architecture, HasExample):
        example = architecture.example
    else:
        known = architecture.Config.model_fields
        example = {name: size for name, size in _COMMON.items() if name in known}
    try:
        made: DecoderConfig = architecture.Config(**{**example, **(config or {})})
    except pydantic.ValidationError as error:
        fault = error.errors()[0]
        field = ".".join(map(str, fault["loc"])) or "config"
        name = type(architecture).__name__
        if field in (config or {}):
            raise ConfigError(f"config.{field} of {name}: {fault['msg']}") from None
        raise ConfigError(
            f"no tiny config for {name}: {field}: {fault['msg']}; give it with --set config.{field}=…, or give "
            "the class an `example: ClassVar[dict]` of its fields"
        ) from None
    return made


def variations(architecture: Architecture, config: DecoderConfig) -> Iterator[tuple[str, object]]:
    """Yield configs in which one size is doubled or one switch is turned, where the config allows it."""
    yield "the config as given", config
    for name in architecture.Config.model_fields:
        value = getattr(config, name)
        if isinstance(value, bool):
            changed: int = not value
        elif isinstance(value, int):
            changed = 2 * value
        else:
            continue
        try:
            yield f"{name}={changed}", architecture.Config(**{**config.model_dump(), name: changed})
        except (pydantic.ValidationError, TilbenchError):
            continue


def token_ids(config: DecoderConfig, rows: int = 2, length: int = 12, seed: int = 1) -> Tensor:
    """Return random ids [rows, length], not longer than the model's `max_length`."""
    random = torch.Generator().manual_seed(seed)
    return torch.randint(config.vocab_size, (rows, min(length, config.max_length)), generator=random)


@torch.no_grad()
def lively(module: nn.Module, seed: int = 2) -> nn.Module:
    """Return `module` in eval mode with weights far from their first values, so that every part of it matters.

    A fresh decoder's attention is nearly uniform, its biases are 0 and its norms 1: many a fault is invisible.
    """
    random = torch.Generator().manual_seed(seed)
    for parameter in module.parameters():
        if not parameter.is_floating_point():
            continue
        noise = torch.randn(parameter.shape, generator=random).to(parameter)
        if parameter.ndim < 2:
            parameter.add_(0.1 * noise)
            continue
        wanted = 1 / math.sqrt(parameter.shape[-1])
        spread = float(parameter.float().pow(2).mean().sqrt())
        if spread == 0:
            parameter.copy_(wanted * noise)
        elif spread < wanted:
            parameter.mul_(wanted / spread)
    return module.eval()


def delta(found: Tensor, wanted: Tensor) -> float:
    """Return the largest difference, as a share of the largest wanted value where that is more than 1."""
    require(found.shape == wanted.shape, f"shape {list(found.shape)} instead of {list(wanted.shape)}")
    if not wanted.numel():
        return 0.0
    found, wanted = found.detach(), wanted.detach()
    difference = float((found.double() - wanted.double()).abs().max())
    return difference / max(1.0, float(wanted.abs().max()))


def require_equal(found: Tensor, wanted: Tensor, tolerance: float, what: str) -> None:
    """Fail the check where two tensors differ by more than `tolerance` (see `delta`)."""
    difference = delta(found, wanted)
    require(difference <= tolerance, f"{what}: they differ by {difference:.2g}, more than {tolerance:.0e}")


class Lookups(TorchFunctionMode):
    """Collects the tensors [B, T, D] that are looked up for `ids`, by whatever means, with their gradients."""

    def __init__(self, ids: Tensor) -> None:
        super().__init__()
        self.ids = ids
        self.found: list[Tensor] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> object:
        result = func(*args, **(kwargs or {}))
        if isinstance(result, Tensor) and result.requires_grad and result.shape[:-1] == self.ids.shape:
            given = [value for value in (*args, *(kwargs or {}).values()) if isinstance(value, Tensor)]
            if any(not value.is_floating_point() and torch.equal(value, self.ids) for value in given):
                result.retain_grad()
                self.found.append(result)
        return result

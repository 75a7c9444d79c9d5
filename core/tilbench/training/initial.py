"""The module that a training begins with: fresh, or with the weights of an earlier checkpoint or a published model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tilbench.checkpoints.folder import find_checkpoint, model_folder
from tilbench.config.model import ModelSpec
from tilbench.errors import CheckpointError, ConfigError, Unsupported
from tilbench.kinds.architecture import Architecture, DecoderConfig
from tilbench.kinds.capabilities.architecture import Adaptable, StartsElsewhere
from tilbench.kinds.tokenizer import Tokenizer
from tilbench.kinds.trainer import Start
from tilbench.registry import Registry
from tilbench.resolve.checkpoint import Checkpoint

if TYPE_CHECKING:
    from torch import nn

__all__ = ["base_checkpoint", "base_origin", "base_tokenizer", "initial_module", "model_size", "with_adapter"]


def base_checkpoint(spec: ModelSpec, registry: Registry) -> Checkpoint | None:
    """Return the checkpoint of ours that `base` names (`FOLDER` or `FOLDER@STEP`), if it names one."""
    found = model_folder(spec.base)
    return Checkpoint.open(find_checkpoint(*found), registry) if found else None


def base_tokenizer(spec: ModelSpec, registry: Registry) -> Tokenizer | None:
    """Return the tokenizer that comes with the base; None where there is no base, or the spec names a tokenizer.

    Raises CheckpointError or ConfigError for one of another family than the spec's.
    """
    if base := base_checkpoint(spec, registry):
        family = base.info.tokenizer
        if family != spec.tokenizer.family:
            raise CheckpointError(
                f"{spec.base}: its tokenizer is of family {family}, the spec's {spec.tokenizer.family}"
            )
        return base.tokenizer
    if spec.base and not spec.tokenizer.reference:
        own = registry.tokenizers.get(spec.tokenizer.family)
        if not own.recognises(spec.base):
            raise ConfigError(
                f"{spec.base} is no tokenizer of family {spec.tokenizer.family}, and weights need the one they were "
                "trained with; name it with tokenizer.family and tokenizer.reference"
            )
        loaded: Tokenizer = own.load(spec.base)
        return loaded
    return None


def base_origin(spec: ModelSpec, architecture: Architecture, registry: Registry) -> Start | None:
    """Return what the base says of itself, without reading weights; None where there is no base.

    Raises CheckpointError where it is of another architecture, Unsupported where nothing can start from it.
    """
    if not spec.base:
        return None
    if base := base_checkpoint(spec, registry):
        if (own := base.info.architecture.name) != spec.architecture.name:
            raise CheckpointError(f"{spec.base} is of architecture {own}, and the spec has {spec.architecture.name}")
        return base.start(spec.base)
    return _starting(spec, architecture).origin(spec.base)


def _starting(spec: ModelSpec, architecture: Architecture) -> StartsElsewhere:
    if not isinstance(architecture, StartsElsewhere):
        raise Unsupported(
            f"architecture {spec.architecture.name!r} starts from a checkpoint of ours only, and {spec.base!r} is "
            "none; name a run's folder as base"
        )
    return architecture


def model_size(origin: Start | None, architecture: Architecture, config: DecoderConfig) -> int:
    """Return how many parameters a training begins with. origin: what `base_origin` returned.

    A spec with a published base may leave out its sizes; those of its config are then a class's defaults.
    """
    return (origin.parameters if origin else 0) or architecture.parameters(config)


def initial_module(
    spec: ModelSpec, architecture: Architecture, config: DecoderConfig, origin: Start | None, registry: Registry
) -> nn.Module:
    """Return the module that training begins with, its adapter not yet on it. origin: what `base_origin` returned.

    Raises CheckpointError where `base` is another model, Unsupported where it cannot be started from.
    """
    import torch

    if origin is None:
        return architecture.build(config)
    if base := base_checkpoint(spec, registry):
        return architecture.load(config, base.folder, dtype=torch.float32)
    adapter, precision = (spec.recipe.adapter, spec.recipe.precision) if spec.recipe else (None, "fp32")
    # What is trained stays in fp32; frozen weights are held in what they are computed with.
    dtype = torch.bfloat16 if adapter is not None and precision == "bf16" else torch.float32
    quantization = adapter.quantization if adapter is not None else "none"
    return _starting(spec, architecture).start(config, spec.base, dtype=dtype, quantization=quantization)


def with_adapter(spec: ModelSpec, architecture: Architecture, module: nn.Module) -> nn.Module:
    """Return the module with the recipe's adapter, if any. Raises Unsupported for an architecture that has none."""
    if spec.recipe is None or spec.recipe.adapter is None:
        return module
    if not isinstance(architecture, Adaptable):
        raise Unsupported(f"architecture {spec.architecture.name!r} takes no adapter; remove recipe.adapter")
    return architecture.adapt(module, spec.recipe.adapter)

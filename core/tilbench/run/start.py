"""The module that a training begins with: fresh, or with the weights of an earlier checkpoint or a published model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from tilbench.checkpoints.folder import checkpoint_fingerprint, find_checkpoint, is_checkpoint, is_run, read_info
from tilbench.config.model import ModelSpec
from tilbench.errors import CheckpointError, Unsupported
from tilbench.kinds.tokenizer import Tokenizer
from tilbench.kinds.trainer import Start
from tilbench.registry import Registry

if TYPE_CHECKING:
    from torch import nn

__all__ = ["adapted", "base_checkpoint", "base_tokenizer", "started"]


def base_checkpoint(spec: ModelSpec) -> Path | None:
    """Return the folder of the checkpoint of ours that `base` names (`FOLDER` or `FOLDER@STEP`), if it names one."""
    name, at, step = spec.base.rpartition("@")
    for reference, number in ((spec.base, None), (name, int(step))) if at and step.isdecimal() else ((spec.base, None),):
        folder = Path(reference).expanduser()
        if reference and (is_run(folder) or is_checkpoint(folder)):
            return find_checkpoint(folder, number)
    return None


def base_tokenizer(spec: ModelSpec, registry: Registry) -> Tokenizer | None:
    """Return the tokenizer that comes with the base, or None. Raises CheckpointError for one of another family."""
    if folder := base_checkpoint(spec):
        family = read_info(folder).tokenizer
        if family != spec.tokenizer.family:
            raise CheckpointError(f"{spec.base}: its tokenizer is of family {family}, the spec's {spec.tokenizer.family}")
        tokenizer: Tokenizer = registry.get("tokenizers", family).load(str(folder))
        return tokenizer
    if spec.base and not spec.tokenizer.reference:
        family = registry.get("tokenizers", spec.tokenizer.family)
        return family.load(spec.base) if family.recognises(spec.base) else None
    return None


def started(spec: ModelSpec, architecture: Any, config: Any) -> tuple[nn.Module, Start | None]:
    """Return the module that training begins with, its adapter not yet on it, and where its weights are from.

    Raises CheckpointError where `base` is of another architecture, Unsupported where it cannot be started from.
    """
    import torch

    if not spec.base:
        return architecture.build(config), None
    if folder := base_checkpoint(spec):
        info = read_info(folder)
        if info.architecture.name != spec.architecture.name:
            raise CheckpointError(
                f"{spec.base} is of the architecture {info.architecture.name}, and the spec has {spec.architecture.name}"
            )
        lineage = (*info.lineage, checkpoint_fingerprint(folder))
        return architecture.load(config, folder, dtype=torch.float32), Start(spec.base, info.prefix, lineage)
    if not hasattr(architecture, "start"):
        raise Unsupported(
            f"architecture {spec.architecture.name!r} starts from a checkpoint of ours only, and {spec.base!r} is none; "
            "name a run's folder as base"
        )
    adapter = spec.recipe.adapter if spec.recipe else None
    frozen = adapter is not None and spec.recipe is not None and spec.recipe.precision == "bf16"
    module, start = architecture.start(
        config,
        spec.base,
        dtype=torch.bfloat16 if frozen else torch.float32,
        quantization=adapter.quantization if adapter else "none",
    )
    return module, start


def adapted(spec: ModelSpec, architecture: Any, module: nn.Module) -> nn.Module:
    """Return the module with the recipe's adapter, if it has one. Raises Unsupported where the architecture has none."""
    if spec.recipe is None or spec.recipe.adapter is None:
        return module
    if not hasattr(architecture, "adapt"):
        raise Unsupported(f"architecture {spec.architecture.name!r} takes no adapter; remove recipe.adapter")
    wrapped: nn.Module = architecture.adapt(module, spec.recipe.adapter)
    return wrapped

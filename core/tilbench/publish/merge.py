"""Merging: a checkpoint with an adapter → one with whole weights that needs none."""

from __future__ import annotations

import shutil
from pathlib import Path

from tilbench.checkpoints.folder import changed_base, checkpoint_fingerprint, find_checkpoint, read_info, write_info
from tilbench.checkpoints.generation import GENERATION
from tilbench.config.model import DType
from tilbench.config.references import split_folder
from tilbench.errors import CheckpointError, Unsupported
from tilbench.paths import atomic_folder
from tilbench.registry import Registry
from tilbench.resolve.specs import checkpoint_architecture

__all__ = ["merge"]


def merge(reference: str, out: Path, registry: Registry, *, dtype: DType = "float32") -> Path:
    """Write the checkpoint `reference` (`FOLDER` or `FOLDER@STEP`) with its adapter merged into `out`; return `out`.

    dtype: of the merged weights; a base in 4 bits is converted to it before the adapter is added.
    Raises CheckpointError for a folder that is no checkpoint, an `out` that exists, or a base whose weights are not
    those that the adapter was trained on; Unsupported where there is no adapter to merge.
    """
    import torch

    from tilbench.checkpoints.stored import stored_parameters

    folder = find_checkpoint(*split_folder(reference))
    if out.exists():
        raise CheckpointError(f"{out} exists; name a folder that does not")
    info = read_info(folder)
    architecture, config = checkpoint_architecture(info, folder, registry)
    if why := changed_base(folder):
        raise CheckpointError(why)
    if not hasattr(architecture, "merge"):
        raise Unsupported(f"architecture {info.architecture.name!r} cannot merge an adapter")
    tokenizer = registry.tokenizers.get(info.tokenizer).load(str(folder))
    with atomic_folder(out) as aside:
        architecture.merge(config, folder, aside, dtype=getattr(torch, dtype))
        tokenizer.save(aside)
        if (folder / GENERATION).is_file():  # of the adapter itself; `merge` has written what the base says
            shutil.copyfile(folder / GENERATION, aside / GENERATION)
        lineage = (*info.lineage, checkpoint_fingerprint(folder))
        count = stored_parameters(aside)  # of a base whose sizes the spec leaves out, the config does not say
        write_info(aside, info.model_copy(update={"lineage": lineage, "parameters": count, "base_weights": ""}))
    return out

"""Merging: a checkpoint with an adapter → one with whole weights that needs none."""

from __future__ import annotations

import shutil
from pathlib import Path

from tilbench.checkpoints.folder import write_info
from tilbench.checkpoints.generation import GENERATION, write_sampling
from tilbench.config.model import DType
from tilbench.paths import atomic_folder, refuse_existing
from tilbench.registry import Registry
from tilbench.resolve.checkpoint import Checkpoint

__all__ = ["merge"]


def merge(reference: str, out: Path, registry: Registry, *, dtype: DType = "float32") -> Path:
    """Write the checkpoint `reference` (`FOLDER` or `FOLDER@STEP`) with its adapter merged into `out`; return `out`.

    dtype: of the merged weights; a base in 4 bits is converted to it before the adapter is added.
    Raises CheckpointError for a folder that is no checkpoint, or a base whose weights are not those that the adapter
    was trained on, DataError for an `out` that exists, Unsupported where there is no adapter to merge.
    """
    from tilbench.checkpoints.stored import stored_parameters

    checkpoint = Checkpoint.find(reference, registry)
    refuse_existing(out)
    tokenizer = checkpoint.tokenizer
    with atomic_folder(out) as aside:
        checkpoint.merge(aside, dtype)
        tokenizer.save(aside)
        own = checkpoint.folder / GENERATION
        spec = checkpoint.run_spec
        if own.is_file():  # of the adapter itself; `merge` has written what the base says
            shutil.copyfile(own, aside / GENERATION)
        elif spec is not None and spec.generation is not None:
            write_sampling(aside, spec.generation)
        count = stored_parameters(aside)  # of a base whose sizes the spec leaves out, the config does not say
        merged = {"lineage": checkpoint.lineage, "parameters": count, "base_weights": ""}
        write_info(aside, checkpoint.info.model_copy(update=merged))
    return out

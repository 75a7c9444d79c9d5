"""Exporting: a checkpoint → a folder in a format that other tools read."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tilbench.checkpoints.folder import RUN, CheckpointInfo, changed_base, find_checkpoint, read_info
from tilbench.config.model import DType
from tilbench.config.references import split_folder
from tilbench.errors import CheckpointError, Unsupported
from tilbench.kinds.exporter import ExportJob
from tilbench.paths import atomic_folder
from tilbench.registry import Registry
from tilbench.resolve.specs import checkpoint_architecture, run_spec

__all__ = ["export", "export_job"]


def export(
    reference: str, to: str, out: Path, registry: Registry, *, dtype: DType = "float32", allow_code: bool = False
) -> Mapping[str, Any]:
    """Write the checkpoint `reference` (`FOLDER` or `FOLDER@STEP`) into `out` in the format of the exporter `to`.

    Returns what the exporter tells. Raises UnknownName for a format nobody registered, CheckpointError for a folder
    that is no checkpoint or an `out` that exists, and what the exporter raises.
    """
    exporter = registry.exporters.get(to)
    if out.exists() or out.is_symlink():
        raise CheckpointError(f"{out} exists; name a folder that does not")
    with export_job(reference, registry, dtype=dtype, allow_code=allow_code) as job:
        with atomic_folder(out) as aside:
            told: Mapping[str, Any] = exporter.export(job, aside)
        return told


@contextlib.contextmanager
def export_job(
    reference: str, registry: Registry, *, dtype: DType = "float32", allow_code: bool = False
) -> Iterator[ExportJob]:
    """Resolve the checkpoint `reference`; an adapter is merged in fp32 into a folder that is gone afterwards."""
    folder = find_checkpoint(*split_folder(reference))
    info = read_info(folder)
    architecture, config = checkpoint_architecture(info, folder, registry)
    tokenizer = registry.tokenizers.get(info.tokenizer).load(str(folder))
    spec = run_spec(folder.parent) if (folder.parent / RUN).is_file() else None
    chat = spec.recipe.chat if spec and spec.recipe else None  # of a run whose checkpoints did not say it yet
    with _merged(architecture, config, info, folder) as whole:
        yield ExportJob(
            folder=whole,
            info=info.model_copy(update={"parameters": architecture.parameters(config)}),
            architecture=architecture,
            config=config,
            tokenizer=tokenizer,
            generation=spec.generation if spec else None,
            chat=info.chat or (chat.template if chat else ""),
            dtype=dtype,
            allow_code=allow_code,
        )


@contextlib.contextmanager
def _merged(architecture: Any, config: Any, info: CheckpointInfo, folder: Path) -> Iterator[Path]:
    """Give the checkpoint's folder, or that of its weights with the adapter added into them."""
    import torch

    from tilbench.checkpoints.adapters import ADAPTER

    if not (folder / ADAPTER).is_file():
        yield folder
        return
    if why := changed_base(folder):
        raise CheckpointError(why)
    if not hasattr(architecture, "merge"):
        raise Unsupported(f"{folder} has an adapter, which architecture {info.architecture.name!r} cannot merge")
    with tempfile.TemporaryDirectory() as name:
        architecture.merge(config, folder, Path(name), dtype=torch.float32)
        yield Path(name)

"""Exporting: a checkpoint → a folder in a format that other tools read."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from tilbench.config.model import DType
from tilbench.kinds.exporter import ExportJob
from tilbench.paths import atomic_folder, refuse_existing
from tilbench.registry import Registry
from tilbench.resolve.checkpoint import Checkpoint

__all__ = ["export", "export_job"]


def export(
    reference: str, to: str, out: Path, registry: Registry, *, dtype: DType = "float32", allow_code: bool = False
) -> Mapping[str, object]:
    """Write the checkpoint `reference` (`FOLDER` or `FOLDER@STEP`) into `out` in the format of the exporter `to`.

    Returns what the exporter tells. Raises UnknownName for a format nobody registered, CheckpointError for a folder
    that is no checkpoint, DataError for an `out` that exists, and what the exporter raises.
    """
    exporter = registry.exporters.get(to)
    refuse_existing(out)
    with export_job(reference, registry, dtype=dtype, allow_code=allow_code) as job:
        with atomic_folder(out) as aside:
            told: Mapping[str, object] = exporter.export(job, aside)
        return told


@contextlib.contextmanager
def export_job(
    reference: str, registry: Registry, *, dtype: DType = "float32", allow_code: bool = False
) -> Iterator[ExportJob]:
    """Resolve the checkpoint `reference`; an adapter is merged in fp32 into a folder that is gone afterwards."""
    checkpoint = Checkpoint.find(reference, registry)
    config, spec = checkpoint.config, checkpoint.run_spec
    with _merged(checkpoint) as whole:
        yield ExportJob(
            folder=whole,
            info=checkpoint.info.model_copy(update={"parameters": checkpoint.architecture.parameters(config)}),
            architecture=checkpoint.architecture,
            config=config,
            tokenizer=checkpoint.tokenizer,
            generation=spec.generation if spec else None,
            chat=checkpoint.chat,
            dtype=dtype,
            allow_code=allow_code,
        )


@contextlib.contextmanager
def _merged(checkpoint: Checkpoint) -> Iterator[Path]:
    """Give the checkpoint's folder; for one with an adapter, a folder of the merged weights."""
    from tilbench.checkpoints.adapters import ADAPTER

    if not (checkpoint.folder / ADAPTER).is_file():
        yield checkpoint.folder
        return
    with tempfile.TemporaryDirectory() as name:
        checkpoint.merge(Path(name), "float32")
        yield Path(name)

"""What every format needs: the decoder in the dtype that was asked for, and what is said of it."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from torch import nn

from tilbench.config.model import DType
from tilbench.errors import CheckpointError
from tilbench.kinds.exporter import ExportJob

__all__ = ["check_range", "loaded", "write_json", "write_metadata"]


def loaded(job: ExportJob) -> nn.Module:
    """Return the decoder of the job on the CPU, in evaluation mode, its weights in the job's dtype.

    Raises CheckpointError for a weight that is not finite there.
    """
    module: nn.Module = job.architecture.load(job.config, job.folder, dtype=torch.float32)
    check_range(module, job.dtype)
    return module.to(getattr(torch, job.dtype)).eval()


def check_range(module: nn.Module, name: DType) -> None:
    """Raise CheckpointError where a weight is not finite, or would not be in the dtype `name`."""
    dtype = getattr(torch, name)
    for weight, parameter in module.named_parameters():
        largest = float(parameter.detach().abs().max()) if parameter.numel() else 0.0
        if not torch.isfinite(torch.tensor(largest)):
            raise CheckpointError(f"weight {weight} holds numbers that are not finite; export another step")
        if not torch.isfinite(torch.tensor(largest).to(dtype)):
            raise CheckpointError(
                f"weight {weight} holds {largest:g}, and {name} ends at {torch.finfo(dtype).max:g}; "
                "export with --dtype bfloat16 or float32"
            )


def write_metadata(job: ExportJob, out: Path, **more: object) -> None:
    """Write metadata.json: what tilbench.json says, and the dtype."""
    write_json(out / "metadata.json", {**job.info.model_dump(mode="json"), "dtype": job.dtype, **more})


def write_json(path: Path, data: object) -> None:
    """Write JSON for people and programs."""
    path.write_text(json.dumps(data, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")

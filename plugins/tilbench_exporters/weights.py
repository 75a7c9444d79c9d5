"""What every format needs: the decoder in the precision that was asked for, and what is said of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tilbench.errors import CheckpointError
from tilbench.kinds.exporter import ExportJob

__all__ = ["DTYPES", "check_range", "loaded", "write_json", "write_metadata"]

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def loaded(job: ExportJob) -> nn.Module:
    """Return the decoder of the job on the CPU, in evaluation mode, its weights in the job's precision.

    Raises CheckpointError for a weight that is not finite there.
    """
    module: nn.Module = job.architecture.load(job.config, job.folder, dtype=torch.float32)
    check_range(module, job.precision)
    return module.to(DTYPES[job.precision]).eval()


def check_range(module: nn.Module, precision: str) -> None:
    """Raise CheckpointError where a weight is not finite, or would not be in `precision`."""
    dtype = DTYPES[precision]
    for name, parameter in module.named_parameters():
        largest = float(parameter.detach().abs().max()) if parameter.numel() else 0.0
        if not torch.isfinite(torch.tensor(largest)):
            raise CheckpointError(f"weight {name} holds numbers that are not finite; export another step")
        if not torch.isfinite(torch.tensor(largest).to(dtype)):
            raise CheckpointError(
                f"weight {name} holds {largest:g}, and {precision} ends at {torch.finfo(dtype).max:g}; "
                "export with --precision bf16 or fp32"
            )


def write_metadata(job: ExportJob, out: Path, **more: Any) -> None:
    """Write metadata.json: what tilbench.json says, and the precision."""
    write_json(out / "metadata.json", {**job.info.model_dump(mode="json"), "precision": job.precision, **more})


def write_json(path: Path, data: Any) -> None:
    """Write JSON for people and programs."""
    path.write_text(json.dumps(data, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")

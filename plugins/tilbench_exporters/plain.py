"""The weights alone, by the names that they have here."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from tilbench.checkpoints.weights import plain_names, save_weights
from tilbench.kinds.exporter import ExportJob
from tilbench_exporters.weights import loaded, write_metadata

__all__ = ["SafetensorsExporter", "TorchExporter"]


class SafetensorsExporter:
    """Writes `model.safetensors`, tied weights once, and `metadata.json`."""

    def export(self, job: ExportJob, out: Path) -> Mapping[str, Any]:
        """Write both files into `out`. Raises CheckpointError for weights that the dtype cannot hold."""
        save_weights(loaded(job), out / "model.safetensors")
        write_metadata(job, out)
        return {"files": ["model.safetensors", "metadata.json"]}


class TorchExporter:
    """Writes `model.pt`, which `torch.load(…, weights_only=True)` reads, and `metadata.json`."""

    def export(self, job: ExportJob, out: Path) -> Mapping[str, Any]:
        """Write both files into `out`. Raises CheckpointError for weights that the dtype cannot hold."""
        state = loaded(job).state_dict()
        names = plain_names(state)
        torch.save({names[name]: tensor for name, tensor in state.items()}, out / "model.pt")
        write_metadata(job, out)
        return {"files": ["model.pt", "metadata.json"]}

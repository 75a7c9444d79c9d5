"""An exporter writes a checkpoint in a format that other tools read."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol, runtime_checkable

__all__ = ["Exporter"]


@runtime_checkable
class Exporter(Protocol):
    """Writes one format."""

    def export(self, checkpoint: Path, target: Path) -> Path:
        """Write `checkpoint` to `target` and return what was written. Raises Unsupported, CheckpointError."""

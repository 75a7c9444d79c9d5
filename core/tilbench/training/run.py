"""A training run as Python sees it: its folder, its last checkpoint and its log."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tilbench.training.log import LOG, TrainingCurves, read_curves, read_lines

if TYPE_CHECKING:
    from pandas import DataFrame

__all__ = ["TrainedRun"]


@dataclass(frozen=True, slots=True)
class TrainedRun:
    """A run that was trained. It is a path to its folder, so every function that takes a model takes it.

    folder: of the run. checkpoint: folder of the last checkpoint in it.
    """

    folder: Path
    checkpoint: Path

    def __fspath__(self) -> str:
        return str(self.folder)

    @property
    def log(self) -> DataFrame:
        """The log, a row per step: `loss` in nats per token, `lr`, `grad_norm`, `tokens` seen so far.

        Nested fields have dots in their names, such as `timing.tokens_per_second` and `validation.NAME.bpb`.
        """
        import pandas

        lines = read_lines(self.folder / LOG)
        return pandas.json_normalize(list(lines)).groupby("step", as_index=False).first()

    @property
    def curves(self) -> TrainingCurves:
        """The log as curves over steps."""
        return read_curves(self.folder)

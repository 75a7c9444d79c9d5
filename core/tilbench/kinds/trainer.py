"""A trainer fits a built module to a stream of text by a recipe."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from tilbench.data.rows import Document
from tilbench.kinds.hardware import HardwareProfile
from tilbench.kinds.tokenizer import Tokenizer

if TYPE_CHECKING:
    from torch import nn

    from tilbench.config.model import ModelSpec

__all__ = ["Source", "Trainer", "TrainingJob"]


@dataclass(frozen=True, slots=True)
class Source:
    """One part of the data mix: documents for training and for validation, and its weight."""

    name: str
    weight: float
    train: Sequence[Document]
    validation: Sequence[Document] = ()
    fingerprint: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingJob:
    """Everything a trainer needs, resolved: nothing in it is a name any more.

    architecture: the registered object that built `module` and saves it. out: the run's folder.
    """

    spec: ModelSpec
    architecture: Any
    module: nn.Module
    tokenizer: Tokenizer
    sources: Sequence[Source]
    hardware: HardwareProfile
    out: Path
    reference: str = ""
    progress: bool = True


@runtime_checkable
class Trainer(Protocol):
    """Runs a recipe."""

    def fit(self, job: TrainingJob) -> Path:
        """Train, or go on from the last checkpoint in `job.out`; return the last checkpoint's folder.

        Raises TilbenchError where the loss is not finite or the recipe cannot be run.
        """

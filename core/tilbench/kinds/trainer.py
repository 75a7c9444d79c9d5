"""A trainer fits a built module to a stream of text by a recipe."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from tilbench.data.rows import Conversation, Document
from tilbench.kinds.architecture import Architecture
from tilbench.kinds.hardware import HardwareProfile
from tilbench.kinds.language_model import LanguageModel
from tilbench.kinds.tokenizer import Tokenizer
from tilbench.progress import Progress
from tilbench.ranks import ALONE, Ranks

if TYPE_CHECKING:
    from torch import nn

    from tilbench.config.model import ModelSpec

__all__ = ["Evaluation", "Source", "Start", "Stopped", "Trainer", "TrainingJob"]


class Stopped(KeyboardInterrupt):
    """A training that was told to stop, and has saved the step that it was at; says how to go on."""


@dataclass(frozen=True, slots=True)
class Source:
    """One part of the data mix: documents or conversations for training and for validation, and its weight.

    fingerprint: digest of the training rows; empty where nobody has taken it. min_tokens: shorter documents are left
    out. dropped: what was taken out of the dataset before, and how many rows of it, for people.
    """

    name: str
    weight: float
    train: Sequence[Document] | Sequence[Conversation]
    validation: Sequence[Document] | Sequence[Conversation] = ()
    fingerprint: str = ""
    min_tokens: int = 0
    dropped: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Start:
    """The checkpoint whose weights a training starts from.

    reference: how it was named. prefix: id that its documents begin with, or None. contexts: whether that stands before
    contexts and conversations too. What is trained from it keeps both. lineage: fingerprints of it and of what it came
    from, the oldest first. resume: its folder, where its optimizer, step and so its place in the data are gone on with
    too. parameters: how many it has, or 0 where that is not known.
    """

    reference: str
    prefix: int | None
    contexts: bool
    lineage: tuple[str, ...]
    resume: Path | None = None
    parameters: int = 0


class Evaluation(Protocol):
    """The suite that the recipe's `evaluate` names, planned."""

    def __call__(
        self, model: LanguageModel, checkpoint: Path, records: Path, progress: Progress
    ) -> Mapping[str, Mapping[str, float | None]]:
        """Score `model` on it, keep the records in folder `records`, and return the values by task and name.

        A value that no JSON number can stand for is None. checkpoint: a folder with the model's files, which decide
        what records know it by. progress: told the model's name, the requests answered and those in all.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingJob:
    """Everything a trainer needs, resolved: nothing in it is a name any more.

    architecture: the registered object that built the module and saves it. build: returns the module, the same one
    each time. out: the run's folder. start: what the module's weights are from; None where they are fresh. ranks: the
    processes that share it.
    """

    spec: ModelSpec
    architecture: Architecture
    build: Callable[[], nn.Module]
    tokenizer: Tokenizer
    sources: Sequence[Source]
    hardware: HardwareProfile
    out: Path
    reference: str = ""
    progress: bool = True
    evaluation: Evaluation | None = None
    start: Start | None = None
    ranks: Ranks = ALONE

    @property
    def module(self) -> nn.Module:
        """The module to train. It is built when it is first asked for: a run that is finished needs none."""
        return self.build()


@runtime_checkable
class Trainer(Protocol):
    """Runs a recipe. `tilbench.kinds.capabilities.trainer` has what a trainer may offer besides."""

    def fit(self, job: TrainingJob) -> Path:
        """Train, or go on from the last checkpoint in `job.out`; return the last checkpoint's folder.

        Raises TilbenchError where the loss is not finite or the recipe cannot be run, Stopped where it was interrupted
        and has saved its step.
        """

"""One of our own checkpoints, with every part that its files name: the one way in which they are opened."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import pydantic

from tilbench.checkpoints.folder import (
    RUN,
    CheckpointInfo,
    changed_base,
    checkpoint_fingerprint,
    find_checkpoint,
    read_info,
)
from tilbench.config.base import first_fault
from tilbench.config.model import DType, ModelSpec
from tilbench.config.references import split_folder
from tilbench.errors import CheckpointError, Unsupported
from tilbench.kinds.architecture import Architecture, DecoderConfig
from tilbench.kinds.capabilities.architecture import Mergeable
from tilbench.kinds.tokenizer import SpecialTokens, Tokenizer
from tilbench.kinds.trainer import Start
from tilbench.registry import Registry
from tilbench.resolve.specs import run_spec

__all__ = ["Checkpoint"]


class Checkpoint:
    """A checkpoint folder whose `tilbench.json` is read. The other parts are read when they are first asked for.

    folder: of the checkpoint. info: what `tilbench.json` says.
    """

    def __init__(self, folder: Path, info: CheckpointInfo, registry: Registry) -> None:
        self.folder = folder
        self.info = info
        self._registry = registry

    @classmethod
    def open(cls, folder: Path, registry: Registry) -> Checkpoint:
        """Open a checkpoint folder. Raises CheckpointError where its `tilbench.json` cannot be read."""
        return cls(folder, read_info(folder), registry)

    @classmethod
    def find(cls, reference: str, registry: Registry) -> Checkpoint:
        """Open what `FOLDER` or `FOLDER@STEP` names: a checkpoint, or the last or that one of a run.

        Raises CheckpointError where there is none.
        """
        return cls.open(find_checkpoint(*split_folder(reference)), registry)

    @cached_property
    def architecture(self) -> Architecture:
        """The registered architecture. Raises UnknownName for one that nobody registered."""
        return self._registry.architectures.get(self.info.architecture.name)

    @cached_property
    def config(self) -> DecoderConfig:
        """The architecture's validated config. Raises CheckpointError for sizes that the architecture does not have."""
        try:
            config: DecoderConfig = self.architecture.Config.model_validate(self.info.architecture.config)
            return config
        except pydantic.ValidationError as error:
            where = f"{self.folder}: architecture {self.info.architecture.name}"
            raise CheckpointError(f"{where}: {first_fault(error)}") from None

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer in the folder. Raises UnknownName for a family that nobody registered, CheckpointError."""
        tokenizer: Tokenizer = self._registry.tokenizers.get(self.info.tokenizer).load(str(self.folder))
        return tokenizer

    @property
    def special(self) -> SpecialTokens:
        """The special tokens as other tools take them: bos is the id that documents began with in training."""
        return self.tokenizer.special.begun_by(self.info.prefix)

    @cached_property
    def run_spec(self) -> ModelSpec | None:
        """The spec by which the run in the folder above was trained; None where the checkpoint lies in no run."""
        return run_spec(self.folder.parent) if (self.folder.parent / RUN).is_file() else None

    @property
    def chat(self) -> str:
        """Name of the chat template that it was tuned with, or ""."""
        recipe = self.run_spec.recipe if self.run_spec else None  # of a run whose checkpoints did not say it yet
        return self.info.chat or (recipe.chat.template if recipe and recipe.chat else "")

    @property
    def lineage(self) -> tuple[str, ...]:
        """What a model that starts from this checkpoint comes from: its own lineage, then its fingerprint."""
        return (*self.info.lineage, checkpoint_fingerprint(self.folder))

    def start(self, reference: str, *, resume: bool = False) -> Start:
        """Return what a training that starts here takes over. resume: the optimizer, the step and the position too."""
        info = self.info
        return Start(
            reference=reference,
            prefix=info.prefix,
            contexts=info.prefix_contexts,
            lineage=self.lineage,
            resume=self.folder if resume else None,
            parameters=info.parameters,
        )

    def merge(self, out: Path, dtype: DType) -> None:
        """Write the weights with the adapter merged into the empty folder `out`.

        Raises CheckpointError where the base has other weights than those that the adapter was trained on, Unsupported
        where the architecture cannot merge or there is no adapter.
        """
        import torch

        if why := changed_base(self.folder):
            raise CheckpointError(why)
        if not isinstance(self.architecture, Mergeable):
            raise Unsupported(f"{self.folder}: architecture {self.info.architecture.name!r} cannot merge an adapter")
        self.architecture.merge(self.config, self.folder, out, dtype=getattr(torch, dtype))

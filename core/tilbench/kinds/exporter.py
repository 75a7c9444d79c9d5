"""Exporters: a checkpoint → files in a format that other tools read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from tilbench.config.decoding import Decoding
from tilbench.config.model import DType
from tilbench.kinds.architecture import Architecture, DecoderConfig
from tilbench.kinds.tokenizer import Tokenizer

__all__ = ["ExportJob", "Exporter"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportJob:
    """Everything an exporter needs, resolved: nothing in it is a name any more.

    folder: the checkpoint, its adapter (if it had one) added into its weights already. info: what its `tilbench.json`
    says (`tilbench.checkpoints.folder.CheckpointInfo`). architecture: the registered object that loads it, by the
    validated `config`. generation: decoding settings that the model's spec recommends, if any. chat: name of the chat
    template that it was tuned with, if any. dtype: of the written weights. allow_code: Python may be written beside
    them.

    An architecture or tokenizer that Transformers can run says so (`tilbench.kinds.capabilities`).
    """

    folder: Path
    info: Any
    architecture: Architecture
    config: DecoderConfig
    tokenizer: Tokenizer
    generation: Decoding | None = None
    chat: str = ""
    dtype: DType = "float32"
    allow_code: bool = False


@runtime_checkable
class Exporter(Protocol):
    """Writes one format."""

    def export(self, job: ExportJob, out: Path) -> Mapping[str, object]:
        """Write the checkpoint into `out`, an empty folder, and return what is worth telling, as plain data.

        Raises Unsupported for an architecture, tokenizer or dtype that the format cannot hold, CheckpointError
        for weights that do not fit the dtype, and where what was written does not compute what the checkpoint
        does.
        """

"""Whatever can answer requests: a decoder, a Hub model, an n-gram table, xz. And how one is opened."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, Protocol, runtime_checkable

from pydantic import ConfigDict, Field

from tilbench.config.base import RECORDED
from tilbench.config.decoding import Decoding
from tilbench.config.model import DType
from tilbench.kinds.requests import Answer, Request, RequestKind
from tilbench.kinds.tokenizer import Tokenizer

__all__ = ["LanguageModel", "Loader", "ModelCard", "OpenOptions", "Published", "WritingDefaults"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCard:
    """What a record says of a model; known before any weight is loaded.

    name: how people call it. fingerprint: digest of everything that decides its answers (weights, config,
    tokenizer, prefix policy, precision). prefix: the token a document starts with, as shown to people.
    lineage: fingerprints or names of what it was trained from. supports: the questions it can answer, which a record
    does not keep.
    """

    __pydantic_config__: ClassVar[ConfigDict] = RECORDED
    name: str
    fingerprint: str
    supports: Annotated[frozenset[RequestKind], Field(exclude=True)] = field(default=frozenset(), compare=False)
    parameters: int = 0
    step: int | None = None
    prefix: str = ""
    tokenizer: str = ""
    max_length: int | None = None
    lineage: tuple[str, ...] = ()
    details: Mapping[str, object] = field(default_factory=dict)


@runtime_checkable
class LanguageModel(Protocol):
    """An opened model."""

    card: ModelCard

    def answer(self, requests: Sequence[Request]) -> Iterator[Sequence[tuple[Request, Answer]]]:
        """Answer each request once, in batches, in any order.

        A batch is journalled whole, and a killed run goes on with the requests it had not answered. A model whose
        last digits depend on what is computed together must form its batches in such a way that those of the
        remaining requests are the ones that were still to come. A request that it cannot answer, of a kind that it
        can, is answered by `Unanswered`. Raises Unsupported for a kind outside `card.supports`.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenOptions:
    """How a model is opened.

    device: torch device. dtype: of the weights. batch_tokens: tokens per forward pass.
    prefix: bos, eos or none overrides what the checkpoint says. reference_text: what trainable
    baselines learn from, in order. trust_remote_code: run Python that comes with a model.
    load_tokenizer: loads a tokenizer reference by whichever registered family recognises it.
    """

    device: str = "cpu"
    dtype: DType = "float32"
    batch_tokens: int = 4096
    prefix: str = ""
    reference_text: Sequence[str] = ()
    trust_remote_code: bool = False
    load_tokenizer: Callable[[str], Tokenizer]


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """The files of a published model, for taking it over as a checkpoint of ours.

    folder: of its weights. tokenizer: folder of its tokenizer. fields: content of its `config.json`.
    prefix: id that stands before texts, or None. contexts: before contexts too. fingerprint: of all of it.
    """

    name: str
    folder: Path
    tokenizer: Path
    fields: Mapping[str, Any]
    prefix: int | None
    contexts: bool
    fingerprint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WritingDefaults:
    """How a model is meant to write, as its files say.

    generation: decoding settings; None where there are none. origin: where they are from, in words. template: name of
    the chat template (`tilbench.text.chat`) that it was tuned with; empty where that is not known. template_origin:
    where that is from.
    """

    generation: Decoding | None = None
    origin: str = ""
    template: str = ""
    template_origin: str = ""


@runtime_checkable
class Loader(Protocol):
    """Opens one kind of model reference.

    `tilbench.kinds.capabilities.loader` has what a loader may offer besides. One whose models read tokens is also a
    `tilbench.scoring.encode.reader.ReadsTokens`.
    """

    def recognises(self, reference: str) -> bool:
        """Say, without importing torch, whether `reference` is this loader's."""

    def card(self, reference: str, options: OpenOptions) -> ModelCard:
        """Describe the model without loading its weights. Raises CheckpointError."""

    def open(self, reference: str, options: OpenOptions) -> LanguageModel:
        """Open the model. Raises CheckpointError where its parts do not fit together."""

"""How a user asks for a model to be opened, and what its loader is handed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal, get_args

from tilbench.config.model import DType
from tilbench.errors import ConfigError, UnknownName, Unsupported
from tilbench.kinds.language_model import OpenOptions
from tilbench.registry import Registry
from tilbench.resolve.tokenizers import load_tokenizer

__all__ = ["ModelOptions", "PrefixName", "open_options"]

PrefixName = Literal["", "bos", "eos", "none"]

_ANY_TEXT = (" ",)
"""Reference text where no suite names any: enough for a baseline that learns from text to answer something."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelOptions:
    """How a model is opened, as a command or a Python call says it. Plain data, which can be pickled.

    device: a torch device, or auto, which is CUDA where there is a GPU and the CPU elsewhere. dtype: of the weights.
    batch_tokens: tokens per forward pass. prefix: token that stands before a document; "" takes the checkpoint's own.
    trust_remote_code: run Python that comes with a model or a task file.
    Raises UnknownName or ConfigError for a value that no model can be opened with.
    """

    device: str = "auto"
    dtype: DType = "float32"
    batch_tokens: int = 4096
    prefix: PrefixName = ""
    trust_remote_code: bool = False

    def __post_init__(self) -> None:
        if self.dtype not in get_args(DType):
            raise UnknownName("dtype", self.dtype, get_args(DType))
        if self.prefix not in get_args(PrefixName):
            raise UnknownName("prefix", self.prefix, filter(None, get_args(PrefixName)))
        if self.batch_tokens < 1:
            raise ConfigError(f"batch_tokens is {self.batch_tokens}; a forward pass needs at least 1")


def open_options(asked: ModelOptions, registry: Registry, reference_text: Sequence[str] = _ANY_TEXT) -> OpenOptions:
    """Return what loaders are handed. reference_text: what trainable baselines learn from.

    Raises Unsupported for a device that this machine does not have.
    """
    return OpenOptions(
        device=_device(asked.device),
        dtype=asked.dtype,
        batch_tokens=asked.batch_tokens,
        prefix=asked.prefix,
        reference_text=reference_text,
        trust_remote_code=asked.trust_remote_code,
        load_tokenizer=partial(load_tokenizer, registry=registry),
    )


def _device(name: str) -> str:
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError):
        raise Unsupported(f"device {name!r} is not available on this machine; use --device cpu or auto") from None
    return name

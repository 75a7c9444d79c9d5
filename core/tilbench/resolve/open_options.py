"""How models are opened, from the options of a command."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, overload

from tilbench.config.suite import Suite
from tilbench.errors import Unsupported
from tilbench.kinds.language_model import OpenOptions
from tilbench.registry import Registry
from tilbench.resolve.datasets import documents
from tilbench.resolve.tokenizers import load_tokenizer

__all__ = ["ReferenceText", "open_options", "thread_count"]


class ReferenceText(Sequence[str]):
    """The texts that trainable baselines learn from, read when the first baseline asks for them."""

    def __init__(self, names: Sequence[str], registry: Registry, data_dir: Path | None) -> None:
        self._names = names
        self._registry = registry
        self._data_dir = data_dir
        self._texts: list[str] | None = None

    def _read(self) -> list[str]:
        """Raises MissingDataset, UnknownName or DataError where the text cannot be had."""
        if self._texts is None:
            read = [documents(name, self._registry, self._data_dir)[1] for name in self._names]
            self._texts = [document.text for source in read for document in source]
        return self._texts

    def __len__(self) -> int:
        return len(self._read())

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        return self._read()[index]


_NO_SUITE = (" ",)
"""Reference text where there is no suite: enough for a baseline that learns from text to say what it answers."""


def open_options(registry: Registry, suite: Suite | None, given: Mapping[str, Any]) -> OpenOptions:
    """Return the options of `tilbench run` as models are handed them. suite: None where a model is opened for itself.

    Raises Unsupported for a device that is not here.
    """
    return OpenOptions(
        device=_device(given["device"]),
        dtype=given["dtype"],
        batch_tokens=given["batch_tokens"],
        prefix=given["prefix"] or "",
        reference_text=ReferenceText(suite.reference_text, registry, given["data_dir"]) if suite else _NO_SUITE,
        trust_remote_code=given["trust_remote_code"],
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


def thread_count() -> int:
    """Return the threads torch computes with."""
    import torch

    return torch.get_num_threads() or os.cpu_count() or 1

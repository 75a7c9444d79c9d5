"""How the libraries are called: quietly, and with their faults said in one line."""

from __future__ import annotations

import contextlib
import importlib.util
import warnings
from collections.abc import Iterator

import torch
from safetensors import SafetensorError

from tilbench.errors import CheckpointError, MissingDependency, TilbenchError
from tilbench_huggingface.source import one_line

__all__ = ["library_errors", "quiet", "require", "unbothered"]


def require(package: str, purpose: str, extra: str = "hf") -> None:
    """Raise MissingDependency where an optional package is not installed."""
    if importlib.util.find_spec(package) is None:
        raise MissingDependency(package, extra, purpose)


@contextlib.contextmanager
def unbothered() -> Iterator[None]:
    """Keep peft from warning of what is seen to here.

    Missing keys are refused by name. GPT-2's layers hold their matrices the other way round, which peft notes by
    itself. A module trained whole is no longer tied to its base's other end, and is saved and merged so.
    """
    with warnings.catch_warnings():
        for message in ("Found missing adapter keys", "fan_in_fan_out", "Model has `tie_word", "Input and output emb"):
            warnings.filterwarnings("ignore", message=message, category=UserWarning)
        yield


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep transformers from logging, drawing progress bars and announcing what it will drop."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity(logging.CRITICAL)  # type: ignore[attr-defined]
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        with warnings.catch_warnings():  # what the libraries deprecate in each other
            warnings.filterwarnings("ignore", category=FutureWarning, module=r"(transformers|peft)\.")
            yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]


@contextlib.contextmanager
def library_errors(what: str) -> Iterator[None]:
    """Turn what a library raises into a CheckpointError in one line; running out of memory stays itself."""
    try:
        yield
    except (TilbenchError, torch.OutOfMemoryError, MemoryError):
        raise
    except SafetensorError as error:
        raise CheckpointError(
            f"{what}: a .safetensors file in it is incomplete or damaged ({error}); copy it again"
        ) from error
    except Exception as error:  # a damaged file surfaces as OSError, KeyError, RuntimeError …
        raise CheckpointError(f"{what}: {type(error).__name__}: {one_line(error)}") from error

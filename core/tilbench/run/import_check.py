"""Whether an imported model predicts a text better than chance, which a wrong map of its weights does not."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path

from tilbench.errors import DataError
from tilbench.kinds.language_model import OpenOptions
from tilbench.kinds.requests import Document, Likelihood
from tilbench.registry import Registry
from tilbench.run.checkpoint_loader import CheckpointLoader
from tilbench.run.tokenizers import load_tokenizer

__all__ = ["loss_on"]

_CHARACTERS = 4000
"""Of the text, from its beginning, that are scored."""


def loss_on(folder: Path, file: Path, registry: Registry) -> tuple[float, float]:
    """Return a checkpoint's mean loss on the beginning of a text, in nats a token, and that of guessing (ln V)."""
    try:
        text = file.read_text(encoding="utf-8")[:_CHARACTERS]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file} cannot be read as text: {error}") from None
    if not text.strip():
        raise DataError(f"{file} has no text to score")
    options = OpenOptions(load_tokenizer=partial(load_tokenizer, registry=registry))
    model = CheckpointLoader(registry).open(str(folder), options)
    ((_, answer),) = (pair for batch in model.answer([Document(text)]) for pair in batch)
    assert isinstance(answer, Likelihood)
    assert answer.tokens
    vocabulary = load_tokenizer(str(folder), registry).size
    return -answer.logprob / answer.tokens, math.log(vocabulary)

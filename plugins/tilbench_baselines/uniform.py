"""A model that knows nothing: every byte is as likely as any other."""

from __future__ import annotations

import math

from tilbench.kinds.language_model import ModelCard, OpenOptions
from tilbench.kinds.requests import Likelihood, RequestKind
from tilbench_baselines.base import Baseline

__all__ = ["UniformBytes", "UniformBytesLoader"]

_CARD = ModelCard(
    name="uniform-bytes",
    fingerprint="uniform-bytes:1",
    supports=frozenset({RequestKind.DOCUMENT, RequestKind.CONTINUATION}),
    tokenizer="UTF-8 bytes",
)


class UniformBytes(Baseline):
    """Gives every byte 1/256, so that a text costs exactly 8 bits a byte, whatever comes before it."""

    def __init__(self) -> None:
        self.card = _CARD

    def likelihood(self, context: str, text: str) -> Likelihood:
        """Answer from the length of the text."""
        size = len(text.encode())
        return Likelihood(-size * 8 * math.log(2), tokens=size)


class UniformBytesLoader:
    """Opens `uniform-bytes`."""

    def recognises(self, reference: str) -> bool:
        """Say whether the reference is its name."""
        return reference == _CARD.name

    def card(self, reference: str, options: OpenOptions) -> ModelCard:
        """Describe the model."""
        return _CARD

    def open(self, reference: str, options: OpenOptions) -> UniformBytes:
        """Open the model."""
        return UniformBytes()

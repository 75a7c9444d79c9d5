"""A character n-gram model: the strongest baseline that trains in seconds."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tilbench.errors import TilbenchError
from tilbench.kinds.language_model import ModelCard, OpenOptions
from tilbench.kinds.requests import Likelihood, RequestKind
from tilbench_baselines.base import Baseline
from tilbench_baselines.counts import Counts, count, probabilities
from tilbench_baselines.switching import advance, uniform_bytes

__all__ = ["ORDER", "Ngram", "NgramLoader"]

ORDER = 6
_NAME = "ngram"
_VERSION = 2  # raised when the same text would give other probabilities


class Ngram(Baseline):
    """Predicts a character from the five before it, as counted in reference text (`counts.probabilities`).

    Where a text is unlike the reference text, it changes to uniform bytes (`switching`): no text costs more than 8 bits
    per byte plus 10 bits. At every place it is a proper distribution over all Unicode scalar values, so its bits are
    those of a real code. Tokens are characters. The end of a document is not predicted, as for every other model here.
    """

    def __init__(self, counts: Counts, card: ModelCard) -> None:
        self.card = card
        self._counts = counts

    def likelihood(self, context: str, text: str) -> Likelihood:
        """Answer from the counts."""
        state, _ = self._advance(np.array([1.0, 0.0]), "", context)
        _, logprob = self._advance(state, context, text)
        return Likelihood(logprob, tokens=len(text))

    def _advance(self, state: NDArray[np.float64], history: str, text: str) -> tuple[NDArray[np.float64], float]:
        return advance(state, probabilities(self._counts, history, text), uniform_bytes(text))


class NgramLoader:
    """Opens `ngram`: counts `options.reference_text`, and keeps the counts for the next time it is asked."""

    def __init__(self) -> None:
        self._digest = ""
        self._model: Ngram | None = None

    def recognises(self, reference: str) -> bool:
        """Say whether the reference is its name."""
        return reference == _NAME

    def card(self, reference: str, options: OpenOptions) -> ModelCard:
        """Describe the model; its size is known only by counting."""
        return self.open(reference, options).card

    def open(self, reference: str, options: OpenOptions) -> Ngram:
        """Count the reference text. Raises TilbenchError where there is none."""
        if not any(options.reference_text):
            raise TilbenchError(
                "ngram learns from reference text and was given none; name datasets of documents under "
                "'reference_text' in the suite"
            )
        digest = _digest(options.reference_text)
        if self._model is None or digest != self._digest:
            counts = count(options.reference_text, ORDER)
            card = ModelCard(
                name=_NAME,
                fingerprint=f"ngram:{_VERSION}:order-{ORDER}:{digest}",
                supports=frozenset({RequestKind.DOCUMENT, RequestKind.CONTINUATION}),
                parameters=counts.stored,
                prefix="start of document",
                tokenizer="characters",
                details={"order": ORDER, "reference_documents": len(options.reference_text)},
            )
            self._digest, self._model = digest, Ngram(counts, card)
        return self._model


def _digest(documents: Sequence[str]) -> str:
    """Return a SHA-256 of the documents and of where each ends."""
    digest = hashlib.sha256()
    for document in documents:
        data = document.encode()
        digest.update(len(data).to_bytes(8, "little"))
        digest.update(data)
    return digest.hexdigest()

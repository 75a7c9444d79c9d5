"""What the baselines share: requests are answered one by one, and handed back in batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from tilbench.errors import Unsupported
from tilbench.kinds.language_model import ModelCard
from tilbench.kinds.requests import Continuation, Document, Likelihood, Request

__all__ = ["Baseline"]

_BATCH = 256  # only how often answers are journalled: each is computed by itself


class Baseline(Protocol):
    """A model whose answer to a request depends on nothing but that request."""

    card: ModelCard

    def likelihood(self, context: str, text: str) -> Likelihood:
        """Return how likely `text` is after `context`."""

    def answer(self, requests: Sequence[Request]) -> Iterator[Sequence[tuple[Request, Likelihood]]]:
        """Answer each request, in order. Windows do not apply: nothing here has a context length."""
        for start in range(0, len(requests), _BATCH):
            yield [(request, self._one(request)) for request in requests[start : start + _BATCH]]

    def _one(self, request: Request) -> Likelihood:
        if request.kind in self.card.supports:
            if isinstance(request, Document):
                return self.likelihood("", request.text)
            if isinstance(request, Continuation):
                return self.likelihood(request.context, request.continuation)
        raise Unsupported(f"{self.card.name} answers no {request.kind} requests")

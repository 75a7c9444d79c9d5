"""Toy language models and loaders with one fault each."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from tilbench.kinds.language_model import ModelCard, OpenOptions
from tilbench.kinds.requests import Answer, Likelihood, Request, Unanswered
from tilbench.testing.toys import ToyLanguageModel, ToyLoader

__all__ = ["LANGUAGE_MODELS", "LOADERS"]


class Forgets(ToyLanguageModel):
    """Leaves the last request of each batch out."""

    def answer(self, requests: Sequence[Request]) -> Iterator[Sequence[tuple[Request, Answer]]]:
        """Answer too few."""
        for batch in super().answer(requests):
            yield batch[:-1] if len(requests) > 1 else batch


class Repeats(ToyLanguageModel):
    """Answers twice."""

    def answer(self, requests: Sequence[Request]) -> Iterator[Sequence[tuple[Request, Answer]]]:
        """Answer too much."""
        for batch in super().answer(requests):
            yield batch
            yield batch


class Moody(ToyLanguageModel):
    """Answers by what was asked before."""

    def __init__(self, card: ModelCard | None = None) -> None:
        super().__init__(card)
        self.asked = 0

    def one(self, request: Request) -> Answer:
        """Answer something new each time."""
        self.asked += 1
        answer = super().one(request)
        return replace(answer, logprob=answer.logprob - self.asked) if isinstance(answer, Likelihood) else answer


class Certain(ToyLanguageModel):
    """Forgets the sign."""

    def one(self, request: Request) -> Answer:
        """Answer with a log-probability above 0."""
        answer = super().one(request)
        return replace(answer, logprob=-answer.logprob) if isinstance(answer, Likelihood) else answer


class Silent(ToyLanguageModel):
    """Supports what it never answers."""

    def one(self, request: Request) -> Answer:
        """Answer nothing."""
        return Unanswered("there is always a reason")


class Cheap(ToyLanguageModel):
    """Loses bytes and charges nothing for them."""

    def one(self, request: Request) -> Answer:
        """Answer with more lost bytes than the log-probability pays for."""
        answer = super().one(request)
        return replace(answer, lost=100) if isinstance(answer, Likelihood) else answer


class Renamed(ToyLoader):
    """Describes another model than it opens."""

    def card(self, reference: str, options: OpenOptions) -> ModelCard:
        """Return a card of something else."""
        return replace(super().card(reference, options), fingerprint="toy:0")


class Unstable(ToyLoader):
    """Fingerprints the moment, not the model."""

    _numbers = itertools.count()

    def card(self, reference: str, options: OpenOptions) -> ModelCard:
        """Return a new fingerprint each time."""
        return replace(super().card(reference, options), fingerprint=f"toy:{next(self._numbers)}")


class Greedy(ToyLoader):
    """Recognises everything."""

    def recognises(self, reference: str) -> bool:
        """Say yes."""
        return True


LANGUAGE_MODELS: Mapping[str, tuple[object, set[str]]] = {
    "forgets": (Forgets(), {"every_request_is_answered_once"}),
    "repeats": (Repeats(), {"every_request_is_answered_once"}),
    "moody": (Moody(), {"equal_requests_have_equal_answers"}),
    "above certainty": (Certain(), {"likelihoods_are_probabilities"}),
    "never answers": (Silent(), {"every_request_is_answered_once"}),
    "loses bytes for nothing": (Cheap(), {"likelihoods_are_probabilities"}),
}
"""What is wrong → a broken model, and the checks that must fail."""

LOADERS: Mapping[str, tuple[object, set[str]]] = {
    "another card": (Renamed(), {"card_before_open"}),
    "a fingerprint of the moment": (Unstable(), {"card_before_open", "fingerprint_is_stable"}),
    "recognises everything": (Greedy(), {"recognises_its_own"}),
}
"""What is wrong → a broken loader, and the checks that must fail."""

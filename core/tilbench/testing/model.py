"""What loaders and the models they open must do, and executors."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

from tilbench.config.decoding import Decoding
from tilbench.errors import ConfigError, TilbenchError, UnknownName
from tilbench.kinds.executor import Ended, Executor
from tilbench.kinds.language_model import LanguageModel, Loader, OpenOptions
from tilbench.kinds.requests import (
    Answer,
    Continuation,
    Document,
    Generated,
    Generation,
    Likelihood,
    NextWord,
    Ranked,
    Request,
    RequestKind,
    Timed,
    Timing,
    TokenIds,
    Tokens,
    Unanswered,
    answer_from_json,
    answer_to_json,
)
from tilbench.kinds.tokenizer import Tokenizer
from tilbench.scoring.encode.lost import LOST_NATS
from tilbench.testing.base import Conformance, NotApplicable, require
from tilbench.testing.toys import ToyTokenizer, toy_texts

__all__ = ["ExecutorConformance", "LanguageModelConformance", "LoaderConformance"]

_ANSWERS: Mapping[RequestKind, type[Answer]] = {
    RequestKind.CONTINUATION: Likelihood,
    RequestKind.DOCUMENT: Likelihood,
    RequestKind.GENERATION: Generated,
    RequestKind.NEXT_WORD: Ranked,
    RequestKind.TIMING: Timed,
    RequestKind.TOKENS: TokenIds,
}


class LanguageModelConformance(Conformance):
    """Checks of an opened model on a few short requests of every kind that it supports.

    subject: the model. tolerance: by which answers may differ where other requests are beside them.
    """

    settable: ClassVar[tuple[str, ...]] = ("tolerance",)
    subject: LanguageModel
    tolerance: float = 1e-4

    def model(self) -> LanguageModel:
        """Return the model under test."""
        return self.subject

    def requests(self, kinds: frozenset[RequestKind] | None = None) -> list[Request]:
        """Return different requests of the given kinds, by default of those that the model supports."""
        supported = self.model().card.supports if kinds is None else kinds
        texts = toy_texts(6)
        made: list[Request] = []
        for index, text in enumerate(texts):
            made += [Document(text), Continuation(text, f" {index}"), Continuation(text, " two words"), Tokens(text)]
            made += [NextWord(text, "two"), Generation(text, Decoding(max_new_tokens=3), seed=index)]
        made.append(Timing(texts[0], 2, 2, repeats=1))
        return [request for request in made if request.kind in supported]

    def test_interface(self) -> None:
        """It has a card with a name and a fingerprint, and supports something."""
        model = self.model()
        require(isinstance(model, LanguageModel), "it lacks card or answer")
        require(model.card.name and model.card.fingerprint, "its card has no name or no fingerprint")
        require(model.card.supports, "it supports no kind of request")

    def test_every_request_is_answered_once(self) -> None:
        """Each request is answered once, by the answer of its kind; no request is made up.

        A model may be unable to answer a request, but not to answer all of a kind that it supports.
        """
        requests = self.requests()
        answered = [pair for batch in self.model().answer(requests) for pair in batch]
        counts = Counter(request for request, _ in answered)
        left = [request for request in requests if not counts[request]]
        require(not left, f"{len(left)} of {len(requests)} requests are left unanswered, such as {left[:1]}")
        often = [request for request, count in counts.items() if count > 1]
        require(not often, f"{len(often)} requests are answered more than once, such as {often[:1]}")
        require(set(counts) == set(requests), "it answers requests that were not put to it")
        for request, answer in answered:
            wanted = _ANSWERS[request.kind]
            good = isinstance(answer, wanted | Unanswered)
            require(good, f"{request.kind} is answered by {type(answer).__name__}")
        able = {request.kind for request, answer in answered if not isinstance(answer, Unanswered)}
        for request, answer in answered:
            require(request.kind in able, f"it answers none of the {request.kind} requests: {answer}")

    def test_equal_requests_have_equal_answers(self) -> None:
        """A request has one answer: asked again, in another order, or alone. What is measured is left out."""
        requests = [request for request in self.requests() if request.kind.lasting]
        first = self._ask(requests)
        for what, found in (
            ("again", self._ask(requests)),
            ("in another order", self._ask(requests[::-1])),
            ("alone", {request: self._ask([request])[request] for request in requests[:8]}),
        ):
            for request, answer in found.items():
                before = first[request]
                require(self._same(answer, before), f"{request} asked {what}: {answer}, before {before}")

    def test_likelihoods_are_probabilities(self) -> None:
        """A log-probability is finite and not above 0, with 8 bits for each lost byte; ranks begin at 1."""
        for request, answer in self._ask(self.requests()).items():
            if isinstance(answer, Likelihood | Ranked):
                good = math.isfinite(answer.logprob) and answer.logprob <= 1e-6
                require(good, f"{request} has the log-probability {answer.logprob}")
                charged = -answer.logprob >= answer.lost * LOST_NATS - 1e-6
                require(charged, f"{request} lost {answer.lost} bytes, and its log-probability is {answer.logprob}")
                count = answer.tokens
                require(count is None or count >= 0, f"{request} is said to have {count} tokens")
            if isinstance(answer, Ranked):
                require(answer.rank >= 1, f"{request} has rank {answer.rank}; the likeliest has rank 1")

    def test_answers_survive_the_journal(self) -> None:
        """Answers are written to the journal and read back as they were."""
        for answer in self._ask(self.requests()).values():
            require(answer_from_json(answer_to_json(answer)) == answer, f"{answer} does not survive JSON")

    def test_other_kinds_are_refused(self) -> None:
        """A kind of request that it does not support raises an error in one line."""
        others = frozenset(RequestKind) - self.model().card.supports
        if not others:
            raise NotApplicable("it supports every kind of request")
        for kind in sorted(others):
            request = self.requests(frozenset({kind}))[0]
            try:
                list(self.model().answer([request]))
            except TilbenchError:
                continue
            require(False, f"it answers {kind} requests, or passes over them, which it does not support")

    def _ask(self, requests: Sequence[Request]) -> dict[Request, Answer]:
        return {request: answer for batch in self.model().answer(requests) for request, answer in batch}

    def _same(self, one: Answer, other: Answer) -> bool:
        if isinstance(one, Likelihood | Ranked) and isinstance(other, Likelihood | Ranked):
            return type(one) is type(other) and abs(one.logprob - other.logprob) <= self.tolerance
        return one == other


class LoaderConformance(LanguageModelConformance):
    """Checks of a loader, and of the model that it opens by `reference`. options: how it is opened."""

    settable: ClassVar[tuple[str, ...]] = ("reference", "tolerance")
    subject: Any
    reference: str = ""
    options: OpenOptions | None = None
    _opened: LanguageModel | None = None

    def ready(self) -> None:
        """Raise ConfigError where there is no reference to open."""
        if not self.reference:
            raise ConfigError("this loader opens no model by its own name: name one with --set reference=…")

    def opening(self) -> OpenOptions:
        """Return how the model is opened."""
        return self.options or OpenOptions(reference_text=toy_texts(40), load_tokenizer=_toy_tokenizer)

    def model(self) -> LanguageModel:
        """Return the model, opened at the first call."""
        if self._opened is None:
            self._opened = self.subject.open(self.reference, self.opening())
        return self._opened

    def test_recognises_its_own(self) -> None:
        """It recognises the reference and not just any text."""
        require(isinstance(self.subject, Loader), "it lacks recognises, card or open")
        require(self.subject.recognises(self.reference), f"it does not recognise {self.reference!r}")
        for other in ("no-such-model", "no-such-spec:variant", "./no-such-folder", ""):
            require(not self.subject.recognises(other), f"it recognises {other!r}, which is nobody's")

    def test_card_before_open(self) -> None:
        """The card is known before the model is opened, and is the opened model's."""
        card = self.subject.card(self.reference, self.opening())
        opened = self.model().card
        for field in ("fingerprint", "supports", "parameters", "prefix", "tokenizer", "max_length"):
            before, after = getattr(card, field), getattr(opened, field)
            require(before == after, f"the card's {field} is {before!r}, and the opened model's {after!r}")

    def test_fingerprint_is_stable(self) -> None:
        """Two cards of one reference have one fingerprint."""
        first, second = (self.subject.card(self.reference, self.opening()).fingerprint for _ in range(2))
        require(first == second, f"the fingerprint is {first!r}, and {second!r} when asked again")


class ExecutorConformance(Conformance):
    """Checks of an executor."""

    subject: Executor

    def test_every_job_is_done(self) -> None:
        """Events of each job come in their order with its place, and `Ended` comes last; no jobs give no events."""
        found = self._events(range(4))
        wanted = {number: [number, number**2, Ended()] for number in range(4)}
        require(found == wanted, f"the events of four jobs are {found}, not {wanted}")
        require(self._events([]) == {}, "there are events without jobs")

    def test_an_error_ends_one_job(self) -> None:
        """A TilbenchError ends its own job, with its class and message; the jobs before and after it are done."""
        found = self._events([1, -1, 2])
        errors = {place: (type(events[-1].error), str(events[-1].error)) for place, events in found.items()}
        none = (type(None), "None")
        wanted = {0: none, 1: (UnknownName, str(_negative(-1))), 2: none}
        require(errors == wanted, f"jobs that fail in the middle end with {errors}, not {wanted}")

    def test_other_exceptions_are_raised(self) -> None:
        """A bug in the work reaches the caller."""
        try:
            list(self.subject.run(_wrong, [1]))
        except Exception:
            return
        require(False, "an exception inside a job is lost")

    def _events(self, jobs: Sequence[int]) -> dict[int, list[Any]]:
        found: dict[int, list[Any]] = {}
        for place, event in self.subject.run(_powers, jobs):
            found.setdefault(place, []).append(event)
        return found


def _powers(number: int) -> Iterator[int]:
    if number < 0:
        raise _negative(number)
    yield number
    yield number**2


def _wrong(number: int) -> Iterator[int]:
    yield number
    raise ValueError("a bug")


def _negative(number: int) -> UnknownName:
    return UnknownName("number", str(number), ["0", "1"])


def _toy_tokenizer(reference: str) -> Tokenizer:
    return ToyTokenizer()

"""An opened model as Python sees it: likelihoods, bits per byte, tokens and texts."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from typing import TypedDict, TypeVar, Unpack, overload

from tilbench.config.decoding import Decoding
from tilbench.config.yaml import validate
from tilbench.errors import DataError, Refused, Unsupported
from tilbench.generation.texts import Writer, refuse_silent, settings_for, writing_defaults
from tilbench.kinds.language_model import LanguageModel, OpenOptions
from tilbench.kinds.requests import (
    Answer,
    Continuation,
    Document,
    Generated,
    Likelihood,
    Request,
    RequestKind,
    TokenIds,
    Tokens,
    Unanswered,
)
from tilbench.resolve.models import ModelSource
from tilbench.results.reading import too_lossy
from tilbench.text.chat import template as named_template

__all__ = ["DecodingOptions", "OpenedModel"]

A = TypeVar("A", Likelihood, TokenIds)


class DecodingOptions(TypedDict, total=False):
    """How a text is written; what is not given is the model's own. Ranges are those of `Decoding`."""

    max_new_tokens: int
    temperature: float
    top_k: int
    top_p: float
    repetition_penalty: float
    no_repeat_ngram: int


class OpenedModel:
    """A model that was opened. It is a `LanguageModel`, so `run_suite` takes it in a model's place.

    A method that is given one text returns one result. Given a list, it asks for all of them together, which is faster,
    and returns a list. Methods raise Unsupported for what the model cannot do (`card.supports`), and DataError for a
    text that it cannot read.
    """

    def __init__(self, source: ModelSource, options: OpenOptions) -> None:
        """Open the model. Raises CheckpointError where its parts do not fit together."""
        self.card = source.card(options)
        self.source = source
        self.options = options
        self.model: LanguageModel = source.open(options)

    def __repr__(self) -> str:
        size = f", {self.card.parameters:,} parameters" if self.card.parameters else ""
        return f"<{self.card.name}{size}, on {self.options.device} in {self.options.dtype}>"

    def answer(self, requests: Sequence[Request]) -> Iterator[Sequence[tuple[Request, Answer]]]:
        """Answer each request (`tilbench.kinds.requests`) once, in batches, in any order."""
        return self.model.answer(requests)

    @overload
    def logprobs(self, text: str, *, after: str = "") -> Likelihood: ...
    @overload
    def logprobs(self, text: list[str] | tuple[str, ...], *, after: str = "") -> list[Likelihood]: ...
    def logprobs(self, text: str | list[str] | tuple[str, ...], *, after: str = "") -> Likelihood | list[Likelihood]:
        """Return how likely a text is: `logprob` in nats, `tokens`, `greedy`, and what of it was lost or cut.

        after: the text that stands before it, whose own likelihood does not count. A text that is longer than the model
        is scored in windows.
        """
        texts = [text] if isinstance(text, str) else list(text)
        answers = self._ask([Continuation(after, each) if after else Document(each) for each in texts], Likelihood)
        return answers[0] if isinstance(text, str) else answers

    def bits_per_byte(self, text: str | list[str] | tuple[str, ...]) -> float:
        """Return −Σ log₂ p / Σ UTF-8 bytes over one text or several: the value `bpb` of a suite.

        Raises Refused where more than 1% of the bytes are not in the model's tokens, as a suite does.
        """
        texts = [text] if isinstance(text, str) else list(text)
        answers = self.logprobs(texts)
        size = sum(len(each.encode()) for each in texts)
        if not size:
            raise DataError("there is no text to score; give one that is not empty")
        if why := too_lossy(sum(answer.lost for answer in answers), size):
            raise Refused(f"{self.card.name}: {why}")
        return -math.fsum(answer.logprob for answer in answers) / math.log(2) / size

    @overload
    def tokens(self, text: str) -> TokenIds: ...
    @overload
    def tokens(self, text: list[str] | tuple[str, ...]) -> list[TokenIds]: ...
    def tokens(self, text: str | list[str] | tuple[str, ...]) -> TokenIds | list[TokenIds]:
        """Return the tokens of a text, without special ones: `ids`, and how many are unknown or single bytes."""
        texts = [text] if isinstance(text, str) else list(text)
        answers = self._ask([Tokens(each) for each in texts], TokenIds)
        return answers[0] if isinstance(text, str) else answers

    @overload
    def generate(
        self,
        prompt: str,
        *,
        template: str = "",
        stop: Sequence[str] = (),
        seed: int = 0,
        **decoding: Unpack[DecodingOptions],
    ) -> Generated: ...
    @overload
    def generate(
        self,
        prompt: list[str] | tuple[str, ...],
        *,
        template: str = "",
        stop: Sequence[str] = (),
        seed: int = 0,
        **decoding: Unpack[DecodingOptions],
    ) -> list[Generated]: ...
    def generate(
        self,
        prompt: str | list[str] | tuple[str, ...],
        *,
        template: str = "",
        stop: Sequence[str] = (),
        seed: int = 0,
        **decoding: Unpack[DecodingOptions],
    ) -> Generated | list[Generated]:
        """Return the text that follows a prompt: `text`, `tokens`, and whether it ended by itself (`complete`).

        template: a chat template; the prompt is then what a user says. stop: a text ends before the first of these.
        Settings that are not given are the model's own, or the likeliest token where it has none, as for
        `tilbench generate`. Raises ConfigError for a setting that is out of range.
        """
        refuse_silent(self.card)
        if isinstance(stop, str) or not all(stop):
            raise DataError(f"stop is {stop!r}; give a list of texts that are not empty")
        validate(dict(decoding), Decoding, "generate")
        defaults = writing_defaults(self.source)
        chat = named_template(template) if template else None
        writer = Writer(self.model, settings_for(defaults, dict(decoding), stop=stop, seed=seed), chat)
        prompts = [prompt] if isinstance(prompt, str) else list(prompt)
        texts = list(writer.batch(prompts))
        if writer.cut:
            count = f"{writer.cut} of {len(prompts)} prompts"
            warnings.warn(f"{count} were too long and lost their beginning", stacklevel=2)
        return texts[0] if isinstance(prompt, str) else texts

    def _ask(self, requests: Sequence[Request], kind: type[A]) -> list[A]:
        """Return the answers in the order of the requests. Raises Unsupported, or DataError for one without answer."""
        if lacking := {request.kind for request in requests} - self.card.supports:
            answers = " and ".join(sorted(self.card.supports))
            raise Unsupported(f"{self.card.name} cannot answer {RequestKind(min(lacking))} requests, only {answers}")
        found = {request: answer for batch in self.answer(list(dict.fromkeys(requests))) for request, answer in batch}
        answers_: list[A] = []
        for request in requests:
            answer = found[request]
            if isinstance(answer, Unanswered):
                raise DataError(f"{self.card.name} cannot answer: {answer.reason}")
            assert isinstance(answer, kind)
            answers_.append(answer)
        return answers_

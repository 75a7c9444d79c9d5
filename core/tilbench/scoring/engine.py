"""Answers requests with a causal decoder on a device, in bounded memory.

Requests become segments of tokens, and segments that begin alike are scored together, so that each distinct token is
computed once: the solved examples before all questions, a question before its options.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import torch

from tilbench.errors import DataError, TilbenchError
from tilbench.kinds.architecture import Decoder
from tilbench.kinds.language_model import ModelCard, OpenOptions
from tilbench.kinds.requests import (
    Answer,
    Continuation,
    Document,
    Exchange,
    Generated,
    Generation,
    Likelihood,
    NextWord,
    Ranked,
    Request,
    RequestKind,
    Timing,
    TokenIds,
    Tokens,
)
from tilbench.kinds.tokenizer import Tokenizer
from tilbench.scoring.chat import exchange_ids
from tilbench.scoring.generate import Job, generate
from tilbench.scoring.likelihood import Scored, Segment, SegmentScorer
from tilbench.scoring.onednn import through_onednn
from tilbench.scoring.prefix import Prefix
from tilbench.scoring.states import Budget
from tilbench.scoring.stream import Show, Streamer
from tilbench.scoring.timing import time_generation
from tilbench.scoring.trie import as_ids, shared_length, sort_key
from tilbench.scoring.windows import windows

__all__ = ["SUPPORTED", "TorchLanguageModel"]

SUPPORTED = frozenset(RequestKind)
_LIKELIHOODS = (RequestKind.CONTINUATION, RequestKind.DOCUMENT, RequestKind.NEXT_WORD)
_TEXTS = 256
"""Texts encoded at a time."""
_GROUP = 8
"""Forward passes' worth of tokens that are scored together and journalled together. What two groups share at the
beginning is computed twice, so a group is many times longer than a few-shot prefix."""


@dataclass(frozen=True, slots=True)
class _Text:
    """A request's text where it is cut: a document has no context."""

    context: str
    continuation: str

    @property
    def whole(self) -> str:
        return self.context + self.continuation

    @classmethod
    def of(cls, request: Request) -> _Text:
        """Return the text of a request; spaces at the end of its context go to the continuation."""
        match request:
            case Continuation(context, continuation):
                pass
            case NextWord(context, target):
                continuation = f" {target}"
            case _:
                assert isinstance(request, Document)
                context, continuation = "", request.text
        stripped = context.rstrip()
        return cls(stripped, context[len(stripped) :] + continuation)


@dataclass(slots=True)
class _Planned:
    """A request with the segments that its answer is the sum of."""

    request: Request
    segments: list[Segment]

    @property
    def order(self) -> list[bytes]:
        """Requests that begin alike stand side by side."""
        return [sort_key(segment.ids) for segment in self.segments]


class TorchLanguageModel:
    """A decoder with its tokenizer and prefix policy, as a `LanguageModel`; and as one that writes text as it comes.

    max_length: tokens that it attends over.
    """

    def __init__(
        self, card: ModelCard, decoder: Decoder, tokenizer: Tokenizer, prefix: Prefix, options: OpenOptions
    ) -> None:
        if tokenizer.size > decoder.vocab_size:
            raise TilbenchError(
                f"{card.name}: the tokenizer has {tokenizer.size:,} ids and the embedding {decoder.vocab_size:,} rows; "
                "they are not of one model"
            )
        self.card = card
        self._device = torch.device(options.device)
        self._decoder = decoder = through_onednn(decoder, self._device)
        self.tokenizer = tokenizer
        self.prefix = prefix
        self.max_length = decoder.max_length
        self._streamer = Streamer(decoder, tokenizer, self._device)
        self._budget = Budget(options.batch_tokens)
        self._scorer = SegmentScorer(decoder, self._device, self._budget, card.name)
        self._group_tokens = _GROUP * options.batch_tokens

    def answer(self, requests: Sequence[Request]) -> Iterator[Sequence[tuple[Request, Answer]]]:
        """Answer each request once, in batches of requests that begin alike."""
        by_kind: dict[RequestKind, list[Request]] = defaultdict(list)
        for request in requests:
            by_kind[request.kind].append(request)
        with torch.inference_mode():
            yield from self._tokens(by_kind[RequestKind.TOKENS])
            yield from self._likelihoods([request for kind in _LIKELIHOODS for request in by_kind[kind]])
            jobs = [
                Job(request, self.prompt(request.prompt))
                for request in by_kind[RequestKind.GENERATION]
                if isinstance(request, Generation)
            ]
            yield from self.write(jobs)
            for request in by_kind[RequestKind.TIMING]:
                assert isinstance(request, Timing)
                yield [(request, time_generation(self._decoder, self.tokenizer, request, self._device))]

    def write(self, jobs: Sequence[Job]) -> Iterator[Sequence[tuple[Generation, Generated]]]:
        """Continue prompts in batches; see `tilbench.scoring.generate`."""
        with torch.inference_mode():
            yield from generate(self._decoder, self.tokenizer, jobs, self._device, self._budget.tokens)

    def stream(self, job: Job, show: Show) -> Generated:
        """Continue one prompt, and hand its text to `show` as it comes; see `tilbench.scoring.stream`."""
        return self._streamer.stream(job, show)

    @property
    def read(self) -> int:
        """Tokens of the last streamed prompt that were computed; the others were remembered."""
        return self._streamer.read

    def _tokens(self, requests: Sequence[Request]) -> Iterator[Sequence[tuple[Request, Answer]]]:
        tokenizer = self.tokenizer
        for start in range(0, len(requests), _TEXTS):
            batch = requests[start : start + _TEXTS]
            texts = [request.text for request in batch if isinstance(request, Tokens)]
            yield [
                (
                    request,
                    TokenIds(
                        tuple(ids),
                        tokenizer.unknown(ids),
                        tokenizer.byte_fallback(ids),
                        tokenizer.decode(ids) == text,
                    ),
                )
                for request, text, ids in zip(batch, texts, tokenizer.encode_batch(texts), strict=True)
            ]

    def prompt(self, context: str) -> list[int]:
        """Return the ids of a text to be continued, the prefix token first where the policy has it there."""
        ids = self.tokenizer.encode(context)
        head = [self.prefix.id] if self.prefix.id is not None and (self.prefix.contexts or not ids) else []
        return head + ids

    def _split(self, text: _Text, ids: Mapping[str, list[int]]) -> tuple[list[int], list[int]]:
        """Return ids of the context (prefix included) and of the continuation.

        Both are cut from the encoding of the whole, so that a token never depends on where the cut is. The rule is
        lm-evaluation-harness's.
        """
        whole, cut = ids[text.whole], len(ids[text.context])
        head = [self.prefix.id] if self.prefix.id is not None and (self.prefix.contexts or not cut) else []
        if not whole[cut:]:
            raise DataError(
                f"the continuation {text.continuation!r} has no token of its own after {text.context[-40:]!r}"
            )
        return head + whole[:cut], whole[cut:]

    def _likelihoods(self, requests: Sequence[Request]) -> Iterator[Sequence[tuple[Request, Answer]]]:
        """Answer in groups, each computed to its end before the next, in an order that the requests alone decide.

        So a run that was killed between two groups finds the same groups again.
        """
        planned = sorted(self._planned(requests), key=lambda each: each.order)
        while planned:
            count = _group(planned, self._group_tokens)
            group, planned = planned[:count], planned[count:]
            scored = iter(self._scorer.score([segment for each in group for segment in each.segments]))
            yield [(each.request, _answer(each, list(islice(scored, len(each.segments))))) for each in group]

    def _planned(self, requests: Sequence[Request]) -> Iterator[_Planned]:
        """Yield each request with its segments. A text that several of a batch have, as a context, is encoded once."""
        yield from self._answers_of_conversations(requests)
        requests = [request for request in requests if _exchange(request) is None]
        for start in range(0, len(requests), _TEXTS):
            texts = {request: _Text.of(request) for request in requests[start : start + _TEXTS]}
            distinct = list(dict.fromkeys(part for text in texts.values() for part in (text.context, text.whole)))
            ids = dict(zip(distinct, self.tokenizer.encode_batch(distinct), strict=True))
            for request, text in texts.items():
                yield _Planned(request, self._segments(request, text, ids))

    def _segments(self, request: Request, text: _Text, ids: Mapping[str, list[int]]) -> list[Segment]:
        """Return what must be computed for a request: one segment, or several windows of a long text."""
        limit = self._decoder.max_length
        if isinstance(request, Document):
            window = min(request.window or limit, limit)
            return [_segment(*pair) for pair in windows(ids[text.whole], self.prefix.id, window, request.overlap)]
        ranked = isinstance(request, NextWord)
        return self._continued(*self._split(text, ids), text.continuation, ranked=ranked)

    def _answers_of_conversations(self, requests: Sequence[Request]) -> Iterator[_Planned]:
        """Yield the requests that have an exchange, with their segments: the ids of fine-tuning, after the prefix."""
        asked = [(request, exchange) for request in requests if (exchange := _exchange(request)) is not None]
        pairs = exchange_ids(self.tokenizer, [exchange for _, exchange in asked])
        for (request, _), (context, targets) in zip(asked, pairs, strict=True):
            head = [self.prefix.id] if self.prefix.id is not None and self.prefix.contexts else []
            context = context if context[:1] == head else head + context
            yield _Planned(request, self._continued(context, targets, "") if targets else [])

    def _continued(
        self, context: list[int], targets: list[int], continuation: str, *, ranked: bool = False
    ) -> list[Segment]:
        """Return the segments of tokens after a context: one, or several windows where they are more than fit."""
        limit = self._decoder.max_length
        if len(targets) > limit:  # more than one pass: each token after as much text as fits
            pairs = windows(targets, context[-1] if context else None, limit)
            return [_segment(*pair, ranked=ranked) for pair in pairs]
        if not context and ranked:
            raise DataError(f"the context of {continuation!r} is empty, and {self.card.name} has no prefix token")
        if not context:
            context, targets = targets[:1], targets[1:]
        return [_segment(context[-(limit + 1 - len(targets)) :], targets, ranked=ranked)]


def _exchange(request: Request) -> Exchange | None:
    return request.exchange if isinstance(request, Continuation) else None


def _segment(context: Sequence[int], targets: Sequence[int], *, ranked: bool = False) -> Segment:
    return Segment.of(as_ids(context), as_ids(targets), ranked=ranked)


def _group(planned: Sequence[_Planned], tokens: int) -> int:
    """Return how many requests from the first on make a group of about `tokens` distinct tokens."""
    before, total = as_ids([]), 0
    for count, each in enumerate(planned, start=1):
        total += sum(len(segment.ids) for segment in each.segments)
        if each.segments:
            total -= shared_length(before, each.segments[0].ids)
            before = each.segments[0].ids
        if total >= tokens:
            return count
    return len(planned)


def _answer(planned: _Planned, scored: Sequence[Scored]) -> Answer:
    tokens = sum(len(segment.targets) for segment in planned.segments)
    logprob = sum(each.logprob for each in scored)
    if isinstance(planned.request, NextWord):
        return Ranked(scored[0].rank, logprob, tokens)
    return Likelihood(logprob, tokens, all(each.greedy for each in scored))

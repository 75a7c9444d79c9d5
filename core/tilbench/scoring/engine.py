"""Answers requests with a causal decoder on a device, in bounded memory.

Requests become segments of tokens, and segments that begin alike are scored together, so that each distinct token is
computed once: the solved examples before all questions, a question before its options.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

import torch

from tilbench.errors import CheckpointError
from tilbench.kinds.architecture import Decoder
from tilbench.kinds.language_model import ModelCard, OpenOptions
from tilbench.kinds.requests import (
    Answer,
    Document,
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
    Unanswered,
)
from tilbench.kinds.tokenizer import Tokenizer
from tilbench.scoring.generate import Job, generate
from tilbench.scoring.likelihood import Scored, Segment, SegmentScorer
from tilbench.scoring.lost import LOST_NATS, lost_bytes
from tilbench.scoring.onednn import through_onednn
from tilbench.scoring.prefix import Prefix
from tilbench.scoring.split import Split, beyond, exchange_of, splits
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


@dataclass(slots=True)
class _Planned:
    """A request with the segments that its answer is the sum of, and the bytes that their ids do not reproduce."""

    request: Request
    segments: list[Segment]
    lost: int
    lost_context: int

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
        if prefix.id is not None and (reason := beyond([prefix.id], decoder.vocab_size)):
            raise CheckpointError(f"{card.name}: {reason.replace('its text', 'its prefix')}; choose one with --prefix")
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
            yield from self._written([each for each in requests if isinstance(each, Generation)])
            for request in by_kind[RequestKind.TIMING]:
                assert isinstance(request, Timing)
                yield [(request, time_generation(self._decoder, self.tokenizer, request, self._device))]

    def _written(self, requests: Sequence[Generation]) -> Iterator[Sequence[tuple[Request, Answer]]]:
        jobs, lost = list[Job](), dict[Request, int]()
        for request in requests:
            ids = self.tokenizer.encode(request.prompt)
            if reason := beyond(ids, self._decoder.vocab_size):
                yield [(request, Unanswered(reason))]
            else:
                jobs.append(Job(request, self._head(ids) + ids))
                lost[request] = lost_bytes(self.tokenizer, request.prompt, ids)
        for batch in self.write(jobs):
            yield [(request, replace(answer, lost_context=lost[request])) for request, answer in batch]

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
        return self._head(ids) + ids

    def _head(self, ids: Sequence[int]) -> list[int]:
        """Return the ids that stand before a context: the prefix, where the policy has it there or there is no text."""
        return [self.prefix.id] if self.prefix.id is not None and (self.prefix.contexts or not ids) else []

    def _likelihoods(self, requests: Sequence[Request]) -> Iterator[Sequence[tuple[Request, Answer]]]:
        """Answer in groups, each computed to its end before the next, in an order that the requests alone decide.

        So a run that was killed between two groups finds the same groups again.
        """
        refused: list[tuple[Request, Answer]] = []
        planned = sorted(self._planned(requests, refused), key=lambda each: each.order)
        if refused:
            yield refused
        while planned:
            count = _group(planned, self._group_tokens)
            group, planned = planned[:count], planned[count:]
            scored = iter(self._scorer.score([segment for each in group for segment in each.segments]))
            yield [
                (each.request, _answer(each, list(islice(scored, len(each.segments))), self._decoder.vocab_size))
                for each in group
            ]

    def _planned(self, requests: Sequence[Request], refused: list[tuple[Request, Answer]]) -> Iterator[_Planned]:
        """Yield each request with its segments; those that this model cannot answer go to `refused`."""
        for start in range(0, len(requests), _TEXTS):
            batch = requests[start : start + _TEXTS]
            for request, split in zip(batch, splits(self.tokenizer, batch, self._decoder.vocab_size), strict=True):
                segments = split if isinstance(split, Unanswered) else self._segments(request, split)
                if isinstance(segments, Unanswered):
                    refused.append((request, segments))
                elif isinstance(split, Split):
                    yield _Planned(request, segments, split.lost, split.lost_context)

    def _segments(self, request: Request, split: Split) -> list[Segment] | Unanswered:
        """Return what must be computed for a request: one segment, or several windows of a long text."""
        limit = self._decoder.max_length
        if isinstance(request, Document):
            window = min(request.window or limit, limit)
            return [_segment(*pair) for pair in windows(split.targets, self.prefix.id, window, request.overlap)]
        ranked = isinstance(request, NextWord)
        head = self._head(split.context)
        if exchange_of(request) is not None and list(split.context[:1]) == head:
            head = []  # the template begins with it
        context, targets = [*head, *split.context], list(split.targets)
        if not targets:  # the end of an answer that has none
            return []
        if len(targets) > limit:  # more than one pass: each token after as much text as fits
            pairs = windows(targets, context[-1] if context else None, limit)
            return [_segment(*pair, ranked=ranked) for pair in pairs]
        if not context and ranked:
            return Unanswered("the context is empty, and the model has no prefix token")
        if not context:
            context, targets = targets[:1], targets[1:]
        return [_segment(context[-(limit + 1 - len(targets)) :], targets, ranked=ranked)]


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


def _answer(planned: _Planned, scored: Sequence[Scored], vocabulary: int) -> Answer:
    """Return the answer of a request. A lost byte costs 8 bits, and no text with one is what greedy decoding gives."""
    lost, lost_context = planned.lost, planned.lost_context
    tokens = sum(len(segment.targets) for segment in planned.segments)
    logprob = sum(each.logprob for each in scored) - lost * LOST_NATS
    if isinstance(planned.request, NextWord):
        rank = vocabulary if lost else scored[0].rank
        return Ranked(rank, logprob, tokens, lost=lost, lost_context=lost_context)
    greedy = not lost and all(each.greedy for each in scored)
    return Likelihood(logprob, tokens, greedy, lost=lost, lost_context=lost_context)

"""Answers requests with a causal decoder on a device, in bounded memory.

Requests become segments of tokens, and segments that begin alike are scored together, so that each distinct token is
computed once: the solved examples before all questions, a question before its options.
"""

from __future__ import annotations

import math
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
from tilbench.scoring.decode.generate import Job, generate
from tilbench.scoring.decode.stream import Show, Streamer
from tilbench.scoring.encode.lost import LOST_NATS
from tilbench.scoring.encode.prefix import Prefix
from tilbench.scoring.encode.reader import Read, Reader
from tilbench.scoring.forward.likelihood import Scored, Segment, SegmentScorer
from tilbench.scoring.forward.onednn import through_onednn
from tilbench.scoring.forward.states import Budget
from tilbench.scoring.forward.trie import as_ids, shared_length, sort_key
from tilbench.scoring.timing import time_generation

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
    """A request with the segments that its answer is the sum of, and what its answer says of how it was read."""

    request: Request
    segments: list[Segment]
    tokens: int
    alone: bool
    lost: int
    lost_context: int
    cut: int
    dropped: int

    @classmethod
    def of(cls, request: Request, read: Read) -> _Planned:
        """Plan a request; the lists of ids are not kept, which would be many times the size of the segments."""
        ranked = isinstance(request, NextWord)
        segments = [_segment(*pair, ranked=ranked) for pair in read.pairs]
        return cls(request, segments, read.tokens, read.alone, read.lost, read.lost_context, read.cut, read.dropped)

    @property
    def order(self) -> list[bytes]:
        """Requests that begin alike stand side by side."""
        return [sort_key(segment.ids) for segment in self.segments]


class TorchLanguageModel:
    """A decoder with its tokenizer and prefix policy, as a `LanguageModel`; and as one that writes text as it comes.

    max_length: tokens that it attends over. ends: ids that end a text besides the tokenizer's end-of-text token.
    vocabulary: ids that the tokenizer can produce and the embedding has a row for.
    """

    def __init__(
        self,
        card: ModelCard,
        decoder: Decoder,
        tokenizer: Tokenizer,
        prefix: Prefix,
        options: OpenOptions,
        ends: frozenset[int] = frozenset(),
    ) -> None:
        if prefix.id is not None and prefix.id >= decoder.vocab_size:
            raise CheckpointError(
                f"{card.name}: its prefix has the token id {prefix.id:,}, and the embedding {decoder.vocab_size:,} "
                "rows; they are not of one model: choose another token with --prefix, or correct the folder"
            )
        self.card = card
        self._device = torch.device(options.device)
        self._decoder = decoder = through_onednn(decoder, self._device)
        self.tokenizer = tokenizer
        self.ends = ends
        self.max_length = decoder.max_length
        self.vocabulary = min(tokenizer.size, decoder.vocab_size)
        self.reader = Reader(tokenizer, prefix, decoder.max_length, decoder.vocab_size)
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
            yield from self._generations(by_kind[RequestKind.GENERATION])
            for request in by_kind[RequestKind.TIMING]:
                assert isinstance(request, Timing)
                yield [(request, time_generation(self._decoder, self.tokenizer, request, self._device))]

    def write(self, jobs: Sequence[Job]) -> Iterator[Sequence[tuple[Generation, Generated]]]:
        """Continue prompts in batches; see `tilbench.scoring.decode.generate`."""
        jobs = [self._ended(job) for job in jobs]
        with torch.inference_mode():
            yield from generate(self._decoder, self.tokenizer, jobs, self._device, self._budget.tokens)

    def stream(self, job: Job, show: Show) -> Generated:
        """Continue one prompt, and hand its text to `show` as it comes; see `tilbench.scoring.decode.stream`."""
        return self._streamer.stream(self._ended(job), show)

    def _ended(self, job: Job) -> Job:
        """Return a job that the model's own end tokens end too."""
        return replace(job, ends=job.ends | self.ends)

    @property
    def prefix(self) -> Prefix:
        """The token that stands before a text, and where."""
        return self.reader.prefix

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

    def _generations(self, requests: Sequence[Request]) -> Iterator[Sequence[tuple[Request, Answer]]]:
        read = list(self.reader.jobs([request for request in requests if isinstance(request, Generation)]))
        if refused := [(request, job) for request, job in read if isinstance(job, Unanswered)]:
            yield refused
        yield from self.write([job for _, job in read if isinstance(job, Job)])

    def _likelihoods(self, requests: Sequence[Request]) -> Iterator[Sequence[tuple[Request, Answer]]]:
        """Answer in groups, each computed to its end before the next, in an order that the requests alone decide.

        So a run that was killed between two groups finds the same groups again.
        """
        refused: list[tuple[Request, Answer]] = []
        planned: list[_Planned] = []
        for request, read in self.reader.likelihoods(requests):
            if isinstance(read, Unanswered):
                refused.append((request, read))
            else:
                planned.append(_Planned.of(request, read))
        if refused:
            yield refused
        planned.sort(key=lambda each: each.order)
        while planned:
            count = _group(planned, self._group_tokens)
            group, planned = planned[:count], planned[count:]
            scored = iter(self._scorer.score([segment for each in group for segment in each.segments]))
            yield [(each.request, self._answer(each, list(islice(scored, len(each.segments))))) for each in group]

    def _answer(self, planned: _Planned, scored: Sequence[Scored]) -> Answer:
        """Sum up the windows of a request.

        A token that nothing stands before costs log2(vocabulary size) bits, a lost byte 8. Greedy decoding gives no
        text with either.
        """
        charged = planned.alone * math.log(self.vocabulary) + planned.lost * LOST_NATS
        logprob = sum(each.logprob for each in scored) - charged
        how = {name: getattr(planned, name) for name in ("lost", "lost_context", "cut", "dropped")}
        if isinstance(planned.request, NextWord):
            rank, tied = (self.vocabulary, 0) if planned.lost else (scored[0].rank, scored[0].tied)
            return Ranked(rank, logprob, planned.tokens, tied=tied, **how)
        greedy = not charged and all(each.greedy for each in scored)
        return Likelihood(logprob, planned.tokens, greedy, **how, windows=max(1, len(planned.segments)))


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

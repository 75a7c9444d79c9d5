"""Answers requests with a causal decoder on a device, in batches of similar length and bounded memory.

Every decoder here is causal, so padding on the right changes nothing to its left, and inputs that are equal are
computed once: the letters of a question's options are one forward pass.
"""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch

from tilbench.errors import DataError, TilbenchError, Unsupported
from tilbench.kinds.architecture import Decoder
from tilbench.kinds.language_model import ModelCard, OpenOptions
from tilbench.kinds.requests import (
    Answer,
    Continuation,
    Document,
    Generation,
    Likelihood,
    NextWord,
    Ranked,
    Request,
    RequestKind,
    TokenIds,
    Tokens,
)
from tilbench.kinds.tokenizer import Tokenizer
from tilbench.scoring.chunked import token_logprobs
from tilbench.scoring.generate import generate
from tilbench.scoring.prefix import Prefix
from tilbench.scoring.windows import windows

__all__ = ["SUPPORTED", "TorchLanguageModel"]

SUPPORTED = frozenset(RequestKind)
_TEXTS = 256
"""Texts encoded at a time."""


@dataclass(slots=True)
class _Scored:
    """A likelihood under way. segments: `(context ids, target ids)` of each forward pass that it takes."""

    request: Request
    segments: list[tuple[list[int], list[int]]]
    logprob: float = 0.0
    greedy: bool = True

    @property
    def tokens(self) -> int:
        return sum(len(targets) for _, targets in self.segments)

    @property
    def order(self) -> tuple[int, list[tuple[list[int], list[int]]]]:
        """Longest first, and the requests about one context side by side."""
        return -max((len(context) + len(targets) for context, targets in self.segments), default=0), self.segments


@dataclass(slots=True)
class _Pass:
    """One input sequence; wanted: `(position, id it must predict, for whom)`."""

    ids: tuple[int, ...]
    wanted: list[tuple[int, int, _Scored]] = field(default_factory=list)


class TorchLanguageModel:
    """A decoder with its tokenizer and prefix policy, as a `LanguageModel`."""

    def __init__(
        self, card: ModelCard, decoder: Decoder, tokenizer: Tokenizer, prefix: Prefix, options: OpenOptions
    ) -> None:
        if tokenizer.size > decoder.vocab_size:
            raise TilbenchError(
                f"{card.name}: the tokenizer has {tokenizer.size:,} ids and the embedding {decoder.vocab_size:,} rows; "
                "they are not of one model"
            )
        self.card = card
        self._decoder = decoder
        self._tokenizer = tokenizer
        self._prefix = prefix
        self._device = torch.device(options.device)
        self._batch_tokens = options.batch_tokens

    def answer(self, requests: Sequence[Request]) -> Iterator[Sequence[tuple[Request, Answer]]]:
        """Answer each request once, in batches, the longest inputs first."""
        by_kind: dict[RequestKind, list[Request]] = defaultdict(list)
        for request in requests:
            by_kind[request.kind].append(request)
        with torch.inference_mode():
            yield from self._tokens(by_kind[RequestKind.TOKENS])
            yield from self._likelihoods(by_kind[RequestKind.CONTINUATION] + by_kind[RequestKind.DOCUMENT])
            for request in by_kind[RequestKind.NEXT_WORD]:
                yield [(request, self._rank(request))]
            for request in by_kind[RequestKind.GENERATION]:
                assert isinstance(request, Generation)
                prompt = self._prefixed(request.prompt)
                yield [(request, generate(self._decoder, self._tokenizer, prompt, request, self._device))]

    def _tokens(self, requests: Sequence[Request]) -> Iterator[Sequence[tuple[Request, Answer]]]:
        tokenizer = self._tokenizer
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

    def _prefixed(self, context: str) -> list[int]:
        ids = self._tokenizer.encode(context)
        head = [self._prefix.id] if self._prefix.id is not None and (self._prefix.contexts or not ids) else []
        return head + ids

    def _split(self, context: str, continuation: str) -> tuple[list[int], list[int]]:
        """Return ids of the context (prefix included) and of the continuation.

        Both are cut from the encoding of the whole, so that a token never depends on where the cut is; spaces
        at the end of the context go to the continuation. The rule is lm-evaluation-harness's.
        """
        stripped = context.rstrip()
        context, continuation = stripped, context[len(stripped) :] + continuation
        whole = self._tokenizer.encode(context + continuation)
        cut = len(self._tokenizer.encode(context))
        head = [self._prefix.id] if self._prefix.id is not None and (self._prefix.contexts or not cut) else []
        if not whole[cut:]:
            raise DataError(f"the continuation {continuation!r} has no token of its own after {context[-40:]!r}")
        return head + whole[:cut], whole[cut:]

    def _likelihoods(self, requests: Sequence[Request]) -> Iterator[Sequence[tuple[Request, Answer]]]:
        """Answer in groups, each computed to its end before the next, in an order that the requests alone decide.

        So a run that was killed between two groups finds the same groups again.
        """
        scored = sorted(
            (_Scored(request, self._segments(request)) for request in requests), key=lambda each: each.order
        )
        while scored:
            width = -scored[0].order[0]
            passes = 0
            for count, each in enumerate(scored, start=1):  # noqa: B007
                passes += len(each.segments)
                if passes * width >= self._batch_tokens:
                    break
            group, scored = scored[:count], scored[count:]
            self._run(group)
            yield [(each.request, Likelihood(each.logprob, each.tokens, each.greedy)) for each in group]

    def _segments(self, request: Request) -> list[tuple[list[int], list[int]]]:
        """Return `(context ids, target ids)` of each forward pass that a request takes."""
        limit = self._decoder.max_length
        if isinstance(request, Continuation):
            context, targets = self._split(request.context, request.continuation)
            if len(targets) > limit:  # more than one pass: each token after as much text as fits
                return windows(targets, context[-1] if context else None, limit)
            if not context:
                context, targets = targets[:1], targets[1:]
            return [(context[-(limit + 1 - len(targets)) :], targets)]
        assert isinstance(request, Document)
        window = min(request.window or limit, limit)
        return windows(self._tokenizer.encode(request.text), self._prefix.id, window, request.overlap)

    def _run(self, group: Sequence[_Scored]) -> None:
        """Compute a group's log-probabilities; equal inputs are computed once."""
        distinct: dict[tuple[int, ...], _Pass] = {}
        for each in group:
            for context, targets in each.segments:
                ids = tuple((context + targets)[:-1])
                entry = distinct.setdefault(ids, _Pass(ids))
                first = len(context) - 1
                entry.wanted += [(first + place, target, each) for place, target in enumerate(targets)]
        passes = sorted(distinct.values(), key=lambda entry: (-len(entry.ids), entry.ids))
        start = 0
        while start < len(passes):
            rows = max(1, self._batch_tokens // len(passes[start].ids))
            batch = passes[start : start + rows]
            try:
                logprobs, greedy = self._forward(batch)
            except torch.OutOfMemoryError:
                self._shrink(rows, len(batch[0].ids))
                continue
            start += len(batch)
            owners = [each for entry in batch for _, _, each in entry.wanted]
            for each, logprob, best in zip(owners, logprobs, greedy, strict=True):
                each.logprob += logprob
                each.greedy &= best

    def _shrink(self, rows: int, width: int) -> None:
        if rows == 1:
            raise Unsupported(f"{self.card.name}: one sequence of {width} tokens does not fit into memory")
        self._batch_tokens = max(1, rows // 2 * width)
        warnings.warn(f"out of memory: going on with {self._batch_tokens} tokens a batch", stacklevel=3)

    def _forward(self, batch: Sequence[_Pass]) -> tuple[list[float], list[bool]]:
        width = len(batch[0].ids)
        ids = torch.zeros(len(batch), width, dtype=torch.long)
        for row, entry in enumerate(batch):
            ids[row, : len(entry.ids)] = torch.tensor(entry.ids)
        hidden = self._decoder.hidden(ids.to(self._device))  # [B, T, D]
        rows = torch.tensor([row for row, entry in enumerate(batch) for _ in entry.wanted])
        places = torch.tensor([place for entry in batch for place, _, _ in entry.wanted])
        targets = torch.tensor([target for entry in batch for _, target, _ in entry.wanted])
        wanted = hidden[rows.to(self._device), places.to(self._device)]  # [N, D]
        logprobs, greedy = token_logprobs(self._decoder.project, wanted, targets.to(self._device))
        return logprobs.double().tolist(), greedy.tolist()

    def _rank(self, request: Request) -> Ranked:
        assert isinstance(request, NextWord)
        context, targets = self._split(request.context, f" {request.target}")
        context = context[-(self._decoder.max_length + 1 - len(targets)) :]
        ids = torch.tensor([(context + targets)[:-1]], device=self._device)
        hidden = self._decoder.hidden(ids)[0, len(context) - 1 :]  # [targets, D]
        first = self._decoder.project(hidden[:1])[0].float()  # [V]
        rank = int((first > first[targets[0]]).sum()) + 1
        logprobs, _ = token_logprobs(self._decoder.project, hidden, torch.tensor(targets, device=self._device))
        return Ranked(rank, float(logprobs.double().sum()), len(targets))

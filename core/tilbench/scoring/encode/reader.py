"""How the text of a request becomes the tokens that a model reads: what stands before it, and what does not fit.

It needs a tokenizer and no weights, so a dry run can say what a run will leave out. `docs/scoring.md` states the rules.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Protocol, runtime_checkable

from tilbench.kinds.language_model import OpenOptions
from tilbench.kinds.requests import Continuation, Document, Generation, Request, RequestKind, Unanswered
from tilbench.kinds.tokenizer import Tokenizer
from tilbench.scoring.decode.generate import Job, least, shorten
from tilbench.scoring.encode.lost import lost_bytes
from tilbench.scoring.encode.prefix import Prefix
from tilbench.scoring.encode.split import Ids, Question, Split, encoded, split_conversations, split_texts, without
from tilbench.scoring.encode.windows import windows

__all__ = ["Read", "Reader", "ReadsTokens", "beyond"]

_TEXTS = 256
"""Requests whose texts are encoded at a time."""

Pair = tuple[Ids, Ids]
"""A context and what is scored after it, in one window."""


@dataclass(frozen=True, slots=True)
class Read:
    """The tokens of a request for a likelihood.

    pairs: contexts and targets, one pair for each window. tokens: how many are scored. alone: the first of them has no
    token before it; it is in no pair, and costs log2(vocabulary size) bits. lost, lost_context, cut, dropped: as in
    `Likelihood`.
    """

    pairs: Sequence[Pair]
    tokens: int
    alone: bool
    lost: int
    lost_context: int = 0
    cut: int = 0
    dropped: int = 0


@dataclass(frozen=True, slots=True)
class _Shown:
    """What is shown of a context: ids for each continuation, prefix included."""

    split: Split
    contexts: Sequence[Ids]
    lost_context: int
    cut: int = 0
    dropped: int = 0


class Reader:
    """Turns requests into tokens for a model of `length` tokens whose embedding has `rows` rows.

    Few-shot examples are left out before anything else. A request is read by itself: what is asked beside it changes
    nothing.
    """

    def __init__(self, tokenizer: Tokenizer, prefix: Prefix, length: int, rows: int) -> None:
        self.tokenizer = tokenizer
        self.prefix = prefix
        self.length = length
        self.rows = rows

    def likelihoods(self, requests: Sequence[Request]) -> Iterator[tuple[Request, Read | Unanswered]]:
        """Yield the tokens of each `Continuation`, `NextWord` and `Document`; a text of several is encoded once."""
        for start in range(0, len(requests), _TEXTS):
            batch = requests[start : start + _TEXTS]
            questions = {each: Question.of(each) for each in batch if not isinstance(each, Document)}
            texts = [each.text for each in batch if isinstance(each, Document)]
            plain = [each for each in dict.fromkeys(questions.values()) if each.exchange is None]
            spoken = [each for each in dict.fromkeys(questions.values()) if each.exchange is not None]
            for question in plain:
                context, scored = question.parts()
                texts += [context, *(context + each for each in scored)]
            ids = encoded(self.tokenizer, texts)
            shown = {question: self._shown(question, self._split(question, 0, ids)) for question in plain}
            for question, split in zip(spoken, split_conversations(self.tokenizer, spoken), strict=True):
                shown[question] = self._shown(question, split)
            for request in batch:
                if isinstance(request, Document):
                    yield request, self._document(request, ids[request.text])
                else:
                    yield request, self._continuation(request, questions[request], shown[questions[request]])

    def jobs(self, requests: Sequence[Generation]) -> Iterator[tuple[Generation, Job | Unanswered]]:
        """Yield the prompt of each request as a job of the generator."""
        for start in range(0, len(requests), _TEXTS):
            batch = requests[start : start + _TEXTS]
            ids = encoded(self.tokenizer, [request.prompt for request in batch])
            for request in batch:
                yield request, self._job(request, ids[request.prompt])

    def _head(self, ids: Ids) -> Ids:
        """Return what stands before the ids of a context: the prefix, where the policy has it or there is no text."""
        return [self.prefix.id] if self.prefix.id is not None and (self.prefix.contexts or not ids) else []

    def _before(self, split: Split) -> Ids:
        """Return what stands before a context; a template may begin with the prefix, which is then not put twice."""
        head, ids = self._head(split.contexts[0]), split.contexts[0]
        return [] if split.spoken and ids[:1] == head else head

    def _document(self, request: Document, ids: Ids) -> Read | Unanswered:
        if reason := beyond(ids, self.rows):
            return Unanswered(reason)
        window = min(request.window or self.length, self.length)
        each = request.prefix_each_window and self.prefix.id is not None
        if request.overlap + each > window:
            more = " and the prefix" if each else ""
            return Unanswered(
                f"an overlap of {request.overlap} tokens{more} does not fit into {window} tokens", too_long=True
            )
        pairs = windows(ids, self.prefix.id, window, request.overlap, prefix_each=each)
        alone = bool(ids) and self.prefix.id is None
        return Read(pairs, len(ids), alone, lost_bytes(self.tokenizer, request.text, ids))

    def _continuation(self, request: Request, question: Question, shown: _Shown | Unanswered) -> Read | Unanswered:
        if isinstance(shown, Unanswered):
            return shown
        split = shown.split
        wanted = request.continuation if isinstance(request, Continuation) else question.continuations[0]
        place = question.continuations.index(wanted)
        context, targets = shown.contexts[place], split.targets[place]
        if reason := beyond(context, self.rows) or beyond(targets, self.rows):
            return Unanswered(reason)
        if not targets and not (question.exchange and question.exchange.end):
            return Unanswered("the continuation has no token of its own")
        alone = bool(targets) and not context
        if alone and request.kind is RequestKind.NEXT_WORD:
            return Unanswered("the context is empty, and the model has no prefix token")
        if not targets:
            pairs = []
        elif len(targets) > self.length:  # more than one pass: each token after as much text as fits
            pairs = windows(targets, context[-1] if context else None, self.length)
        elif alone:
            pairs = [(targets[:1], targets[1:])] if targets[1:] else []
        else:
            pairs = [(context, targets)]
        lost = split.lost(self.tokenizer, place)
        return Read(pairs, len(targets), alone, lost, shown.lost_context, shown.cut, shown.dropped)

    def _split(self, question: Question, dropped: int, ids: Mapping[str, Ids]) -> Split:
        return split_texts(self.tokenizer, *question.parts(dropped), ids)

    def _shown(self, question: Question, whole: Split) -> _Shown | Unanswered:
        """Return what is shown of a context: all of it, or without the fewest examples, or with text cut as well."""
        if self._fits(whole):
            return self._as_shown(whole, whole.contexts)
        split, dropped = self._dropped(question, whole)
        head = self._before(split)
        room = self.length + 1 - min(split.longest, self.length)
        instruction = self._instruction(split.text[: question.keep], split.contexts[0])
        kept = instruction + (1 if split.spoken else len(head))
        if len(head) + split.size > room and instruction and kept >= room:
            return Unanswered(
                f"the instruction of {instruction:,} tokens and an answer of {split.longest:,} leave no room for the "
                f"question in {self.length:,} tokens",
                too_long=True,
            )
        contexts = [shorten(head + context, room, kept)[len(head) :] for context in split.contexts]
        return self._as_shown(split, contexts, split.size - len(contexts[0]), dropped)

    def _fits(self, split: Split) -> bool:
        return len(self._before(split)) + split.size + split.longest - 1 <= self.length

    def _as_shown(self, split: Split, contexts: Sequence[Ids], cut: int = 0, dropped: int = 0) -> _Shown:
        head = self._before(split)
        lost = split.lost_context(self.tokenizer)
        return _Shown(split, [head + each for each in contexts] if head else contexts, lost, cut, dropped)

    def _dropped(self, question: Question, whole: Split) -> tuple[Split, int]:
        """Return the split without the fewest examples that lets it fit, or without any, and how many those are."""

        @cache
        def left(count: int) -> Split:
            context, scored = question.parts(count)
            texts = [context, *(context + each for each in scored)]
            return self._split(question, count, encoded(self.tokenizer, texts))

        dropped = _fewest(len(question.optional), lambda count: self._fits(left(count)))
        return (left(dropped) if dropped else whole), dropped

    def _instruction(self, text: str, ids: Ids) -> int:
        """Return how many of the first ids are those of an instruction, the text before what may be cut."""
        own = self.tokenizer.encode(text) if text else []
        same = (place for place, (one, other) in enumerate(zip(own, ids, strict=False)) if one != other)
        return next(same, min(len(own), len(ids)))

    def _job(self, request: Generation, ids: Ids) -> Job | Unanswered:
        """Return the job of a request whose prompt has the ids `ids`; `generate.fit` cuts what is still too long."""
        head = self._head(ids)
        if reason := beyond(ids, self.rows):
            return Unanswered(reason)
        if not head + ids:
            return Unanswered("the prompt is empty, and the model has no prefix token to go on from")
        room = self.length - least(request.decoding.max_new_tokens, self.length)
        if len(head) + len(ids) <= room:
            return Job(request, head + ids, kept=len(head), lost=lost_bytes(self.tokenizer, request.prompt, ids))

        @cache
        def left(count: int) -> tuple[str, Ids]:
            text = without(request.prompt, request.optional[:count])
            return text, self.tokenizer.encode(text)

        dropped = _fewest(len(request.optional), lambda count: len(head) + len(left(count)[1]) <= room)
        text, ids = left(dropped)
        instruction = self._instruction(text[: request.keep], ids)
        if len(head) + len(ids) > room and instruction and len(head) + instruction >= room:
            return Unanswered(
                f"the instruction of {instruction:,} tokens leaves no room for the question in {self.length:,} tokens, "
                f"of which {self.length - room:,} are kept for the answer",
                too_long=True,
            )
        if not head and not (ids or (head := self._head(ids))):
            return Unanswered(
                "nothing of the prompt fits, and the model has no prefix token to go on from", too_long=True
            )
        lost = lost_bytes(self.tokenizer, text, ids)
        return Job(request, head + ids, kept=len(head) + instruction, dropped=dropped, lost=lost)


@runtime_checkable
class ReadsTokens(Protocol):
    """What a loader is besides (`tilbench.kinds.language_model.Loader`) whose models read tokens."""

    def reader(self, reference: str, options: OpenOptions) -> Reader:
        """Return how the model reads text, without loading weights. A dry run says by it what does not fit."""


def beyond(ids: Sequence[int], rows: int) -> str:
    """Return, as a reason, that one of the ids has no row in an embedding of `rows` rows; empty where all have one."""
    highest = max(ids, default=0)
    return f"its text has the token id {highest:,}, and the embedding {rows:,} rows" if highest >= rows else ""


def _fewest(most: int, fits: Callable[[int], bool]) -> int:
    """Return the fewest examples, of `most`, without which a text fits; all where it never does."""
    return min(most, 1 + bisect_left(range(1, most + 1), True, key=fits)) if most else 0

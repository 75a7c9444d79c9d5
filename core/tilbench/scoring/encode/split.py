"""Texts of requests as token ids: what is context, what is scored, and what of both the ids do not reproduce."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tilbench.kinds.requests import Continuation, Exchange, NextWord, Request, Spans
from tilbench.kinds.tokenizer import Tokenizer
from tilbench.scoring.encode.chat import exchange_ids
from tilbench.scoring.encode.lost import lost_after, lost_bytes

__all__ = ["Ids", "Question", "Split", "encoded", "split_conversations", "split_texts", "without"]

Ids = list[int]


@dataclass(frozen=True, slots=True)
class Question:
    """A context with the continuations that are compared after it. All of them are shown the same of it."""

    context: str
    continuations: tuple[str, ...]
    optional: Spans = ()
    keep: int = 0
    exchange: Exchange | None = None

    @classmethod
    def of(cls, request: Request) -> Question:
        """Return the question that a request is one continuation of."""
        if isinstance(request, NextWord):
            return cls(request.context, (f" {request.target}",))
        assert isinstance(request, Continuation)
        beside = request.beside
        if request.continuation not in beside:
            beside = (*beside, request.continuation)
        return cls(request.context, beside, request.optional, request.keep, request.exchange)

    def parts(self, dropped: int = 0) -> tuple[str, Sequence[str]]:
        """Return the context without its first `dropped` optional spans, and the texts that are scored after it.

        White space at the end of the context goes to the texts after it, as in lm-evaluation-harness.
        """
        context = without(self.context, self.optional[:dropped])
        stripped = context.rstrip()
        return stripped, [context[len(stripped) :] + each for each in self.continuations]


@dataclass(frozen=True, slots=True)
class Split:
    """The ids of a question, without a prefix: contexts and targets, one of each for a continuation.

    The contexts are ids of one text, and as many; only a tokenizer without pre-tokenizer may give that text other ids
    where something else follows. losses: lost bytes of target and context, of a conversation.
    """

    text: str
    scored: Sequence[str]
    contexts: Sequence[Ids]
    targets: Sequence[Ids]
    losses: tuple[int, int] | None = None

    @property
    def spoken(self) -> bool:
        """Whether it is of a conversation, whose ids begin as its template does."""
        return self.losses is not None

    @property
    def size(self) -> int:
        """Tokens of the context."""
        return len(self.contexts[0])

    @property
    def longest(self) -> int:
        """Tokens of the longest target."""
        return max(map(len, self.targets))

    def lost(self, tokenizer: Tokenizer, place: int) -> int:
        """Return the UTF-8 bytes of a scored text that its ids do not reproduce."""
        text, context, targets = self.scored[place], self.contexts[place], self.targets[place]
        if self.losses is not None:
            return self.losses[0]
        return lost_after(tokenizer, text, context + targets, len(context))

    def lost_context(self, tokenizer: Tokenizer) -> int:
        """Return the UTF-8 bytes of the context that its ids do not reproduce."""
        return lost_bytes(tokenizer, self.text, self.contexts[0]) if self.losses is None else self.losses[1]


def encoded(tokenizer: Tokenizer, texts: Sequence[str]) -> dict[str, Ids]:
    """Return the ids of each text, which is encoded once."""
    distinct = list(dict.fromkeys(texts))
    return dict(zip(distinct, tokenizer.encode_batch(distinct), strict=True))


def without(text: str, spans: Spans) -> str:
    """Return a text without some spans of it, which are in order."""
    ends = [0, *(end for _, end in spans)]
    begins = [*(begin for begin, _ in spans), len(text)]
    return "".join(text[end:begin] for end, begin in zip(ends, begins, strict=True))


def split_texts(tokenizer: Tokenizer, text: str, scored: Sequence[str], ids: Mapping[str, Ids]) -> Split:
    """Cut the encodings of a context with each text after it at the join; `ids` has them, and those of the context.

    Cutting the encoding of both together is lm-evaluation-harness's rule. Where a token spans the join it would give
    away the beginning of what is scored, or all of it. So where one of the texts has such a token, all of them are
    encoded apart from the context, and are compared as equals.
    """
    before, wholes = ids[text], [ids[text + each] for each in scored]
    size = len(before)
    contexts = [before if whole[:size] == before else whole[:size] for whole in wholes]
    meaning = "" if all(each is before for each in contexts) else tokenizer.decode(before)
    if all(each is before or tokenizer.decode(each) == meaning for each in contexts) and all(
        len(whole) > size or not each for whole, each in zip(wholes, scored, strict=True)
    ):
        return Split(text, scored, contexts, [whole[size:] for whole in wholes])
    targets = [_alone(tokenizer, before, *pair) for pair in zip(scored, wholes, strict=True)]
    return Split(text, scored, [before] * len(scored), targets)


def _alone(tokenizer: Tokenizer, before: Ids, text: str, whole: Ids) -> Ids:
    """Return the ids of a text that is encoded alone.

    A tokenizer may put a space of its own before every text. It then stands for the first one of this text.
    """
    ids = tokenizer.encode(text)
    both = tokenizer.decode(whole)
    if text.startswith(" ") and tokenizer.decode(before + ids) != both:
        other = tokenizer.encode(text[1:])
        if tokenizer.decode(before + other) == both:
            return other
    return ids


def split_conversations(tokenizer: Tokenizer, questions: Sequence[Question]) -> list[Split]:
    """Return the ids of answers and of what was said before. Marks of the template are no text that could be lost."""
    exchanges = [question.exchange for question in questions if question.exchange is not None]
    contents = {content for exchange in exchanges for _, content in exchange.turns}
    lost = {content: lost_bytes(tokenizer, content, tokenizer.encode(content)) for content in contents}
    splits: list[Split] = []
    for question, exchange, (context, targets) in zip(
        questions, exchanges, exchange_ids(tokenizer, exchanges), strict=True
    ):
        before = exchange.turns if exchange.end else exchange.turns[:-1]
        answer = 0 if exchange.end else lost[exchange.turns[-1][1]]
        losses = (answer, sum(lost[content] for _, content in before))
        splits.append(Split(*question.parts(), [context], [targets], losses=losses))
    return splits

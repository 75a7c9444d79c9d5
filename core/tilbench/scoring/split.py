"""Texts of requests as token ids: what is context, what is scored, and what of both the ids do not reproduce."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from tilbench.kinds.requests import Continuation, Document, Exchange, Request, Unanswered, split_text
from tilbench.kinds.tokenizer import Tokenizer
from tilbench.scoring.chat import exchange_ids
from tilbench.scoring.lost import lost_after, lost_bytes

__all__ = ["Split", "beyond", "exchange_of", "splits"]


@dataclass(frozen=True, slots=True)
class Split:
    """A request's ids, without a prefix: those of its context and the `targets` whose likelihood is asked for.

    lost, lost_context: UTF-8 bytes of the scored text and of the context that the ids do not reproduce.
    """

    context: Sequence[int]
    targets: Sequence[int]
    lost: int = 0
    lost_context: int = 0


def splits(tokenizer: Tokenizer, requests: Sequence[Request], rows: int) -> Iterator[Split | Unanswered]:
    """Yield the ids of each request, or why a model of `rows` embedding rows cannot answer it.

    Context and continuation are cut from the encoding of both together, so that no token depends on where the cut is.
    The rule is lm-evaluation-harness's. Where a token spans the cut, it would give away the beginning of the
    continuation, or all of it, so there the continuation is encoded alone. A conversation has the ids of fine-tuning.
    """
    plain = iter(_texts(tokenizer, [request for request in requests if exchange_of(request) is None]))
    spoken = iter(_conversations(tokenizer, [found for each in requests if (found := exchange_of(each)) is not None]))
    for request in requests:
        exchange = exchange_of(request)
        split = next(plain if exchange is None else spoken)
        may_be_empty = isinstance(request, Document) or (exchange is not None and exchange.end)
        if reason := beyond([*split.context, *split.targets], rows):
            yield Unanswered(reason)
        elif not split.targets and not may_be_empty:
            yield Unanswered("the continuation has no token of its own")
        else:
            yield split


def exchange_of(request: Request) -> Exchange | None:
    """Return the conversation that a request is about, if it is about one."""
    return request.exchange if isinstance(request, Continuation) else None


def beyond(ids: Sequence[int], rows: int) -> str:
    """Return, as a reason, that one of the ids has no row in an embedding of `rows` rows; empty where all have one."""
    highest = max(ids, default=0)
    return f"its text has the token id {highest:,}, and the embedding {rows:,} rows" if highest >= rows else ""


def _texts(tokenizer: Tokenizer, requests: Sequence[Request]) -> Iterator[Split]:
    texts = [split_text(request) for request in requests]
    wanted = dict.fromkeys(part for context, text in texts for part in (context, context + text))
    ids = dict(zip(wanted, tokenizer.encode_batch(list(wanted)), strict=True))
    lost = {context: lost_bytes(tokenizer, context, ids[context]) for context in dict.fromkeys(c for c, _ in texts)}
    for context, text in texts:
        yield _split(tokenizer, context, text, ids, lost[context])


def _split(tokenizer: Tokenizer, context: str, text: str, ids: Mapping[str, list[int]], lost_context: int) -> Split:
    before, whole = ids[context], ids[context + text]
    cut = len(before)
    if whole[:cut] == before and len(whole) > cut:
        return Split(before, whole[cut:], lost_after(tokenizer, text, whole, cut), lost_context)
    if len(whole) > cut and tokenizer.decode(whole[:cut]) == tokenizer.decode(before):  # other tokens of the same text
        return Split(whole[:cut], whole[cut:], lost_after(tokenizer, text, whole, cut), lost_context)
    alone = tokenizer.encode(text)
    return Split(before, alone, lost_bytes(tokenizer, text, alone), lost_context)


def _conversations(tokenizer: Tokenizer, exchanges: Sequence[Exchange]) -> Iterator[Split]:
    """Yield the ids of answers and of what was said before. Marks of the template are no text that could be lost."""
    contents = {content for exchange in exchanges for _, content in exchange.turns}
    lost = {content: lost_bytes(tokenizer, content, tokenizer.encode(content)) for content in contents}
    for exchange, (context, targets) in zip(exchanges, exchange_ids(tokenizer, exchanges), strict=True):
        before = exchange.turns if exchange.end else exchange.turns[:-1]
        answer = 0 if exchange.end else lost[exchange.turns[-1][1]]
        yield Split(context, targets, answer, sum(lost[content] for _, content in before))

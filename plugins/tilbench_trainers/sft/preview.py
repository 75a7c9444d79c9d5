"""Shows what a model would learn from conversations, token by token, before anything is trained."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby

from tilbench.data.rows import Conversation
from tilbench.errors import DataError
from tilbench.kinds.tokenizer import Tokenizer
from tilbench_trainers.sft.batches import ChatBatches
from tilbench_trainers.sft.examples import Encoder, Example, Examples

__all__ = ["MASKED", "checked", "preview", "shown"]

MASKED = ("⟦", "⟧")
"""Around what is read and not learned."""
_SAMPLES = 2
"""Examples of each source that are shown."""


def preview(
    tokenizer: Tokenizer,
    encoder: Encoder,
    sources: Mapping[str, tuple[Sequence[Conversation], Examples]],
    batches: ChatBatches,
) -> Iterator[str]:
    """Yield lines: what became of each source, its first examples with the masked text marked, the rows of an epoch.

    Raises DataError where the learned tokens of any example are not its answers.
    """
    marks = ", ".join(encoder.marks) or "none"
    yield f"template {encoder.template.name}; marks that are special tokens: {marks}"
    yield f"{MASKED[0]}masked{MASKED[1]} is read and not learned; all else is learned"
    for name, (conversations, examples) in sources.items():
        yield f"\n{name}: {len(conversations):,} conversations → {examples}; {batches.epoch_rows().get(name, 0):,} rows"
        rows = {row.id: row for row in conversations}
        for example in examples.found:
            checked(tokenizer, encoder, rows[example.id], example)
        for example in examples.found[:_SAMPLES]:
            tokens = f"{len(example.ids):,} tokens, {int(example.learned.sum()):,} learned"
            cut = f", {example.cut:,} cut from the prompt" if example.cut else ""
            yield f"\n{example.id} ({tokens}{cut})"
            yield shown(tokenizer, example)
    steps = sum(batches.epoch_rows().values()) / batches.rows
    yield f"\n{batches.rows:,} rows a step; all rows once are {steps:,.1f} steps"


def shown(tokenizer: Tokenizer, example: Example) -> str:
    """Return the example's text with special tokens spelled out and what is masked between `MASKED`."""
    runs = groupby(zip(example.ids.tolist(), example.learned.tolist(), strict=True), key=lambda token: token[1])
    texts = []
    for learned, tokens in runs:
        text = _spelled(tokenizer, [token for token, _ in tokens])
        texts.append(text if learned else text.join(MASKED))
    return "".join(texts)


def checked(tokenizer: Tokenizer, encoder: Encoder, row: Conversation, example: Example) -> None:
    """Raise DataError unless the example's learned tokens are answers of the conversation, whole, up to its last.

    Both are compared as the tokenizer writes them back, since a tokenizer may not keep every space.
    """
    turns = row.messages
    while turns[-1][0] != "assistant":
        turns = turns[:-1]
    wanted = [answer for _, answer in encoder.template.answers(turns)]
    ids, learned = example.ids.tolist(), example.learned.tolist()
    runs = groupby(zip(ids, learned, strict=True), key=lambda token: token[1])
    found = [tokenizer.decode([token for token, _ in tokens]) for is_learned, tokens in runs if is_learned]
    ends = {"", encoder.template.end}
    for answer, text in zip(reversed(wanted), reversed(found), strict=False):
        if text not in {tokenizer.decode(tokenizer.encode(answer)) + end for end in ends}:
            raise DataError(f"row {row.id!r}: {text!r} would be learned, and the answer is {answer!r}")
    if not found:
        raise DataError(f"row {row.id!r}: no token of it would be learned")


def _spelled(tokenizer: Tokenizer, ids: Sequence[int]) -> str:
    special = tokenizer.special
    names = {number: name for name, number in special.named.items()}
    roles = {"bos": special.bos, "eos": special.eos, "pad": special.pad}
    names = {number: f"<{role}>" for role, number in roles.items() if number is not None} | names
    runs = groupby(ids, key=lambda token: token if token in names else None)
    return "".join(
        names[token] * len(list(run)) if token is not None else tokenizer.decode(list(run)) for token, run in runs
    )

"""What of a row is looked for in a training text."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import fields

from tilbench.data.rows import Conversation, Item, Pair, Probe, Prompt, Question, Reading, Row

__all__ = ["NamedText", "parts", "texts"]

NamedText = tuple[str, str]
"""Name of a part of an item, and a text that it may stand in a corpus as."""

_NOT_CONTENT = frozenset({"id", "source", "subject", "label"})


def parts(row: Row) -> list[NamedText]:
    """Return the parts of a row with their texts; a part may have several, any of which counts.

    documents, labelled: the text. prompts and probes: the prompt with its reference or target, since a prompt alone
    gives nothing away. conversations: the turns in order. pairs: `source` and `target` apart, since a corpus of one
    language may hold one of them. questions: `question` with its choices – plain, with letters before them as exams
    print them, and with the right one alone – and the `passage` apart: many passages are public texts. readings: the
    `question` with each accepted answer, and the `context` apart. items of another harness: every text of theirs.
    """
    match row:
        case Question():
            lettered = (f"{chr(ord('A') + place % 26)} {choice}" for place, choice in enumerate(row.choices))
            printed = (row.choices, lettered, [row.choices[row.answer]])
            found = [("question", " ".join([row.question, *each])) for each in printed]
            return [*found, ("passage", row.passage)] if row.passage else found
        case Reading():
            answered = [("question", f"{row.question} {answer}") for answer in row.answers]
            return [*answered, ("context", row.context)]
        case Item():
            return [("text", " ".join(texts(json.loads(row.content))))]
        case Pair():
            return [("source", row.source), ("target", row.target)]
        case Prompt():
            return [("prompt", f"{row.prompt} {row.reference}")]
        case Probe():
            return [("prompt", f"{row.prompt} {row.target}")]
        case Conversation():
            return [("conversation", " ".join(content for _, content in row.messages))]
        case _:
            values = (getattr(row, each.name) for each in fields(row) if each.name not in _NOT_CONTENT)
            return [("text", " ".join(value for value in values if isinstance(value, str)))]


def texts(value: object) -> Iterator[str]:
    """Yield every text in nested lists and mappings, in order."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        yield from texts(list(value.values()))
    elif isinstance(value, list | tuple):
        for each in value:
            yield from texts(each)

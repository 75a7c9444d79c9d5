"""Which rows of a dataset are trained on: split, filtered, without duplicates, with a share of them held out."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias, TypeVar

from tilbench.config.model import Data
from tilbench.data.rows import Conversation, Document

__all__ = ["Selection", "TrainingRow", "is_held_out", "paragraphs", "select_rows"]

TrainingRow: TypeAlias = Document | Conversation
_RowT = TypeVar("_RowT", Document, Conversation)

_BLANK = re.compile(r"\n[^\S\n]*(?:\n[^\S\n]*)+")
_SCALE = 1 << 64


@dataclass(frozen=True, slots=True)
class Selection:
    """The rows to train on and those held out. dropped: what was left out, in words → how many rows."""

    train: Sequence[Document] | Sequence[Conversation]
    heldout: Sequence[Document] | Sequence[Conversation]
    dropped: dict[str, int]


def select_rows(rows: Sequence[_RowT], data: Data) -> Selection:
    """Apply what a source of the mix asks for, in this order.

    Duplicates go first, then rows are held out by a hash of their ids, then documents are split, and what is too
    short is left out: so no paragraph of a held-out document is trained on, and an id decides alone, whatever rows
    are added later. After splitting, duplicates are looked for again, those of held-out paragraphs too.
    """
    dropped: dict[str, int] = {}
    kept = _unique(rows, dropped) if data.deduplicate else list(rows)
    heldout = [row for row in kept if is_held_out(row.id, data.validation_ratio)]
    train = [row for row in kept if not is_held_out(row.id, data.validation_ratio)]
    if data.split == "blank_lines":
        train, heldout = (_split(each) for each in (train, heldout))
    train, heldout = _long_enough(train, data, dropped), _long_enough(heldout, data, {})
    if data.split == "blank_lines" and data.deduplicate:
        heldout = _unique(heldout, {})
        train = _unique(train, dropped, {_content(row) for row in heldout})
    return Selection(train, heldout, dropped)


def is_held_out(identity: str, share: float) -> bool:
    """Say whether a row falls into the held-out `share`: its id's SHA-256, as a fraction, lies below it."""
    return int.from_bytes(hashlib.sha256(identity.encode()).digest()[:8], "big") < share * _SCALE


def paragraphs(document: Document) -> list[Document]:
    """Return what blank lines separate, each as a document whose id has its number behind a `/`."""
    found = [part.strip("\n") for part in _BLANK.split(document.text)]
    texts = [part for part in found if part.strip()]
    return [replace(document, id=f"{document.id}/{number}", text=text) for number, text in enumerate(texts, start=1)]


def _split(rows: Sequence[_RowT]) -> list[_RowT]:
    return [part for row in rows for part in (paragraphs(row) if isinstance(row, Document) else [row])]


def _long_enough(rows: Sequence[_RowT], data: Data, dropped: dict[str, int]) -> list[_RowT]:
    faults: dict[str, Callable[[TrainingRow], bool]] = {
        f"shorter than {data.min_characters} characters": lambda row: (
            isinstance(row, Document) and len(row.text) < data.min_characters
        ),
        f"with an answer of fewer than {data.min_answer_words} words": lambda row: (
            isinstance(row, Conversation)
            and any(len(text.split()) < data.min_answer_words for role, text in row.messages if role == "assistant")
        ),
    }
    kept = []
    for row in rows:
        fault = next((name for name, is_so in faults.items() if is_so(row)), None)
        if fault is None:
            kept.append(row)
        else:
            dropped[fault] = dropped.get(fault, 0) + 1
    return kept


def _unique(rows: Sequence[_RowT], dropped: dict[str, int], seen: set[bytes] | None = None) -> list[_RowT]:
    """Return the first row of each content that is not among `seen`."""
    seen = seen or set()
    kept = []
    for row in rows:
        content = _content(row)
        if content not in seen:
            seen.add(content)
            kept.append(row)
    if len(kept) < len(rows):
        dropped["duplicates"] = dropped.get("duplicates", 0) + len(rows) - len(kept)
    return kept


def _content(row: TrainingRow) -> bytes:
    content = row.text if isinstance(row, Document) else repr(row.messages)
    return hashlib.sha256(content.encode()).digest()

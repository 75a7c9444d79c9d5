"""The rows of a source, of the one kind that a trainer learns from."""

from __future__ import annotations

from tilbench.data.rows import Conversation, Document, rows_fingerprint
from tilbench.errors import DataError
from tilbench.kinds.trainer import Source

__all__ = ["conversations_of", "documents_of", "source_fingerprint"]


def documents_of(source: Source, *, heldout: bool = False) -> list[Document]:
    """Return a source's documents, to train on or held out. Raises DataError where it holds other rows."""
    rows = source.validation if heldout else source.train
    found = [row for row in rows if isinstance(row, Document)]
    if len(found) < len(rows):
        raise DataError(
            f"source {source.name!r} holds conversations; trainer 'sft' learns from those, this one from text"
        )
    return found


def conversations_of(source: Source, *, heldout: bool = False) -> list[Conversation]:
    """Return a source's conversations, to train on or held out. Raises DataError where it holds other rows."""
    rows = source.validation if heldout else source.train
    found = [row for row in rows if isinstance(row, Conversation)]
    if len(found) < len(rows):
        raise DataError(
            f"source {source.name!r} holds running text; trainer 'pretrain' learns from that, 'sft' from turns"
        )
    return found


def source_fingerprint(source: Source) -> str:
    """Return what a source's training rows are known by."""
    return source.fingerprint or rows_fingerprint(source.train)

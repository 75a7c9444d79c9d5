"""Token files: the documents of a source laid end to end as ids, in a flat file that is mapped into memory.

`NAME.bin` holds little-endian unsigned integers (16 bits where the vocabulary fits, else 32) and nothing
else: the ids of each document, then the separator. `NAME.json` beside it says what they are, and carries
the digest of documents and tokenizer by which a later run knows that it can use the file. Read as a ring,
every document follows a separator.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tilbench.data.rows import Document
from tilbench.errors import DataError
from tilbench.paths import atomic_path

__all__ = ["TokenFile", "documents_digest", "token_file", "token_path"]

_FORMAT = 1
_BATCH_CHARACTERS = 1 << 20
_BATCH_DOCUMENTS = 1024

Encode = Callable[[Sequence[str]], Sequence[Sequence[int]]]


@dataclass(frozen=True, slots=True)
class TokenFile:
    """The tokens of one source.

    ids: uint16 or uint32, mapped into memory. documents, bytes: of text that they stand for.
    """

    ids: NDArray[Any]
    documents: int
    bytes: int
    fingerprint: str


def documents_digest(documents: Sequence[Document]) -> str:
    """Return the SHA-256 of the texts, in order."""
    digest = hashlib.sha256()
    for document in documents:
        text = document.text.encode()
        digest.update(len(text).to_bytes(8, "little"))
        digest.update(text)
    return digest.hexdigest()


def token_path(folder: Path, source: str) -> Path:
    """Return the token file of `source`: its name, made fit for a file where it is not."""
    plain = re.sub(r"[^\w.-]+", "_", source).lstrip(".") or "source"
    if plain != source:
        plain += f"-{hashlib.sha256(source.encode()).hexdigest()[:8]}"
    return folder / f"{plain}.bin"


def token_file(
    path: Path,
    documents: Sequence[Document],
    encode: Encode,
    *,
    separator: int | None,
    vocabulary: int,
    fingerprint: str,
    progress: Callable[[int, int], None] | None = None,
) -> TokenFile:
    """Return the token file at `path`, making it unless the one there is of these documents and tokenizer.

    separator: id written after every document, or None. vocabulary: ids lie below it. fingerprint: digest
    of documents and tokenizer. progress: called with (documents done, documents) after each batch. Raises
    DataError where an id is outside the vocabulary or no document has a token.
    """
    width = "<u2" if vocabulary <= 1 << 16 else "<u4"
    wanted = json.dumps([_FORMAT, width, separator, vocabulary, fingerprint])
    digest = hashlib.sha256(wanted.encode()).hexdigest()
    if (found := _open(path, digest)) is not None:
        return found
    index = path.with_suffix(".json")
    index.unlink(missing_ok=True)  # an old index must never describe the new tokens
    tokens, used, size = 0, 0, 0
    with atomic_path(path) as aside:
        with aside.open("wb") as file:
            for batch, ids, done in _encoded(documents, encode):
                flat = _flat(batch, ids, separator, vocabulary)
                file.write(flat.astype(width).data)
                tokens += len(flat)
                used += sum(1 for each in ids if each)
                size += sum(len(document.text.encode()) for document, each in zip(batch, ids, strict=True) if each)
                if progress:
                    progress(done, len(documents))
        if not used:
            raise DataError(f"{path.stem}: none of its {len(documents):,} documents has a token; is the file empty?")
    facts = {"format": _FORMAT, "dtype": width, "tokens": tokens, "documents": used, "bytes": size}
    facts |= {"separator": separator, "vocabulary": vocabulary, "fingerprint": digest}
    with atomic_path(index) as aside:
        aside.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    made = _open(path, digest)
    assert made is not None
    return made


def _open(path: Path, fingerprint: str) -> TokenFile | None:
    """Return the token file at `path` if it is whole and has this fingerprint."""
    try:
        facts = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        dtype, tokens = np.dtype(facts["dtype"]), int(facts["tokens"])
        if facts["fingerprint"] != fingerprint or path.stat().st_size != tokens * dtype.itemsize:
            return None
        ids = np.asarray(np.memmap(path, dtype=dtype, mode="r"))  # a plain view: slicing a memmap is slow
        return TokenFile(ids, int(facts["documents"]), int(facts["bytes"]), fingerprint)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _encoded(
    documents: Sequence[Document], encode: Encode
) -> Iterator[tuple[list[Document], Sequence[Sequence[int]], int]]:
    """Yield (documents, their ids, documents done) in batches of about a megabyte."""
    batch: list[Document] = []
    size = 0
    for done, document in enumerate(documents, start=1):
        batch.append(document)
        size += len(document.text)
        if size >= _BATCH_CHARACTERS or len(batch) >= _BATCH_DOCUMENTS or done == len(documents):
            yield batch, encode([each.text for each in batch]), done
            batch, size = [], 0


def _flat(
    batch: Sequence[Document], ids: Sequence[Sequence[int]], separator: int | None, vocabulary: int
) -> NDArray[np.int64]:
    """Lay a batch end to end; a document without tokens leaves nothing, not even a separator."""
    end = () if separator is None else (separator,)
    flat = np.fromiter(chain.from_iterable(chain(each, end) for each in ids if each), dtype=np.int64)
    if len(flat) and not (flat.min() >= 0 and flat.max() < vocabulary):
        document, wrong = next(
            (document, token)
            for document, each in zip(batch, ids, strict=True)
            for token in (*each, *end)
            if not 0 <= token < vocabulary
        )
        raise DataError(
            f"document {document.id!r} has the token {wrong}, and the vocabulary ends at {vocabulary - 1}: "
            "the tokenizer and the model do not fit together"
        )
    return flat

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
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tilbench.data.rows import Document
from tilbench.errors import DataError
from tilbench.paths import atomic_path
from tilbench_trainers.data.chunks import Chunks, Encode

__all__ = ["Encoding", "TokenFile", "token_file", "token_path"]

_FORMAT = 1


@dataclass(frozen=True, slots=True)
class TokenFile:
    """The tokens of one source.

    ids: uint16 or uint32, mapped into memory. documents, bytes: of text that they stand for.
    """

    ids: NDArray[np.integer]
    documents: int
    bytes: int
    fingerprint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoding:
    """How documents become the ids of a token file.

    encode: from texts to their ids; it is pickled for worker processes. separator: id written after every document, or
    None. vocabulary: ids lie below it. fingerprint: digest of documents and tokenizer. min_tokens: shorter documents
    are left out.
    """

    encode: Encode
    separator: int | None
    vocabulary: int
    fingerprint: str
    min_tokens: int = 0


def token_path(folder: Path, source: str) -> Path:
    """Return the token file of `source`: its name, made fit for a file where it is not."""
    plain = re.sub(r"[^\w.-]+", "_", source).lstrip(".") or "source"
    if plain != source:
        plain += f"-{hashlib.sha256(source.encode()).hexdigest()[:8]}"
    return folder / f"{plain}.bin"


def token_file(
    path: Path,
    documents: Sequence[Document],
    encoding: Encoding,
    *,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> TokenFile:
    """Return the token file at `path`, making it unless the one there is of these documents and tokenizer.

    workers: processes that encode (0: one per core). The file depends neither on them nor on interruptions: parts that
    were done are kept. progress: called with (documents done, documents) after each part. Raises DataError where an id
    is outside the vocabulary or no document has (enough) tokens.
    """
    separator, vocabulary, min_tokens = encoding.separator, encoding.vocabulary, encoding.min_tokens
    dtype = "<u2" if vocabulary <= 1 << 16 else "<u4"
    wanted = [_FORMAT, dtype, separator, vocabulary, encoding.fingerprint, *([min_tokens] if min_tokens else [])]
    digest = hashlib.sha256(json.dumps(wanted).encode()).hexdigest()
    if (found := _open(path, digest)) is not None:
        return found
    index = path.with_suffix(".json")
    index.unlink(missing_ok=True)  # an old index must never describe the new tokens
    folder = path.parent / f"{path.stem}-parts"
    parts = Chunks(folder, digest, encoding.encode, separator, vocabulary, dtype, min_tokens)
    try:
        made = parts.make(documents, workers, progress)
        if not sum(part.documents for part in made):
            enough = f"{min_tokens} tokens; lower min_tokens" if min_tokens > 1 else "a token; is the source empty?"
            raise DataError(f"{path.stem}: none of its {len(documents):,} documents has {enough}")
        with atomic_path(path) as aside, aside.open("wb") as file:
            for part in made:
                with part.path.open("rb") as source:
                    shutil.copyfileobj(source, file, 1 << 20)
    except DataError:
        shutil.rmtree(folder, ignore_errors=True)  # the same documents would fail again
        raise
    facts = {"format": _FORMAT, "dtype": dtype, "tokens": path.stat().st_size // np.dtype(dtype).itemsize}
    facts |= {"documents": sum(part.documents for part in made), "bytes": sum(part.bytes for part in made)}
    facts |= {"separator": separator, "vocabulary": vocabulary, "fingerprint": digest}
    with atomic_path(index) as aside:
        aside.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    shutil.rmtree(folder, ignore_errors=True)
    whole = _open(path, digest)
    assert whole is not None
    return whole


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

"""Encodes documents in parts, by several processes, so that what was done before an interruption is not done again.

What goes into which part is decided by the documents alone. A part is two files: `00007.bin`, its tokens, and
`00007.json`, written last, which says that it is whole.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tilbench.data.rows import Document
from tilbench.errors import DataError
from tilbench.paths import atomic_path

__all__ = ["Chunk", "Chunks", "Encode"]

Encode = Callable[[Sequence[str]], Sequence[Sequence[int]]]

_CHARACTERS = 1 << 22
_DOCUMENTS = 1 << 14
"""A part ends where it has so many."""
_BATCH_CHARACTERS = 1 << 20
_BATCH_DOCUMENTS = 1024
"""What is handed to `encode` at a time."""
_WORTH = 4
"""Parts that pay for starting a process; a tokenizer of the Rust library uses every core in one process too."""
_KEY = "fingerprint"


@dataclass(frozen=True, slots=True)
class Chunk:
    """A part that is done. documents, bytes: of the text that became tokens."""

    path: Path
    documents: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Chunks:
    """The parts of one token file, in `folder`. digest: of all that decides them."""

    folder: Path
    digest: str
    encode: Encode
    separator: int | None
    vocabulary: int
    dtype: str
    min_tokens: int

    def make(
        self, documents: Sequence[Document], workers: int, progress: Callable[[int, int], None] | None
    ) -> list[Chunk]:
        """Make the parts that are not there and return all, in the order of the documents.

        Raises DataError where an id is outside the vocabulary, or a process died.
        """
        self._begin()
        spans = list(_spans(documents, _CHARACTERS, _DOCUMENTS))
        made = {number: part for number in range(len(spans)) if (part := self._done(number)) is not None}
        done = sum(stop - start for number, (start, stop) in enumerate(spans) if number in made)
        left = [number for number in range(len(spans)) if number not in made]
        for number, part in self._parts([(number, documents[slice(*spans[number])]) for number in left], workers):
            made[number] = part
            done += spans[number][1] - spans[number][0]
            if progress:
                progress(done, len(documents))
        return [made[number] for number in range(len(spans))]

    def write(self, number: int, documents: Sequence[Document]) -> Chunk:
        """Encode the documents of a part and write it down."""
        used, size = 0, 0
        path = self._path(number)
        with atomic_path(path) as aside, aside.open("wb") as file:
            for start, stop in _spans(documents, _BATCH_CHARACTERS, _BATCH_DOCUMENTS):
                batch = documents[start:stop]
                encoded = self.encode([document.text for document in batch])
                kept = [
                    (document, ids)
                    for document, ids in zip(batch, encoded, strict=True)
                    if len(ids) >= max(self.min_tokens, 1)
                ]
                file.write(self._flat(kept).astype(self.dtype).data)
                used += len(kept)
                size += sum(len(document.text.encode()) for document, _ in kept)
        with atomic_path(path.with_suffix(".json")) as aside:
            aside.write_text(json.dumps({"documents": used, "bytes": size}), encoding="utf-8")
        return Chunk(path, used, size)

    def _begin(self) -> None:
        """Throw away parts of something else."""
        key = self.folder / _KEY
        if not key.is_file() or key.read_text(encoding="utf-8") != self.digest:
            shutil.rmtree(self.folder, ignore_errors=True)
            with atomic_path(key) as aside:
                aside.write_text(self.digest, encoding="utf-8")

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:05d}.bin"

    def _done(self, number: int) -> Chunk | None:
        path = self._path(number)
        try:
            facts = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return Chunk(path, int(facts["documents"]), int(facts["bytes"]))

    def _parts(self, left: Sequence[tuple[int, Sequence[Document]]], workers: int) -> Iterator[tuple[int, Chunk]]:
        """Yield the parts as they are done."""
        workers = min(workers, len(left)) if workers else min(_cores(), len(left) // _WORTH)
        if workers <= 1:
            yield from ((number, self.write(number, documents)) for number, documents in left)
            return
        # Processes are started afresh: a fork would copy the locks of the threads that torch has running.
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(workers, context, _start, (self,)) as pool:
            futures = {pool.submit(_write, number, documents): number for number, documents in left}
            try:
                for future in as_completed(futures):
                    yield futures[future], future.result()
            except BrokenProcessPool:
                raise DataError(
                    f"a process that encoded text for {self.folder.name.removesuffix('-parts')} died, perhaps of too "
                    "little memory; the same command resumes it, and recipe.workers=1 needs least"
                ) from None
            except BaseException:
                pool.shutdown(wait=True, cancel_futures=True)
                raise

    def _flat(self, kept: Sequence[tuple[Document, Sequence[int]]]) -> NDArray[np.int64]:
        """Lay documents end to end, the separator after each."""
        end = () if self.separator is None else (self.separator,)
        flat = np.fromiter(chain.from_iterable(chain(ids, end) for _, ids in kept), dtype=np.int64)
        if len(flat) and not (flat.min() >= 0 and flat.max() < self.vocabulary):
            document, wrong = next(
                (document, token)
                for document, ids in kept
                for token in (*ids, *end)
                if not 0 <= token < self.vocabulary
            )
            raise DataError(
                f"document {document.id!r} has the token {wrong}, and the vocabulary ends at {self.vocabulary - 1}: "
                "the tokenizer and the model do not fit together"
            )
        return flat


def _spans(documents: Sequence[Document], characters: int, count: int) -> Iterator[tuple[int, int]]:
    """Yield (start, stop) of stretches that end where they reach `characters` or `count` documents."""
    start, size = 0, 0
    for stop, document in enumerate(documents, start=1):
        size += len(document.text)
        if size >= characters or stop - start >= count or stop == len(documents):
            yield start, stop
            start, size = stop, 0


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


_WORKER: list[Chunks] = []
"""In a worker process: what it works for."""


def _start(parts: Chunks) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends the pool
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    _WORKER[:] = [parts]
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Leave when the parent is killed: nothing else would tell a worker that waits for work."""
    if (parent := multiprocessing.parent_process()) is not None:
        parent.join()
        os._exit(1)


def _write(number: int, documents: Sequence[Document]) -> Chunk:
    return _WORKER[0].write(number, documents)

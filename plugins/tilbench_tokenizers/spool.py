"""Reading a stream of texts twice without holding it in memory."""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Iterable, Iterator
from typing import IO

__all__ = ["twice"]


class _Spool(Iterable[str]):
    def __init__(self, file: IO[str]) -> None:
        self._file = file

    def __iter__(self) -> Iterator[str]:
        self._file.seek(0)
        return (json.loads(line) for line in self._file)


@contextlib.contextmanager
def twice(texts: Iterable[str]) -> Iterator[Iterable[str]]:
    """Give an iterable of the same texts that can be read again; a temporary file holds them meanwhile."""
    with tempfile.TemporaryFile("w+", encoding="utf-8") as file:
        for text in texts:
            file.write(json.dumps(text) + "\n")
        yield _Spool(file)

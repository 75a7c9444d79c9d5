"""The journal: answers as they come, in SQLite, so that a killed run can be resumed.

Keys are the model's fingerprint and the request's digest, so that one model's answers can never be another's.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType

from tilbench.errors import DataError
from tilbench.kinds.requests import Answer, Request, answer_from_json, answer_to_json, request_key

__all__ = ["ENGINE_VERSION", "Journal"]

ENGINE_VERSION = 3
"""Raised when the engine would answer a request differently."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS answers (
    model TEXT NOT NULL, request TEXT NOT NULL, engine INTEGER NOT NULL, answer TEXT NOT NULL,
    PRIMARY KEY (model, request, engine)
) WITHOUT ROWID
"""


class Journal:
    """A file of answers. Every `add` is one transaction: it survives `kill -9` whole or not at all.

    The file is made by the first `add`, so that a run which never gets an answer leaves nothing behind.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection = _open(path) if path.exists() else None

    def __enter__(self) -> Journal:
        """Return the journal itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file."""
        if self._connection is not None:
            self._connection.close()

    def add(self, model: str, answers: Sequence[tuple[Request, Answer]]) -> None:
        """Keep a batch of answers of one model, those that hold for another run."""
        answers = [(request, answer) for request, answer in answers if request.kind.lasting]
        self._connection = connection = self._connection or _open(self._path)
        rows = [(model, request_key(request), ENGINE_VERSION, answer_to_json(answer)) for request, answer in answers]
        connection.execute("BEGIN")
        connection.executemany("INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?)", rows)
        connection.execute("COMMIT")

    def known(self, model: str, requests: Iterable[Request]) -> Mapping[Request, Answer]:
        """Return those of the requests that this model has answered, with the answers."""
        if self._connection is None:
            return {}
        stored = dict(
            self._connection.execute(
                "SELECT request, answer FROM answers WHERE model = ? AND engine = ?", (model, ENGINE_VERSION)
            )
        )
        if not stored:
            return {}
        keyed = ((request, request_key(request)) for request in requests)
        return {request: answer_from_json(stored[key]) for request, key in keyed if key in stored}


def _open(path: Path) -> sqlite3.Connection:
    """Open the file, making it where it is not. Raises DataError for a file that is something else."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        connection = sqlite3.connect(path, isolation_level=None, timeout=60)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute(_SCHEMA)
    except sqlite3.Error as error:
        raise DataError(f"{path}: cannot be used as a journal ({error}); move it away, or check permissions") from None
    return connection

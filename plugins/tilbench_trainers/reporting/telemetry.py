"""What a run says of itself: the lines of `log.jsonl`, and whoever else is told of them."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, Self

from tilbench.paths import atomic_path
from tilbench.training.log import LOG

__all__ = ["LOG", "Listener", "Log"]


class Listener(Protocol):
    """Is told of every line of a log."""

    def note(self, line: Mapping[str, object], live: bool) -> None:
        """Take in a line: one that was just written, or, not `live`, one of an earlier sitting."""


class Log:
    """`log.jsonl`, one JSON object a line (`tilbench.training.log`).

    A line of a step has `step, loss, lr, grad_norm, tokens`, which a resumed run repeats bit for bit, and
    `timing`, which it does not. A line of what was looked at has `step` and `validation: {source: {bpb, loss}}`,
    `probes`, `samples` or `evaluation`.
    """

    def __init__(self, path: Path, last: int, listeners: Sequence[Listener] = (), *, writes: bool = True) -> None:
        """Open for appending, without the lines after step `last` (and without one that was cut off).

        The listeners are told of the lines that are kept. writes: False only reads and tells, for the processes that
        leave the file to the first.
        """
        self._listeners = listeners
        for line in _keep(path, last, writes) if path.is_file() else []:
            self._tell(line, live=False)
        # A lone surrogate, which a tokenizer may decode to, becomes the escape that JSON has for it.
        self._file = path.open("a", encoding="utf-8", errors="backslashreplace", newline="\n") if writes else None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    def write(self, **fields: object) -> None:
        """Append one line; it survives the death of this process."""
        if self._file is not None:
            self._file.write(json.dumps(fields, allow_nan=False, ensure_ascii=False) + "\n")
            self._file.flush()
        self._tell(fields, live=True)

    def sync(self) -> None:
        """Wait until the disk has what was written."""
        if self._file is not None:
            os.fsync(self._file.fileno())

    def _tell(self, line: Mapping[str, object], *, live: bool) -> None:
        for listener in self._listeners:
            listener.note(line, live)


def _keep(path: Path, last: int, writes: bool) -> list[dict[str, object]]:
    """Return the whole lines up to step `last`, and, if it `writes`, leave only them in the file."""
    # Cut at line feeds only: a text in a line may hold other characters that Python takes for the end of one.
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    rest = lines.pop()
    parsed = [(text, line) for text in lines if (line := _parsed(text)) is not None and line["step"] <= last]
    if writes and (rest or len(parsed) < len(lines)):
        with atomic_path(path) as aside:
            aside.write_text("".join(f"{text}\n" for text, _ in parsed), encoding="utf-8", newline="\n")
    return [line for _, line in parsed]


def _parsed(text: str) -> dict[str, Any] | None:
    try:
        line = json.loads(text)
        return line if isinstance(line["step"], int) else None
    except (ValueError, KeyError, TypeError):
        return None

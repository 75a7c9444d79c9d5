"""Progress of a run on standard error: a live bar for people, a line now and then for logs."""

from __future__ import annotations

import sys
import time
from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

__all__ = ["RunProgress"]

_EVERY = 10.0
"""Seconds between lines where there is no terminal."""


class RunProgress:
    """Shows which model is being asked, how far it is, and how long the rest of it will take."""

    def __init__(self, models: int) -> None:
        self._models = models
        self._done = 0
        self._bar: TaskID | None = None
        self._started = self._said = time.monotonic()
        self._live = sys.stderr.isatty()
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("eta"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            disable=not self._live,
            transient=True,
        )

    def __enter__(self) -> RunProgress:
        """Start the display."""
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Clear the display."""
        self._progress.stop()

    def update(self, model: str, done: int, total: int) -> None:
        """Show that `done` of `total` requests to `model` are answered."""
        label = f"[{self._done + 1}/{self._models}] {model}"
        if done == 0 or self._bar is None:
            self._started = time.monotonic()
            if self._bar is not None:
                self._progress.remove_task(self._bar)
            self._bar = self._progress.add_task(label, total=total)
        self._progress.update(self._bar, completed=done, description=label)
        now = time.monotonic()
        if not self._live and done and now - self._said >= _EVERY:
            self._said = now
            left = (now - self._started) * (total - done) / done
            print(f"{label}: {done}/{total} requests, {left:.0f} s left", file=sys.stderr)  # noqa: T201

    def finished(self, model: str) -> None:
        """Count a model as done."""
        self._done += 1
        if self._bar is not None:
            self._progress.remove_task(self._bar)
            self._bar = None

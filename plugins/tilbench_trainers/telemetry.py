"""What a run says of itself: `log.jsonl` for machines, a line on stderr for people."""

from __future__ import annotations

import json
import math
import os
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any, Self

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from tilbench.paths import atomic_path

__all__ = ["LOG", "Display", "Log", "peak_memory_bytes"]

LOG = "log.jsonl"
_SECONDS = 10.0
"""Between two plain lines."""


class Log:
    """`log.jsonl`, one JSON object a line.

    A line of a step has `step, loss, lr, grad_norm, tokens`, which a resumed run repeats bit for bit, and
    `timing`, which it does not. A line of a validation has `step, validation: {source: {bpb, loss}}`.
    """

    def __init__(self, path: Path, last: int) -> None:
        """Open for appending, without the lines after step `last` (and without one that was cut off)."""
        if path.is_file():
            _keep(path, last)
        self._file = path.open("a", encoding="utf-8")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def write(self, **fields: Any) -> None:
        """Append one line; it survives the death of this process."""
        self._file.write(json.dumps(fields, allow_nan=False) + "\n")
        self._file.flush()

    def sync(self) -> None:
        """Wait until the disk has what was written."""
        os.fsync(self._file.fileno())


def _keep(path: Path, last: int) -> None:
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
    kept = [line for line in lines if (step := _step(line)) is not None and step <= last]
    if kept != lines:
        with atomic_path(path) as aside:
            aside.write_text("".join(kept), encoding="utf-8")


def _step(line: str) -> int | None:
    try:
        step = json.loads(line)["step"] if line.endswith("\n") else None
    except (ValueError, KeyError, TypeError):
        return None
    return step if isinstance(step, int) else None


def peak_memory_bytes(device: torch.device) -> int | None:
    """Return the most memory this process has held: reserved on a CUDA device, else resident in main memory.

    None where the system does not say.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_reserved(device)
    if sys.platform == "win32":
        return None
    import resource

    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return largest if sys.platform == "darwin" else largest * 1024


class Display:
    """Progress for people: a live line where stderr is a terminal, else a line about every ten seconds."""

    def __init__(self, shown: bool, steps: int, done: int) -> None:
        self._shown, self._steps, self._done = shown, steps, done
        self._console = Console(stderr=True)
        self._live: Progress | None = None
        self._task = TaskID(0)
        self._began = self._said = time.monotonic()

    def __enter__(self) -> Self:
        if self._shown and self._console.is_terminal:
            self._live = Progress(
                TextColumn("step"),
                MofNCompleteColumn(),
                BarColumn(bar_width=24),
                TextColumn("loss {task.fields[loss]} · lr {task.fields[lr]} · {task.fields[rate]} tok/s · ETA"),
                TimeRemainingColumn(elapsed_when_finished=True),
                console=self._console,
            )
            self._task = self._live.add_task("", total=self._steps, completed=self._done, loss="–", lr="–", rate="–")
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def step(self, step: int, loss: float, lr: float, tokens_per_second: float) -> None:
        """Show a step that was done."""
        if not self._shown:
            return
        shown: dict[str, Any] = {
            "loss": f"{loss:.4f}",
            "lr": f"{lr:.2e}",
            "rate": f"{tokens_per_second:,.0f}",
        }
        if self._live is not None:
            self._live.update(self._task, completed=step, **shown)
        elif step == self._steps or time.monotonic() - self._said >= _SECONDS:
            left = (self._steps - step) * (time.monotonic() - self._began) / (step - self._done)
            self._say(
                f"step {step:,}/{self._steps:,} loss {shown['loss']} lr {shown['lr']} {shown['rate']} tok/s "
                f"ETA {timedelta(seconds=math.ceil(left))}"
            )

    def encoding(self, source: str, done: int, documents: int) -> None:
        """Show how far a source has been turned into tokens."""
        if self._shown and time.monotonic() - self._said >= _SECONDS:
            self._say(f"encoding {source}: {done:,} of {documents:,} documents")

    def _say(self, line: str) -> None:
        self._said = time.monotonic()
        self._console.print(line, highlight=False, markup=False, soft_wrap=True)

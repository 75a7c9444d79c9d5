"""A run as people see it: a live view where stderr is a terminal, else a line about every ten seconds."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any, Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

__all__ = ["Display"]

_SECONDS = 10.0
"""Between two plain lines."""
_SMOOTHED = 50
"""Steps that the smoothed loss is the mean of."""
_BAR = 30
_CLIPPED = 160
"""Characters of a sample that are shown; the log has all of it."""


class Display:
    """Shows the lines of a log as they come (`tilbench_trainers.reporting.telemetry.Listener`)."""

    def __init__(self, shown: bool, steps: int, done: int) -> None:
        """Begin at step `done` of `steps`. shown: whether anything is shown at all."""
        self._shown, self._steps, self._done = shown, steps, done
        self._console = Console(stderr=True)
        self._live: Live | None = None
        self._began = self._said = time.monotonic()
        self._step: Mapping[str, Any] = {}
        self._losses: deque[float] = deque(maxlen=_SMOOTHED)
        self._validation = ""
        self._doing = ""

    def __enter__(self) -> Self:
        if self._shown and self._console.is_terminal:
            self._live = Live(console=self._console, get_renderable=self._view, refresh_per_second=4)
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def note(self, line: Mapping[str, Any], live: bool) -> None:
        """Show a step, or what was looked at after it; a line that is not `live` counts for means only."""
        self._doing = ""
        if "loss" in line:
            self._step = line
            self._losses.append(line["loss"])
        if validation := line.get("validation"):
            self._validation = f"validation at step {line['step']:,}: {_measured(validation)}"
        if not (self._shown and live):
            return
        for text in _found(line):
            self._say(text)
        if self._live is None and "loss" in line and (line["step"] == self._steps or self._silent()):
            self._say(self._plain())

    def remark(self, text: str) -> None:
        """Show a line that people should know before they wait."""
        if self._shown:
            self._say(text)

    def encoding(self, source: str, done: int, documents: int) -> None:
        """Show how far a source has been turned into tokens."""
        self._progress(f"encoding {source}: {done:,} of {documents:,} documents")

    def scoring(self, model: str, done: int, requests: int) -> None:
        """Show how far a suite has been scored."""
        self._progress(f"scoring {model}: {done:,} of {requests:,} requests")

    def _progress(self, text: str) -> None:
        self._doing = text
        if self._shown and self._live is None and self._silent():
            self._say(text)

    def _silent(self) -> bool:
        return time.monotonic() - self._said >= _SECONDS

    def _plain(self) -> str:
        step = self._step
        smoothed, lr, speed, _ = self._numbers()
        return (
            f"step {step['step']:,}/{self._steps:,} loss {step['loss']:.4f} ({smoothed}) {lr} "
            f"{' '.join(speed)} ETA {self._left()}"
        )

    def _view(self) -> Group:
        """Return what the terminal shows now."""
        step = self._step.get("step", self._done)
        head = Table.grid(padding=(0, 1))
        bar = ProgressBar(total=self._steps, completed=step, width=_BAR)
        head.add_row(f"step {step:,}/{self._steps:,}", bar, f"ETA {self._left()}")
        lines = []
        if self._step:
            smoothed, lr, speed, memory = self._numbers()
            lines.append(" · ".join([f"loss {self._step['loss']:.4f}", smoothed, lr]))
            lines.append(" · ".join([*speed, *memory]))
        lines += [line for line in (self._validation, self._doing) if line]
        return Group(head, *map(Text, lines))

    def _numbers(self) -> tuple[str, str, list[str], list[str]]:
        """Return smoothed loss, learning rate, speed and memory in words; what is not known is left out."""
        timing = self._step.get("timing", {})
        speed = [f"{timing['tokens_per_second']:,.0f} tok/s"] if "tokens_per_second" in timing else []
        if (mfu := timing.get("mfu")) is not None:
            speed.append(f"MFU {mfu:.1%}")
        memory = timing.get("peak_memory_bytes")
        return (
            f"smoothed {sum(self._losses) / len(self._losses):.4f}",
            f"lr {self._step['lr']:.2e}",
            speed,
            [f"peak {memory / 2**30:.1f} GiB"] if memory else [],
        )

    def _left(self) -> str:
        """Return the time to the last step at the mean pace of this sitting; a dash before its first step."""
        step = self._step.get("step", self._done)
        if step <= self._done:
            return "–"
        left = (self._steps - step) * (time.monotonic() - self._began) / (step - self._done)
        return str(timedelta(seconds=math.ceil(left)))

    def _say(self, line: str) -> None:
        self._said = time.monotonic()
        self._console.print(line, highlight=False, markup=False, soft_wrap=True)


def _found(line: Mapping[str, Any]) -> Iterator[str]:
    """Yield what was looked at after a step, in words."""
    at = f"step {line['step']:,}"
    if validation := line.get("validation"):
        yield f"{at} validation on held-out text: {_measured(validation)}"
    for probe in line.get("probes", ()):
        asked = f"{at} probe: {probe['prompt']} → {probe['target']}"
        if "unanswered" in probe:
            yield f"{asked}: not answered, {probe['unanswered']}"
        else:
            yield f"{asked}: rank {probe['rank']:,}, p {probe['probability']:.3g}"
    for task, values in line.get("evaluation", {}).items():
        shown = [f"{name} {value:.4f}" for name, value in list(values.items())[:3] if value is not None]
        yield f"{at} {task}: {', '.join(shown) or 'n/a'}"
    for sample in line.get("samples", ()):
        text = " ".join(sample["text"].split())
        yield f"{at} sample: {sample['prompt']} → {text[:_CLIPPED]}{'…' if len(text) > _CLIPPED else ''}"


def _measured(validation: Mapping[str, Mapping[str, float]]) -> str:
    """Return the bits per byte of each source, or the loss where they are not known, and what the tokens lose."""
    return " · ".join(f"{source} {_value(each)}{_losing(each)}" for source, each in validation.items())


def _value(measured: Mapping[str, float]) -> str:
    return f"{measured['bpb']:.4f} bits/byte" if "bpb" in measured else f"loss {measured['loss']:.4f}"


def _losing(measured: Mapping[str, float]) -> str:
    return f" ({measured['lost']:.1%} of bytes lost by the tokenizer)" if measured.get("lost") else ""

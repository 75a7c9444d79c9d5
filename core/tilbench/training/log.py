"""`log.jsonl`, the log of a training run, read back as curves.

One JSON object a line, in the order of the steps. The line of a step has `step`, `loss` (nats a token), `lr`,
`grad_norm` (before clipping; null for a step that fp16 skipped), `tokens` (seen so far) and `timing`. Other lines
have `step` and what was looked at after it: `validation`, `probes`, `samples`, `evaluation`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tilbench.errors import DataError

__all__ = ["LOG", "Curve", "TrainingCurves", "read_curves", "read_lines"]

LOG = "log.jsonl"


@dataclass(slots=True)
class Curve:
    """Values over steps, which rise."""

    steps: list[int] = field(default_factory=list)
    values: list[float] = field(default_factory=list)

    def add(self, step: int, value: float | None) -> None:
        """Append a value; none leaves the step out."""
        if value is not None:
            self.steps.append(step)
            self.values.append(float(value))


@dataclass(slots=True)
class TrainingCurves:
    """What a run logged. bpb: validation bits per byte, by source."""

    loss: Curve = field(default_factory=Curve)
    lr: Curve = field(default_factory=Curve)
    grad_norm: Curve = field(default_factory=Curve)
    tokens_per_second: Curve = field(default_factory=Curve)
    bpb: dict[str, Curve] = field(default_factory=dict)


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the lines of a log; a last one that is still being written is left out.

    Raises DataError, with the number of the line, for one that is no line of a log.
    """
    with path.open(encoding="utf-8", errors="replace", newline="\n") as file:
        for number, text in enumerate(file, start=1):
            if not text.endswith("\n"):
                return
            try:
                line = json.loads(text)
                if not isinstance(line["step"], int):
                    raise TypeError
            except (ValueError, KeyError, TypeError):
                raise DataError(f"{path}, line {number}: not a line of a training log, which has a 'step'") from None
            yield line


def read_curves(run: Path) -> TrainingCurves:
    """Read the log in the folder of a run. Raises DataError where there is none, or none that can be read."""
    path = run / LOG
    if not path.is_file():
        what = "has no log of a training" if run.is_dir() else "is no folder of a run"
        raise DataError(f"{run} {what}; a run is what 'tilbench train SPEC --out {run}' makes, with {LOG} in it")
    curves = TrainingCurves()
    for line in read_lines(path):
        try:
            _add(curves, line)
        except (AttributeError, KeyError, TypeError, ValueError):
            raise DataError(f"{path}: the line of step {line['step']} is not of a training log") from None
    if not curves.loss.steps:
        raise DataError(f"{path} has no step yet; look again when the run has taken one")
    return curves


def _add(curves: TrainingCurves, line: dict[str, Any]) -> None:
    step = line["step"]
    if "loss" in line:
        curves.loss.add(step, line["loss"])
        curves.lr.add(step, line["lr"])
        curves.grad_norm.add(step, line["grad_norm"])
        curves.tokens_per_second.add(step, line.get("timing", {}).get("tokens_per_second"))
    for source, measured in line.get("validation", {}).items():
        if "bpb" in measured:
            curves.bpb.setdefault(source, Curve()).add(step, measured["bpb"])

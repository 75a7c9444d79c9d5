"""Answers that lm-evaluation-harness must not turn into numbers: it has no "n/a", so they are an error of the task."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence

from tilbench.errors import Unsupported
from tilbench.kinds.requests import Answer, Request
from tilbench.results.reading import read_row, reading_notes, reading_of, too_lossy, unanswered_row

__all__ = ["check_read"]


def check_read(
    model: str, instances: Sequence[object], requests: Sequence[Request], answers: Mapping[Request, Answer]
) -> None:
    """Check, task by task, that the model read the texts of the instances.

    Raises Unsupported for a task with an instance that the model cannot answer, or of whose scored bytes the tokens do
    not reproduce more than `tilbench run` allows. Warns of what was left out of others.
    """
    tasks: dict[str, list[Request]] = {}
    for instance, request in zip(instances, requests, strict=True):
        tasks.setdefault(getattr(instance, "task_name", None) or "these requests", []).append(request)
    for task, asked in tasks.items():
        rows = [([request], [answers[request]]) for request in asked]
        reading = reading_of([read_row(*row) for row in rows], [unanswered_row(row[1]) for row in rows])
        if reading is None:
            continue
        reasons = [too_lossy(reading.lost_bytes, reading.scored_bytes), *reading.unanswered]
        if reason := next(filter(None, reasons), ""):
            raise Unsupported(f"{model} has no value on {task}: {reason}; leave the task out")
        for note in reading_notes(reading):
            warnings.warn(f"{model} on {task}: {note}", stacklevel=2)

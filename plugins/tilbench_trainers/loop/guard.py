"""Stops a run before a step that would spoil it, and names the rows that are to blame."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from tilbench.checkpoints.folder import checkpoints
from tilbench.errors import DataError, TilbenchError

__all__ = ["Guard", "check_ids"]

_WINDOW = 100
"""Steps that a loss is compared with."""
_NORMAL = 1.4826
"""Standard deviation of normal noise over its median absolute deviation."""
_SHOWN = 8


class Guard:
    """Watches the losses of a run (`tilbench_trainers.reporting.telemetry.Listener`).

    A loss is a spike where it is more than median + bound · 1.4826 · MAD of the last 100 losses, MAD being their median
    absolute deviation from the median. Before there are 100, and with a bound of 0, nothing is one.
    """

    def __init__(self, bound: float, run: Path) -> None:
        self._bound, self._run = bound, run
        self._losses: deque[float] = deque(maxlen=_WINDOW)

    def note(self, line: Mapping[str, Any], live: bool) -> None:
        """Remember the loss of a step."""
        if "loss" in line:
            self._losses.append(line["loss"])

    @property
    def limit(self) -> float:
        """The largest loss that is no spike."""
        if not self._bound or len(self._losses) < _WINDOW:
            return math.inf
        middle = median(self._losses)
        return middle + self._bound * _NORMAL * median(abs(loss - middle) for loss in self._losses)

    def check(self, step: int, loss: float, norm: float, losses: Callable[[], Sequence[tuple[object, float]]]) -> None:
        """Raise TilbenchError where step `step` must not be taken; the weights are those of the step before.

        norm: of the gradient; give 0 where it may overflow. losses: gives each row's place and mean loss in nats,
        by the weights of now.
        """
        finite = math.isfinite(loss) and math.isfinite(norm)
        limit = self.limit
        if finite and loss <= limit:
            return
        rows, good = losses(), checkpoints(self._run)[-1]
        if finite:
            worst, its = max(rows, key=lambda row: row[1])
            raise TilbenchError(
                f"step {step}: the loss is {loss:.4f}, and after the last {_WINDOW} steps more than {limit:.4f} is a "
                f"spike; the row with the largest is {worst}: {its:.4f}; the last good checkpoint is {good}; look at "
                "this row, lower the learning rate, or go on with a higher recipe.spike"
            )
        bad = [place for place, its in rows if not math.isfinite(its)]
        if not bad:
            culprit = f"each row of the batch alone has a finite loss: {_listed([place for place, _ in rows])}"
        elif len(bad) == len(rows):
            culprit = f"it is so for every row of the batch, so the weights are to blame: {_listed(bad)}"
        else:
            culprit = f"it is so for {_listed(bad)}"
        raise TilbenchError(
            f"step {step}: the loss is {loss} and the gradient's norm {norm}; {culprit}; the last good checkpoint is "
            f"{good}; lower the learning rate or look at these rows"
        )


def check_ids(ids: Any, vocabulary: int, places: Callable[[], Sequence[object]]) -> None:
    """Raise DataError, with the row, where an id of a step, int64 [B, T], is outside the vocabulary."""
    wrong = (ids < 0) | (ids >= vocabulary)
    if not bool(wrong.any()):
        return
    row, column = (int(each) for each in wrong.nonzero()[0])
    raise DataError(
        f"{places()[row]}: the id {int(ids[row, column])} is outside the vocabulary of {vocabulary:,}: the token file "
        "is damaged; remove the run's data folder, and the same command makes it again"
    )


def _listed(rows: Sequence[object]) -> str:
    more = f" and {len(rows) - _SHOWN} more" if rows[_SHOWN:] else ""
    return ", ".join(map(str, rows[:_SHOWN])) + more

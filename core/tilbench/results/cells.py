"""The parts of the board: a column, a row, and the cell where they meet."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from tilbench.kinds.metric import Value
from tilbench.results.macro_parts import whole_reading
from tilbench.results.record import Reading, Record, TaskUsed
from tilbench.results.wording import FEWEST

__all__ = [
    "ARROWS",
    "Cell",
    "Column",
    "Direction",
    "Entry",
    "Mark",
    "Row",
    "baseline",
    "clears",
    "finished",
    "make_cell",
    "mark_column",
    "tied_mark",
]

Direction = Literal["lower", "higher", "none"]
Entry = tuple[Path, Record]
Mark = Literal["best", "overlaps", ""]

_MAJORITY = "majority"
_TIED = "tied"
_OUTSIDE = "the value lies outside its own 95% interval; 'tilbench records verify' tells more"

ARROWS: Mapping[Direction, str] = {"lower": "↓", "higher": "↑", "none": ""}


@dataclass(frozen=True, slots=True)
class Column:
    """A task whose values may be compared with each other.

    key: stable name, fit for a URL. versions: how many columns carry this suite and task. newest: this is the
    one run last. differs: what sets it apart from that one. task: the task of its newest record. majority:
    what always giving the commonest answer would score, in the headline's unit; any record may say so, in a
    value called `majority`.
    """

    key: str
    suite: str
    name: str
    headline: str
    unit: str
    direction: Direction
    chance: float | None
    majority: float | None
    n: int
    language: str
    fingerprint: str
    reported: bool
    task: TaskUsed
    versions: int = 1
    newest: bool = True
    differs: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """The task's name, with its fingerprint where several columns share the name."""
        label = f"{self.name} #{self.fingerprint[:6]}" if self.versions > 1 else self.name
        return f"{label} (reported)" if self.reported else label


@dataclass(frozen=True, slots=True)
class Cell:
    """One model on one column.

    status: as recorded, or "does not hold" where the value lies outside its own interval. score: the headline
    value, if the task was done and the value holds. mark: the best of its column, or a 95% interval that
    overlaps the best one's (a description, not a test). above_chance: whether the whole interval beats both
    chance and the commonest answer; None where there is neither level or no interval. reading: what the model read
    of the texts; of a macro, of the texts of its tasks. older: records that this one supersedes.
    """

    path: Path
    record: Record
    status: Literal["done", "not run", "n/a", "does not hold"]
    reason: str = ""
    score: Value | None = None
    mark: Mark = ""
    above_chance: bool | None = None
    reading: Reading | None = None
    older: tuple[Path, ...] = ()

    @property
    def value(self) -> float | None:
        """The value, if there is one and it is finite."""
        return self.score.value if self.score and math.isfinite(self.score.value) else None

    @property
    def majority(self) -> float | None:
        """What always giving the commonest answer would score, if the record says so."""
        return baseline(self.record) if self.score else None


@dataclass(frozen=True, slots=True)
class Row:
    """One model: its cells by column key. A column without a cell was never tried."""

    name: str
    fingerprint: str
    parameters: int
    step: int | None
    label: str
    cells: Mapping[str, Cell]


def finished(entry: Entry) -> tuple[bool, str]:
    """Return what puts the entry to show last: done before not done, then the time."""
    return entry[1].status == "done", entry[1].measured.finished


def baseline(record: Record) -> float | None:
    """Return the record's value `majority`, where it can stand beside the headline."""
    score, majority = record.headline, record.values.get(_MAJORITY)
    if score is None or majority is None or majority is score or majority.unit != score.unit:
        return None
    return majority.value if math.isfinite(majority.value) else None


def tied_mark(record: Record) -> list[str]:
    """Return how many items had a tie for the best choice, where the record's value `tied` counts any."""
    score = record.values.get(_TIED)
    return [f"{score.value:.0f} of {score.n} tied"] if score and score.value > 0 else []


def clears(score: Value, level: float | None) -> bool | None:
    """Return whether the whole interval is better than a level; None where one of them is missing."""
    if level is None or score.low is None or score.high is None:
        return None
    return score.high < level if score.direction == "lower" else score.low > level


def make_cell(column: Column, entries: Sequence[Entry], others: Sequence[Record]) -> Cell:
    """Return the cell of a model's records on one column: done first, then measured, then newest.

    others: all records of the model; a macro's tasks are among them.
    """
    ranked = sorted(entries, key=lambda entry: (entry[1].source == "measured", *finished(entry)))
    ranked.sort(key=lambda entry: entry[1].status == "done")
    path, record = ranked[-1]
    older, reading = tuple(path for path, _ in ranked[:-1]), whole_reading(record, others)

    def blank(status: Literal["not run", "n/a", "does not hold"], reason: str) -> Cell:
        return Cell(path, record, status, reason, reading=reading, older=older)

    if record.status != "done":
        return blank(record.status, record.reason)
    score = record.values.get(column.headline)
    if score is None:
        return blank("n/a", f"the record has no value {column.headline!r}")
    if not _holds(score):
        return blank("does not hold", _OUTSIDE)
    levels = (clears(score, score.chance), clears(score, baseline(record)))
    known = [level for level in levels if level is not None]
    above = all(known) if known else None
    return Cell(path, record, "done", score=score, above_chance=above, reading=reading, older=older)


def mark_column(column: Column, rows: Collection[dict[str, Cell]]) -> None:
    """Mark the best of two or more cells, and those whose interval overlaps the best one's.

    Of measured values on too few rows for `compare` to name a winner, none is marked.
    """
    done = [(row, cell) for row in rows if (cell := row.get(column.key)) and cell.value is not None]
    if column.direction == "none" or len(done) < 2:
        return
    pick = min if column.direction == "lower" else max
    top = pick(cell.value for _, cell in done if cell.value is not None)
    if not column.reported and any(cell.score.n < FEWEST for _, cell in done if cell.score and cell.value == top):
        return
    bests = [cell.score for _, cell in done if cell.value == top and cell.score]
    for row, cell in done:
        if cell.value == top:
            row[column.key] = replace(cell, mark="best")
        elif cell.score and any(_overlap(cell.score, best) for best in bests):
            row[column.key] = replace(cell, mark="overlaps")


def _holds(score: Value) -> bool:
    """Return whether a value lies in its own interval, but for the rounding of a sum."""
    if score.low is None or score.high is None or not math.isfinite(score.value):
        return True
    slack = 1e-9 * max(1.0, abs(score.value))
    return score.low - slack <= score.value <= score.high + slack


def _overlap(a: Value, b: Value) -> bool:
    if a.low is None or a.high is None or b.low is None or b.high is None:
        return False
    return a.low <= b.high and b.low <= a.high

"""The board as a data frame, and text of records as text: data or code, never markup."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd
from pandas.io.formats.style import Styler

from tilbench.results.reading import reading_marks
from tilbench.results.table import ARROWS, Board, Cell, Column, clears, format_interval, format_number

__all__ = ["chance_text", "column_title", "frame", "literal", "majority_text", "matching"]

_Key = tuple[str, str]
_STYLES = {
    "best": "background-color: #c9ebe4; color: #134e4a; font-weight: 700",
    "overlaps": "background-color: #e9f6f3; color: #134e4a",
    "": "",
}
_COMMONEST = "commonest answer"
_NOT_READ = "not read"
_AT_CHANCE = "background-color: #fdf0dc; color: #92400e"
_QUIET, _NAME = "color: #7b8794", "color: #1c2733; font-weight: 600"


def literal(text: object) -> str:
    """Return markdown that shows a text as it is: code, with a fence longer than any in the text."""
    words = " ".join("".join(sign if sign.isprintable() else " " for sign in str(text)).split())
    if not words:
        return "–"
    longest = max((len(list(run)) for sign, run in itertools.groupby(words) if sign == "`"), default=0)
    fence = "`" * (longest + 1)
    pad = " " if words.startswith("`") or words.endswith("`") else ""
    return f"{fence}{pad}{words}{pad}{fence}"


def matching(board: Board, search: str) -> list[int]:
    """Return the places of the rows whose model, tokenizer or lineage has every word of `search`."""
    words = search.casefold().split()

    def text(place: int) -> str:
        row = board.rows[place]
        used = next(iter(row.cells.values())).record.model
        return " ".join((row.label, row.fingerprint, used.tokenizer, *used.lineage)).casefold()

    return [place for place in range(len(board.rows)) if all(word in text(place) for word in words)]


def column_title(column: Column, *, suite: bool = False) -> str:
    """Return how a task is listed: its suite if asked, its label, its value and which way is better."""
    title = f"{column.label} · {column.headline} {ARROWS[column.direction]}".rstrip()
    return f"{column.suite} / {title}" if suite else title


def chance_text(cell: Cell) -> str:
    """Return the chance level of a value, and whether the value is not above it."""
    if cell.score is None or cell.score.chance is None:
        return ""
    level = format_number(cell.score, chance=True)
    return f"{level} · not above" if clears(cell.score, cell.score.chance) is False else level


def majority_text(cell: Cell) -> str:
    """Return what the commonest answer would score, and whether the value is not above it."""
    if cell.score is None or cell.majority is None:
        return ""
    level = format_number(replace(cell.score, value=cell.majority))
    return f"{level} · not above" if clears(cell.score, cell.majority) is False else level


def frame(board: Board, places: list[int], *, details: bool = True) -> tuple[Styler, dict[int, int]]:
    """Return a styled data frame, and the widths in pixels of the columns that need one, by position.

    It has one row a model, and for each task its value, interval, chance and what the commonest answer scores; and what
    models did not read of the task, where any did not read all of it.
    """
    rows = [board.rows[place] for place in places]
    names = [row.label for row in rows]
    parts: dict[_Key, _Part] = {("", "model"): _Part(names, names, [_NAME] * len(rows))}
    numbers = {"parameters": [row.parameters or None for row in rows], "step": [row.step for row in rows]}
    for name, values in numbers.items():
        if any(value is not None for value in values):
            texts = ["" if value is None else f"{value:,}" for value in values]
            parts["", name] = _Part(values, texts, [""] * len(rows))
    for column in board.columns:
        group = f"{column.label} · {column.suite}" if len(board.suites) > 1 else column.label
        while any(group == key[0] for key in parts):
            group += " "  # two tasks never share a header
        cells = [row.cells.get(column.key) for row in rows]
        parts[group, f"{column.headline} {ARROWS[column.direction]}".rstrip()] = _values(cells)
        marks = ["; ".join(reading_marks(cell.reading)) if cell and cell.score else "" for cell in cells]
        if any(marks):
            parts[group, _NOT_READ] = _Part(marks, marks, [_AT_CHANCE if mark else _QUIET for mark in marks])
        if details:
            texts = [_interval(cell) for cell in cells]
            parts[group, "95% interval"] = _Part(texts, texts, [_QUIET] * len(rows))
            if column.chance is not None:
                parts[group, "chance"] = _levels([chance_text(cell) if cell else "" for cell in cells])
            if column.majority is not None:
                parts[group, _COMMONEST] = _levels([majority_text(cell) if cell else "" for cell in cells])
    columns = pd.MultiIndex.from_tuples(list(parts), names=["task", "value"])
    data = pd.DataFrame({key: _series(part.data) for key, part in parts.items()})
    styles = pd.DataFrame({key: part.styles for key, part in parts.items()})
    data.columns = styles.columns = columns
    styler = data.style.apply(lambda _: styles, axis=None)
    for key, part in parts.items():
        texts_of = {value: text for value, text in zip(part.data, part.texts, strict=True) if value is not None}
        styler.format(functools.partial(_lookup, texts_of), subset=[key], na_rep="")
    wide = {
        place: 132 if _AT_CHANCE in part.styles or header == _COMMONEST else 80
        for place, ((_, header), part) in enumerate(parts.items(), start=1)
        if header in ("chance", _COMMONEST, _NOT_READ)
    }
    return styler, wide


@dataclass(frozen=True, slots=True)
class _Part:
    """One column of the data frame: what it sorts by, what it reads, and its colours."""

    data: Sequence[float | str | None]
    texts: list[str]
    styles: list[str]


def _series(data: Sequence[float | str | None]) -> pd.Series[Any]:
    texts = any(isinstance(value, str) for value in data)
    return pd.Series(data, dtype="str" if texts else "float64")


def _lookup(texts: dict[Any, str], value: object) -> str:
    return texts.get(value, "")


def _values(cells: list[Cell | None]) -> _Part:
    return _Part(
        [cell.value if cell else None for cell in cells],
        [format_number(cell.score) if cell and cell.score else "" for cell in cells],
        [_STYLES[cell.mark] if cell else "" for cell in cells],
    )


def _levels(texts: list[str]) -> _Part:
    return _Part(texts, texts, [_AT_CHANCE if text.endswith("not above") else _QUIET for text in texts])


def _interval(cell: Cell | None) -> str:
    """Return the interval of a cell, or why it has no value."""
    if cell is None:
        return "–"
    if cell.score is None:
        return f"{cell.status}: {cell.reason}" if cell.reason else cell.status
    return format_interval(cell.score)

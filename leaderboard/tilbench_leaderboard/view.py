"""The board as a data frame, and text of records as text: data or code, never markup."""

from __future__ import annotations

import itertools
from typing import Any

import pandas as pd

from tilbench.results.table import ARROWS, Board, Cell, Column, format_interval, format_number

__all__ = ["chance_text", "column_title", "frame", "literal", "matching"]

_STYLES = {
    "best": "background-color: #c9ebe4; color: #134e4a; font-weight: 700",
    "overlaps": "background-color: #e9f6f3; color: #134e4a",
    "": "",
}
_AT_CHANCE = "background-color: #fdf0dc; color: #92400e"
_QUIET = "color: #7b8794"


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
    """Return the chance level beside a value, and whether the value is not above it."""
    if cell.score is None or cell.score.chance is None:
        return ""
    level = format_number(cell.score, chance=True)
    return f"{level} · not above chance" if cell.above_chance is False else level


def frame(board: Board, places: list[int], *, details: bool = True) -> Any:
    """Return a styled data frame: one row a model, and for each task its value, interval and chance."""
    rows = [board.rows[place] for place in places]
    data: dict[tuple[str, str], list[Any]] = {("", "model"): [row.label for row in rows]}
    styles: dict[tuple[str, str], list[str]] = {}
    shown: dict[tuple[str, str], list[str]] = {}
    data["", "parameters"] = [row.parameters or None for row in rows]
    if any(row.step is not None for row in rows):
        data["", "step"] = [row.step for row in rows]
    suites = len(board.suites) > 1
    for column in board.columns:
        group = f"{column.suite} / {column.label}" if suites else column.label
        while (group, f"{column.headline} {ARROWS[column.direction]}".rstrip()) in data:
            group += " "  # two columns never share a header
        cells = [row.cells.get(column.key) for row in rows]
        key = (group, f"{column.headline} {ARROWS[column.direction]}".rstrip())
        data[key] = [cell.value if cell else None for cell in cells]
        styles[key] = [_STYLES[cell.mark] if cell else "" for cell in cells]
        shown[key] = [format_number(cell.score) if cell and cell.score else "" for cell in cells]
        if not details:
            continue
        data[group, "95% interval"] = [_interval(cell) for cell in cells]
        styles[group, "95% interval"] = [_QUIET] * len(cells)
        if column.chance is not None:
            data[group, "chance"] = [chance_text(cell) if cell else "" for cell in cells]
            at_chance = [cell is not None and cell.above_chance is False for cell in cells]
            styles[group, "chance"] = [_AT_CHANCE if at else _QUIET for at in at_chance]
    table = pd.DataFrame(data)
    table.columns = pd.MultiIndex.from_tuples(list(data))
    for key, values in data.items():
        if key in shown or key in (("", "parameters"), ("", "step")):
            table[key] = pd.Series(values, dtype="float64")
    styler = table.style
    css = pd.DataFrame({key: styles.get(key, [""] * len(rows)) for key in data}, index=table.index)
    css.columns = table.columns
    styler.apply(lambda _: css, axis=None)
    for key in data:
        if key in (("", "parameters"), ("", "step")):
            styler.format("{:,.0f}", subset=[key], na_rep="")
        elif key in shown:
            texts = dict(zip(data[key], shown[key], strict=True))
            styler.format(texts.get, subset=[key], na_rep="")
    return styler


def _interval(cell: Cell | None) -> str:
    if cell is None:
        return "not tried"
    if cell.score is None:
        return f"{cell.status}: {cell.reason}" if cell.reason else cell.status
    return format_interval(cell.score)

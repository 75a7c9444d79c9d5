"""The board as a data frame and as a chart. Text of a record goes out as data, never as markup."""

from __future__ import annotations

import itertools
from typing import Any

import altair as alt
import pandas as pd

from tilbench.results.table import ARROWS, Board, Cell, Column, format_interval, format_number, format_value

__all__ = ["chance_text", "chart", "column_title", "curve", "frame", "literal", "matching"]

_BEST, _OVERLAPS, _PLAIN = "#0f766e", "#5eaaa2", "#64748b"
_STYLES = {
    "best": "background-color: #c9ebe4; color: #134e4a; font-weight: 700",
    "overlaps": "background-color: #e9f6f3; color: #134e4a",
    "": "",
}
_AT_CHANCE = "background-color: #fdf0dc; color: #92400e"
_QUIET = "color: #7b8794"


def literal(text: object) -> str:
    """Return markdown that shows a text as it is: code, fenced by more backticks than the text has in a row."""
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
            styler.format(lambda value, texts=texts: texts.get(value, ""), subset=[key], na_rep="")
    return styler


def _interval(cell: Cell | None) -> str:
    if cell is None:
        return "not tried"
    if cell.score is None:
        return f"{cell.status}: {cell.reason}" if cell.reason else cell.status
    return format_interval(cell.score)


def chart(board: Board, places: list[int], column: Column) -> alt.LayerChart | None:
    """Return the values of one task with their intervals and the chance level; None where there is none."""
    points = _points(board, places, column)
    if points.empty:
        return None
    title = (
        f"{column.headline} ({column.unit})" if column.unit not in ("", column.headline) else column.headline
    )
    percent = {"format": ".0%"} if column.unit == "fraction" else {}
    x = alt.X("value:Q", scale=alt.Scale(zero=False), axis=alt.Axis(title=title, tickCount=5, **percent))
    y = alt.Y("model:N", sort=list(points["model"]), axis=alt.Axis(title=None, labelLimit=170))
    colour = alt.Color(
        "standing:N",
        scale=alt.Scale(domain=["best", "overlaps", "other"], range=[_BEST, _OVERLAPS, _PLAIN]),
        legend=None,
    )
    tips = [alt.Tooltip("model:N"), alt.Tooltip("text:N", title=column.headline), alt.Tooltip("n:Q")]
    base = alt.Chart(points)
    layers: list[alt.Chart] = []
    if column.chance is not None:
        level = alt.Chart(pd.DataFrame({"chance": [column.chance]}))
        layers.append(level.mark_rule(color="#b45309", strokeDash=[5, 4]).encode(x=alt.X("chance:Q")))
        label = level.mark_text(align="left", baseline="bottom", dx=4, dy=-4, color="#b45309", text="chance")
        layers.append(label.encode(x=alt.X("chance:Q"), y=alt.value(0)))
    bars = base.transform_filter("isValid(datum.low) && isValid(datum.high)")
    layers.append(
        bars.mark_rule(strokeWidth=2.5, opacity=0.55).encode(x=alt.X("low:Q"), x2="high:Q", y=y, color=colour)
    )
    layers.append(
        base.mark_point(filled=True, size=85, opacity=1).encode(x=x, y=y, color=colour, tooltip=tips)
    )
    return alt.layer(*layers).properties(height=alt.Step(30))


def curve(board: Board, places: list[int], column: Column, by: str) -> alt.LayerChart | None:
    """Return the values of one task over "parameters" or "step"; None for fewer than two points."""
    points = _points(board, places, column).dropna(subset=[by])
    if len(points) < 2:
        return None
    percent = {"format": ".0%"} if column.unit == "fraction" else {}
    scale = alt.Scale(type="log") if by == "parameters" else alt.Scale(zero=False)
    y_title = f"{column.headline} {ARROWS[column.direction]}".rstrip()
    x = alt.X(f"{by}:Q", scale=scale, axis=alt.Axis(title=by, format="~s", tickCount=5))
    y = alt.Y("value:Q", scale=alt.Scale(zero=False), axis=alt.Axis(title=y_title, **percent))
    tips = [
        alt.Tooltip("model:N"),
        alt.Tooltip("text:N", title=column.headline),
        alt.Tooltip(f"{by}:Q", format=","),
    ]
    base = alt.Chart(points)
    bars = base.transform_filter("isValid(datum.low) && isValid(datum.high)").mark_rule(
        strokeWidth=2.5, opacity=0.45, color=_BEST
    )
    layers: list[alt.Chart] = [
        bars.encode(x=x, y=alt.Y("low:Q"), y2="high:Q"),
        base.mark_point(filled=True, size=85, opacity=1, color=_BEST).encode(x=x, y=y, tooltip=tips),
    ]
    if column.chance is not None:
        level = alt.Chart(pd.DataFrame({"chance": [column.chance]}))
        layers.append(level.mark_rule(color="#b45309", strokeDash=[5, 4]).encode(y=alt.Y("chance:Q")))
    return alt.layer(*layers).properties(height=340)


def _points(board: Board, places: list[int], column: Column) -> pd.DataFrame:
    found = []
    for row in (board.rows[place] for place in places):
        cell = row.cells.get(column.key)
        if cell is None or cell.score is None or cell.value is None:
            continue
        found.append(
            {
                "model": row.label,
                "value": cell.value,
                "low": cell.score.low,
                "high": cell.score.high,
                "n": cell.score.n,
                "text": format_value(cell.score),
                "standing": cell.mark or "other",
                "parameters": row.parameters or None,
                "step": row.step,
            }
        )
    return pd.DataFrame(found, columns=[*_POINT])


_POINT = ("model", "value", "low", "high", "n", "text", "standing", "parameters", "step")

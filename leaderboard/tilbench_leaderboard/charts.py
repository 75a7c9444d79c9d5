"""One task as a picture: its values with their intervals, the chance level and the commonest answer's."""

from __future__ import annotations

from typing import Any, Literal

import altair as alt
import pandas as pd

from tilbench.results.table import ARROWS, Board, Column, format_value

__all__ = ["by_model", "over"]

_INK = {"best": "#0f766e", "overlaps": "#5eaaa2", "other": "#64748b"}
_CHANCE = "#b45309"
_FIELDS = ("model", "value", "low", "high", "n", "text", "standing", "parameters", "step")
_HAS_INTERVAL = "isValid(datum.low) && isValid(datum.high)"


def by_model(board: Board, places: list[int], column: Column) -> alt.LayerChart | None:
    """Return a line for each model, in the order of the board; None where no model has a value."""
    points = _points(board, places, column)
    if points.empty:
        return None
    x = alt.X("value:Q", scale=alt.Scale(zero=False), axis=_axis(column))
    y = alt.Y(
        "model:N",
        sort=list(points["model"]),
        axis=alt.Axis(title=None, labelLimit=170, labelFlush=False),
    )
    return _layers(points, column, x=x, y=y, low=alt.X("low:Q"), high={"x2": "high:Q"}).properties(height=alt.Step(32))


def over(board: Board, places: list[int], column: Column, by: Literal["parameters", "step"]) -> alt.LayerChart | None:
    """Return the values over the models' parameters or training step; None for fewer than two points."""
    points = _points(board, places, column).dropna(subset=[by])
    if len(points) < 2:
        return None
    scale = alt.Scale(type="log") if by == "parameters" else alt.Scale(zero=False)
    billions = "replace(datum.label, 'G', 'B')"  # SI says giga, people say billion
    axis = alt.Axis(title=by, format="~s", labelExpr=billions, tickCount=5, grid=False)
    x = alt.X(f"{by}:Q", scale=scale, axis=axis)
    y = alt.Y("value:Q", scale=alt.Scale(zero=False), axis=_axis(column))
    return _layers(points, column, x=x, y=y, low=alt.Y("low:Q"), high={"y2": "high:Q"}, also=(by,)).properties(
        height=320
    )


def _layers(
    points: pd.DataFrame,
    column: Column,
    *,
    x: alt.X,
    y: alt.Y,
    low: alt.X | alt.Y,
    high: dict[str, str],
    also: tuple[str, ...] = (),
) -> alt.LayerChart:
    """Draw the levels of who knows nothing, the intervals from `low` to `high`, and the values."""
    colour = alt.Color("standing:N", scale=alt.Scale(domain=[*_INK], range=[*_INK.values()]), legend=None, title=None)
    lying = isinstance(low, alt.X)
    layers: list[alt.Chart] = []
    for name, number, up in (("chance", column.chance, 3), ("commonest answer", column.majority, 15)):
        if number is None:
            continue
        level = alt.Chart(pd.DataFrame({"level": [number]}))
        place = {"x" if lying else "y": alt.X("level:Q") if lying else alt.Y("level:Q")}
        layers.append(level.mark_rule(color=_CHANCE, strokeDash=[5, 4]).encode(**place))
        words = level.mark_text(color=_CHANCE, text=name, align="left", baseline="bottom", dx=4, dy=-up)
        layers.append(words.encode(**place, **{"y" if lying else "x": alt.value(0)}))
    base = alt.Chart(points)
    bar = {"x": low, "y": y} if lying else {"x": x, "y": low}
    bars = base.transform_filter(_HAS_INTERVAL).mark_rule(strokeWidth=2.5, opacity=0.5)
    layers.append(bars.encode(**bar, **high, color=colour))
    tips = [
        alt.Tooltip("model:N"),
        alt.Tooltip("text:N", title="value [95%]"),
        *(alt.Tooltip(f"{name}:Q", format=",") for name in ("n", *also)),
    ]
    dots = base.mark_point(filled=True, size=90, opacity=1)
    layers.append(dots.encode(x=x, y=y, color=colour, tooltip=tips))
    return alt.LayerChart(layer=layers)


def _axis(column: Column) -> alt.Axis:
    """Return the axis of a task's values, with its unit and which way is better."""
    unit = f" ({column.unit})" if column.unit not in ("", "fraction", column.headline) else ""
    title = f"{column.headline}{unit} {ARROWS[column.direction]}".rstrip()
    return alt.Axis(title=title, tickCount=5, format=".0%" if column.unit == "fraction" else "~g")


def _points(board: Board, places: list[int], column: Column) -> pd.DataFrame:
    found: list[dict[str, Any]] = []
    for row in (board.rows[place] for place in places):
        cell = row.cells.get(column.key)
        if cell is None or cell.score is None or cell.value is None:
            continue
        standing = cell.mark or "other"
        facts = (
            row.label,
            cell.value,
            cell.score.low,
            cell.score.high,
            cell.score.n,
            format_value(cell.score),
        )
        found.append(dict(zip(_FIELDS, (*facts, standing, row.parameters or None, row.step), strict=True)))
    return pd.DataFrame(found, columns=list(_FIELDS))

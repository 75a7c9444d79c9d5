"""The page: `streamlit run app.py -- --records DIR`."""

from __future__ import annotations

import argparse
import hashlib
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from tilbench.comparison.conditions import conditions_of_board
from tilbench.errors import DataError
from tilbench.results.table import Board, not_run, unrun
from tilbench_leaderboard import charts, provenance
from tilbench_leaderboard.load import Reader
from tilbench_leaderboard.view import column_title, frame, literal, matching

__all__ = ["main"]

_LOOKS = """<style>
[data-testid="stMainBlockContainer"] { padding-top: 2.2rem; padding-bottom: 3rem; max-width: 1700px; }
[data-testid="stMainBlockContainer"] h1 { font-size: 2rem; padding: 0 0 0.2rem 0; }
[data-testid="stMarkdownContainer"] code, [data-testid="stCaptionContainer"] code {
  color: #1c2733; background: #eef2f4; font-size: 0.82em;
}
[data-testid="stHeadingWithActionElements"] code, summary code { background: none; padding: 0; font-size: 0.95em; }
.key span { padding: 0.1rem 0.45rem; border-radius: 0.3rem; margin-right: 0.25rem; white-space: nowrap; }
.key { font-size: 0.85rem; color: #52606d; line-height: 1.9; }
</style>"""
_KEY = """<div class="key">
<span style="background: #c9ebe4; color: #134e4a; font-weight: 700">best</span> of its task &ensp;
<span style="background: #e9f6f3; color: #134e4a">overlaps</span> its 95% interval overlaps the best one's, which
describes and does not test: 'tilbench compare' tests two models, and warns of few documents &ensp;
<span style="background: #fdf0dc; color: #92400e">not above chance</span> its interval does not clear chance or the
commonest answer &ensp; ↓ lower is better &ensp; ↑ higher is better
</div>"""
_ROW, _MOST_ROWS = 36, 18
_MOST_COLUMNS = 60
"""Tasks that are shown side by side; of more than these, one suite at a time."""


def main(records: Path) -> None:
    """Show the records of a folder."""
    st.set_page_config(page_title="tilbench leaderboard", page_icon="📏", layout="wide")
    st.html(_LOOKS)
    st.title("Which small language model is better at my language?", anchor=False)
    try:
        snapshot = _reader(str(records)).read()
    except DataError as error:
        st.error(literal(error))
        return
    board = snapshot.board
    counts = ((len(board.rows), "model"), (len(board.columns), "task"), (len(board.entries), "record"))
    st.caption(
        f"tilbench leaderboard · {' · '.join(_count(number, noun) for number, noun in counts)} in "
        f"{literal(records)} · every number is read from a record; none is computed here"
    )
    if snapshot.damaged:
        st.warning(_damage(snapshot.damaged))
    if board.columns:
        _page(board)
    else:
        st.info("There are no records here yet. This makes some in a few minutes, with no network:")
        st.code(f"tilbench run suites/quickstart.yaml --out {shlex.quote(str(records))}", language=None)


def _page(whole: Board) -> None:
    """Show the filters, the table with the chart beside it, and where a chosen model's numbers come from."""
    slots = st.columns([2, 2, 2, 3, 3], vertical_alignment="bottom")
    filters = {"suite": _measured_first(whole), "language": whole.languages, "source": whole.sources}
    wide = len(whole.columns) > _MOST_COLUMNS
    chosen = {
        name: _choice(slot, name, options, every="" if wide and name == "suite" else f"all {name}s")
        for slot, (name, options) in zip(slots, filters.items(), strict=False)
    }
    board = whole.only(**{f"{name}s": [value] for name, value in chosen.items() if value})
    with st.container(horizontal=True):
        details = st.toggle("Intervals and chance levels", value=True, key="details")
        old = any(not column.newest for column in board.columns)
        if old and st.toggle("Only the newest version of each task", key="newest"):
            board = board.newest()
        missing = unrun(board.columns, board.rows)
        if missing and not st.toggle("Tasks that no model ran", key="unrun"):
            board = board.ran()
        else:
            missing = []
    if missing:
        st.caption(literal(not_run(missing)))
    if not board.columns:
        return
    suites = len(board.suites) > 1
    titles = {column.key: column_title(column, suite=suites) for column in board.columns}
    orders = {**titles, "model": "model name", "parameters": "parameters", "step": "training step"}
    by = _choice(slots[3], "sort", tuple(orders), titles=orders) or "model"
    board = board.sort(by)
    search = slots[4].text_input("Search models", key="search", placeholder="name, tokenizer or lineage")
    places = matching(board, search)
    if not places:
        st.info("No model matches these filters.")
        return
    left, right = st.columns([7, 3], gap="medium")
    with left:
        _table(board, places, details=details)
    with right:
        _charts(board, places, by, titles)
    _origins(board, places)


def _measured_first(board: Board) -> Sequence[str]:
    """Return the suites, those that hold nothing but reported figures last."""
    measured = {column.suite for column in board.columns if not column.reported}
    return sorted(board.suites, key=lambda suite: suite not in measured)


def _table(board: Board, places: list[int], *, details: bool) -> None:
    shown = [board.rows[place].label for place in places]
    state = repr((shown, [column.key for column in board.columns], details))
    key = f"board-{hashlib.sha256(state.encode()).hexdigest()[:12]}"  # another order is another selection

    def choose() -> None:
        rows = st.session_state[key]["selection"]["rows"]
        st.session_state["model"] = shown[rows[0]] if rows else None

    table, widths = frame(board, places, details=details)
    config: dict[Any, Any] = {place: st.column_config.Column(width=width) for place, width in widths.items()}
    config[1] = st.column_config.Column(pinned=True)
    st.dataframe(
        table,
        key=key,
        hide_index=True,
        placeholder="",
        height=_ROW * (min(len(places), _MOST_ROWS) + 2) + 3,
        row_height=_ROW,
        column_config=config,
        on_select=choose,
        selection_mode="single-row",
    )
    st.html(_KEY)
    for row in (board.rows[place] for place in places):
        for column in board.columns:
            if (cell := row.cells.get(column.key)) and cell.status == "does not hold":
                st.warning(f"{literal(row.label)} on {literal(column.label)} does not hold: {literal(cell.reason)}")
    for condition, labels in conditions_of_board(board.columns, board.rows).items():
        st.caption(f"{literal(', '.join(labels))}: {literal(condition)}")
    for column in board.columns:
        if column.task.machine:
            st.caption(f"{literal(column.label)}: measured on {literal(column.task.machine)}")
        if column.differs:
            what = "; ".join(literal(line) for line in column.differs)
            st.caption(f"{literal(column.label)} is not comparable with the newest version of its task: {what}")


def _charts(board: Board, places: list[int], by: str, titles: Mapping[str, str]) -> None:
    if st.session_state.get("_sorted") != by:  # the chart follows the sorting until it is told otherwise
        st.session_state["_sorted"] = by
        if by in titles:
            st.session_state["task"] = by
    if st.session_state.get("task") not in titles:
        st.session_state.pop("task", None)
    task = st.selectbox("Chart", list(titles), format_func=lambda key: titles[key], key="task")
    column = board.column(task)
    if column is None:
        return
    kinds = {
        "model": charts.by_model(board, places, column),
        "parameters": charts.over(board, places, column, "parameters"),
        "step": charts.over(board, places, column, "step"),
    }
    drawn = {kind: drawing for kind, drawing in kinds.items() if drawing is not None}
    if not drawn:
        st.info("No model has a value on this task.")
        return
    for tab, drawing in zip(st.tabs([f"by {kind}" for kind in drawn]), drawn.values(), strict=True):
        tab.altair_chart(drawing, width="stretch")


def _origins(board: Board, places: list[int]) -> None:
    st.subheader("Where the numbers come from", anchor=False)
    rows = {board.rows[place].label: board.rows[place] for place in places}
    if st.session_state.get("model") not in rows:
        st.session_state["model"] = None
    label = st.selectbox("Model", list(rows), key="model", placeholder="select a row of the table, or a model here")
    if label is not None:
        provenance.show(board, rows[label])


def _choice(
    slot: DeltaGenerator,
    name: str,
    options: Sequence[str],
    *,
    every: str = "",
    titles: Mapping[str, str] | None = None,
) -> str:
    """Return a choice that lives in the URL; with `every` there is one more, of that name, which is ""."""
    offered = ["", *options] if every else list(options)
    if st.session_state.get(name, st.query_params.get(name)) not in offered:
        st.session_state[name] = offered[0]
    elif name not in st.session_state:
        st.session_state[name] = st.query_params[name]
    label = {"sort": "Sort by"}.get(name, name.capitalize())
    known = titles or {}
    choice = slot.selectbox(label, offered, format_func=lambda key: known.get(key, key) or every, key=name)
    if choice == offered[0]:
        st.query_params.pop(name, None)
    else:
        st.query_params[name] = choice
    return choice


def _damage(lines: Sequence[str]) -> str:
    shown = "".join(f"\n- {literal(line)}" for line in lines[:10])
    more = f"\n- and {len(lines) - 10} more" if len(lines) > 10 else ""
    return f"{_count(len(lines), 'file')} could not be read and so left out:\n{shown}{more}"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


@st.cache_resource(show_spinner="Reading records …")
def _reader(records: str) -> Reader:
    return Reader(Path(records))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=Path, required=True, help="folder of records")
    main(parser.parse_args().records)

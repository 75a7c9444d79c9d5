"""Where the numbers of one model come from, task by task."""

from __future__ import annotations

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from tilbench.results.reading import reading_notes
from tilbench.results.record import Contamination, Record
from tilbench.results.table import Board, Cell, Column, Row, format_value, tied_mark
from tilbench_leaderboard.view import chance_text, column_title, literal, majority_text

__all__ = ["show"]


def show(board: Board, row: Row) -> None:
    """Write one model's card, and a fold for each of its tasks on this board."""
    pairs = [(column, cell) for column in board.columns if (cell := row.cells.get(column.key))]
    if not pairs:
        return
    used = pairs[-1][1].record.model
    st.markdown(f"#### {literal(row.name)}")
    left, right = st.columns(2)
    _list(
        left,
        {
            "Fingerprint": row.fingerprint,
            "Parameters": f"{row.parameters:,}" if row.parameters else "",
            "Step": "" if row.step is None else f"{row.step:,}",
            "Context": "" if used.max_length is None else f"{used.max_length:,} tokens",
        },
    )
    details = {name: value for name, value in used.details.items() if isinstance(value, str | int | float)}
    _list(
        right,
        {
            "Tokenizer": used.tokenizer,
            "Prefix token": used.prefix,
            "Lineage": " ← ".join(used.lineage),
            "Details": ", ".join(f"{name} {value}" for name, value in details.items()),
        },
    )
    for column, cell in pairs:
        _task(column, cell, expanded=len(pairs) == 1)


def _task(column: Column, cell: Cell, *, expanded: bool) -> None:
    record = cell.record
    result = format_value(cell.score) if cell.score else cell.status
    badge = " :orange-badge[not above chance]" if cell.above_chance is False else ""
    with st.expander(f"{literal(column_title(column))}  **{result}**{badge}", expanded=expanded):
        if cell.reason:
            st.info(f"{cell.status}: {literal(cell.reason)}")
        what, data, run = st.columns(3)
        _list(what, _what(cell), "Task")
        _list(data, _data(record), "Dataset")
        _list(run, _run(record), "Run")
        if record.task.settings:
            settings = (f"{name} = {value}" for name, value in sorted(record.task.settings.items()))
            st.markdown("**Settings** " + " ".join(literal(setting) for setting in settings))
        versions = (f"{name} {version}" for name, version in sorted(record.environment.versions.items()))
        st.markdown("**Versions** " + (" ".join(literal(version) for version in versions) or "–"))
        if record.measured.command:
            st.markdown("**Command**")
            st.code(record.measured.command, language=None, wrap_lines=True)
        if record.citation:
            st.markdown(f"**Printed in** {literal(record.citation)}")
        for note in [*reading_notes(cell.reading), *record.notes]:
            st.markdown(f"**Note** {literal(note)}")
        if options := record.task.dataset.equal_options:
            st.markdown(
                f"**Equal options** {len(options)} × two options of one text, as published: "
                + " ".join(literal(item) for item in options[:20])
                + (" …" if len(options) > 20 else "")
            )
        if record.contamination:
            st.markdown(_contamination(record.contamination, record.task.headline))
        st.markdown(f"**Record** {literal(cell.path)}")
        for path in cell.older:
            st.markdown(f"**Also there** {literal(path)}")
        st.markdown("**The whole record**")
        st.json(record.model_dump(mode="json"), expanded=False)


def _what(cell: Cell) -> dict[str, str]:
    task, score = cell.record.task, cell.score
    return {
        "Suite": f"{task.suite}, version {task.suite_version}",
        "Metric": f"{task.metric}, version {task.metric_version}",
        "Task version": str(task.version),
        "Task fingerprint": task.fingerprint[:16],
        "Shots": str(task.shots),
        "Rows scored": f"{score.n:,}" if score else "",
        "Standard error": "" if score is None or score.stderr is None else f"{score.stderr:.3g}",
        "Chance": chance_text(cell),
        "Commonest answer": majority_text(cell),
        "Tied": "".join(tied_mark(cell.record)),
        "Seed": str(task.seed),
    }


def _data(record: Record) -> dict[str, str]:
    data = record.task.dataset
    return {
        "Name": data.name,
        "Origin": data.origin,
        "Language": data.language,
        "Rows": f"{data.rows:,} of {data.total:,}",
        "Fingerprint": data.fingerprint[:16],
        "Example rows": record.task.examples[:16],
    }


def _run(record: Record) -> dict[str, str]:
    place, took = record.environment, record.measured
    return {
        "Source": record.source,
        "Finished": took.finished,
        "Wall time": f"{took.wall_seconds:,.1f} s",
        "Tokens": f"{took.tokens:,}",
        "Requests": f"{took.requests:,}, {took.reused:,} from the journal",
        "Peak memory": f"{took.peak_memory_bytes / 2**20:,.0f} MiB",
        "Hardware": place.hardware,
        "Device": f"{place.device}, {place.dtype}, {place.threads} threads",
        **({"Timed on": record.task.machine} if record.task.machine else {}),
        "Platform": f"{place.platform}, Python {place.python}",
        "Items": record.items[:16],
    }


def _contamination(found: Contamination, headline: str) -> str:
    """Return what of the rows stands in a training text, and the headline without these rows."""
    share = f"{found.flagged:,} of {found.n:,} rows stand in {literal(found.against)}"
    clean = found.clean.get(headline)
    return f"**Contamination** {share}" + (f"; without them {format_value(clean)}" if clean else "")


def _list(place: DeltaGenerator, facts: dict[str, str], title: str = "") -> None:
    """Write named facts one under the other, leaving out the empty ones."""
    lines = [f"**{title}**"] if title else []
    lines += [f"{name} {literal(fact)}" for name, fact in facts.items() if fact]
    place.markdown("  \n".join(lines))

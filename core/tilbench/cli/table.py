"""The board in the terminal: one table a suite, and under it what a reader must know."""

from __future__ import annotations

from collections.abc import Iterator

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from tilbench.comparison.conditions import conditions_of_board
from tilbench.results.reading import reading_marks, reading_notes
from tilbench.results.table import (
    ARROWS,
    Board,
    Cell,
    Column,
    Row,
    format_number,
    format_value,
    not_run,
    tied_mark,
    unrun,
)

__all__ = ["render"]

_PADDING = 3
"""Characters between two columns."""
_FRAME = 24
"""Characters of the column of parameters and of the table's own edges."""
_STYLES = {"best": "bold green", "overlaps": "green", "": ""}
_MARKS = {"best": "*", "overlaps": "†", "": ""}
"""What stands before a number: a file or a pipe has no colours."""
_LEGEND = {
    "best": Text("*: best of its task", "bold green"),
    "overlaps": Text("†: 95% interval overlaps the best one's (a description, not a test)", "green"),
    "chance": Text("≈ chance: 95% interval does not clear chance or the commonest answer", "yellow"),
    "tied": Text("tied: several choices score best; see docs/scoring.md", "yellow"),
    "untried": Text("a dot: never run", "dim"),
}


def render(board: Board, width: int = 200) -> Group:
    """Return the board for a terminal of `width` characters, in the order that it is sorted in.

    A suite with more columns than fit is shown as several tables, rather than with its numbers cut off. Tasks
    that no model ran are named in one line.
    """
    if not board.columns:
        return Group(Text("No records yet. Make some with: tilbench run suites/quickstart.yaml"))
    parts: list[RenderableType] = []
    for suite in board.suites:
        every = [column for column in board.columns if column.suite == suite]
        missing = unrun(every, board.rows)
        columns = [column for column in every if column not in missing]
        keys = {column.key for column in columns}
        rows = [row for row in board.rows if keys & row.cells.keys()]
        if not columns:
            parts.append(_plain(suite, "bold"))
        for number, some in enumerate(_fitting(columns, rows, width) if columns else ()):
            parts.append(_table(suite if number == 0 else f"{suite}, continued", some, rows))
        parts += _notes(columns, rows)
        if missing:
            parts.append(_plain(not_run(missing), "dim"))
        parts.append(Text())
    return Group(*parts[:-1])


def _fitting(columns: list[Column], rows: list[Row], width: int) -> Iterator[list[Column]]:
    """Yield the columns in groups, each as wide as the terminal allows and at least one column."""
    room = width - max(len(row.label) for row in rows) - _FRAME
    group: list[Column] = []
    used = 0
    for column in columns:
        cells = [_cell(row.cells.get(column.key)) for row in rows]
        needed = _PADDING + max(len(line) for text in (_header(column), *cells) for line in text.plain.split("\n"))
        if group and used + needed > room:
            yield group
            group, used = [], 0
        group.append(column)
        used += needed
    yield group


def _table(suite: str, columns: list[Column], rows: list[Row]) -> Table:
    table = Table(title=_plain(suite), title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
    table.add_column("model", no_wrap=True)
    table.add_column("parameters", justify="right", no_wrap=True)
    for column in columns:
        table.add_column(_header(column), justify="right", no_wrap=True)
    for row in rows:
        cells = [_cell(row.cells.get(column.key)) for column in columns]
        table.add_row(_plain(row.label), Text(f"{row.parameters:,}" if row.parameters else "–"), *cells)
    return table


def _header(column: Column) -> Text:
    header = Text()
    header.append_text(_plain(column.label, "bold"))
    header.append_text(_plain(f"\n{column.headline} {ARROWS[column.direction]}".rstrip()))
    unit = "" if column.unit in ("", "fraction", column.headline) else column.unit
    rows = f"n = {column.n}" if column.n or not column.reported else ""  # a document need not say
    header.append_text(_plain("\n" + ", ".join(part for part in (unit, rows) if part), "dim"))
    for name, level in (("chance", column.chance), ("commonest answer", column.majority)):
        if level is not None:
            header.append(f"\n{name} {level:.1%}" if column.unit == "fraction" else f"\n{name} {level:.3f}", "dim")
    return header


def _cell(cell: Cell | None) -> Text:
    if cell is None:
        return Text("·", "dim")
    if cell.score is None:
        return Text(cell.status, "red" if cell.status == "does not hold" else "dim")
    text = Text(no_wrap=True)
    number = format_number(cell.score)
    text.append(_MARKS[cell.mark] + number, _STYLES[cell.mark])
    text.append(format_value(cell.score).removeprefix(number), "dim")
    if cell.above_chance is False:
        text.append("\n≈ chance", "yellow")
    for mark in [*reading_marks(cell.reading), *tied_mark(cell.record)]:
        text.append(f"\n{mark}", "yellow")
    return text


def _notes(columns: list[Column], rows: list[Row]) -> list[Text]:
    """Return the legend, why cells are empty, what metrics say of their values, and what sets versions apart."""
    cells = [(row, column, row.cells.get(column.key)) for row in rows for column in columns]
    legend = [_LEGEND[mark] for mark in ("best", "overlaps") if any(c and c.mark == mark for *_, c in cells)]
    if any(cell and cell.above_chance is False for *_, cell in cells):
        legend.append(_LEGEND["chance"])
    if any(cell and cell.score and tied_mark(cell.record) for *_, cell in cells):
        legend.append(_LEGEND["tied"])
    if any(cell is None for *_, cell in cells):
        legend.append(_LEGEND["untried"])
    notes = [Text("  |  ", "dim").join(legend)] if legend else []
    reasons: dict[str, list[str]] = {}
    stated: dict[str, dict[str, None]] = {}
    for row, column, cell in cells:
        if cell is None:
            continue
        said = [f"{cell.status}: {cell.reason}"] if cell.score is None else reading_notes(cell.reading)
        for reason in said:
            reasons.setdefault(reason, []).append(f"{row.label} on {column.label}")
        if cell.score is not None and not column.reported:
            for note in cell.record.notes:
                stated.setdefault(note, {})[column.label] = None
    notes += [_plain(f"{', '.join(where)} – {reason}", "dim") for reason, where in reasons.items()]
    for note, where in stated.items():  # a note may begin with the name of its metric, as the label does
        said_once = note.removeprefix(f"{next(iter(where))}: ")
        notes.append(_plain(f"{', '.join(where)}: {said_once}", "dim"))
    for condition, labels in conditions_of_board(columns, rows).items():
        notes.append(_plain(f"{', '.join(labels)}: {condition}", "yellow"))
    for machine in dict.fromkeys(column.task.machine for column in columns if column.task.machine):
        timed = ", ".join(column.label for column in columns if column.task.machine == machine)
        notes.append(_plain(f"{timed}: measured on {machine}; on other machines this is another task", "dim"))
    for column in columns:
        if column.differs:
            what = "; ".join(column.differs)
            notes.append(_plain(f"{column.label} is not comparable with the newest: {what}", "yellow"))
    return notes


def _plain(text: str, style: str = "") -> Text:
    """Return text that a terminal shows as it is: no markup, and nothing that moves the cursor."""
    return Text("".join(sign if sign.isprintable() or sign == "\n" else "�" for sign in text), style)

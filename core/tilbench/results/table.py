"""The board: records laid out as models × tasks, for the terminal and the page alike.

Nothing is computed from items here. Values stand in one column only where their task fingerprints agree, and
a reported figure never stands in the column of measured ones.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from tilbench.results.cells import (
    ARROWS,
    Cell,
    Column,
    Direction,
    Entry,
    Mark,
    Row,
    baseline,
    clears,
    finished,
    make_cell,
    mark_column,
    tied_mark,
)
from tilbench.results.labels import model_labels
from tilbench.results.record import Record
from tilbench.results.wording import differences, format_interval, format_number, format_value

__all__ = [
    "ARROWS",
    "Board",
    "Cell",
    "Column",
    "Direction",
    "Entry",
    "Mark",
    "Row",
    "clears",
    "differences",
    "format_interval",
    "format_number",
    "format_value",
    "make_board",
    "not_run",
    "tied_mark",
    "unrun",
]

_NAMED = 5  # tasks that the line about those not run names
_UNKNOWN_MODEL = "none"  # fingerprint in the record of a model that could not even be opened


@dataclass(frozen=True, slots=True)
class Board:
    """Models × tasks, in order of appearance until sorted. `entries` are the records it was made from."""

    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    entries: tuple[Entry, ...] = field(repr=False)

    @property
    def suites(self) -> tuple[str, ...]:
        """Names of the suites, in order of appearance."""
        return tuple(dict.fromkeys(column.suite for column in self.columns))

    @property
    def languages(self) -> tuple[str, ...]:
        """Language tags of the tasks, sorted."""
        return tuple(sorted({column.language for column in self.columns if column.language}))

    @property
    def sources(self) -> tuple[str, ...]:
        """Sources of the records, sorted."""
        return tuple(sorted({record.source for _, record in self.entries}))

    def column(self, key: str) -> Column | None:
        """Return the column of this key, if the board has it."""
        return next((column for column in self.columns if column.key == key), None)

    def only(
        self,
        *,
        suites: Collection[str] = (),
        languages: Collection[str] = (),
        sources: Collection[str] = (),
    ) -> Board:
        """Return the board of the records that match (empty: all match), unsorted."""
        return make_board(
            (path, record)
            for path, record in self.entries
            if (not suites or record.task.suite in suites)
            and (not languages or record.task.dataset.language in languages)
            and (not sources or record.source in sources)
        )

    def newest(self) -> Board:
        """Return the board without columns that a newer version of their task supersedes."""
        columns = tuple(replace(column, versions=1) for column in self.columns if column.newest)
        keys = {column.key for column in columns}
        rows = tuple(row for row in self.rows if keys & row.cells.keys())
        return replace(self, columns=columns, rows=rows)

    def ran(self) -> Board:
        """Return the board without columns that are "not run" for every model, and models left with none."""
        missing = {column.key for column in unrun(self.columns, self.rows)}
        columns = tuple(column for column in self.columns if column.key not in missing)
        keys = {column.key for column in columns}
        return replace(self, columns=columns, rows=tuple(row for row in self.rows if keys & row.cells.keys()))

    def sort(self, by: str, *, worst_first: bool = False) -> Board:
        """Return the board sorted by a column key, "model", "parameters" or "step"; missing values last.

        A column is sorted best first: lowest first where lower is better. An unknown key changes nothing.
        """
        column = self.column(by)
        down = column is not None and column.direction != "lower"

        def value(row: Row) -> float | str | None:
            if by == "model":
                return row.label.casefold()
            if by in ("parameters", "step"):
                return row.parameters or None if by == "parameters" else row.step
            return cell.value if (cell := row.cells.get(by)) else None

        if column is None and by not in ("model", "parameters", "step"):
            return self
        known = [(found, row) for row in self.rows if (found := value(row)) is not None]
        known.sort(key=lambda pair: pair[0], reverse=down != worst_first)
        rest = [row for row in self.rows if value(row) is None]
        return replace(self, rows=(*(row for _, row in known), *rest))


def make_board(entries: Iterable[Entry]) -> Board:
    """Lay out records as a board.

    Of several records of one model on one column the measured one that finished last is shown. A task that
    was not run stands in the column it would have filled: that of its fingerprint, else its task's newest.
    """
    entries = tuple(entries)
    columns = _columns(entries)
    models = _models(entries)
    found: dict[_Model, dict[str, list[Entry]]] = {model: {} for model in models.values()}
    for path, record in entries:
        held = found[models[record.model.name, record.model.fingerprint]]
        held.setdefault(columns[_version(record)].key, []).append((path, record))
    by_key = {column.key: column for column in columns.values()}
    cells = {model: _cells(by_key, held) for model, held in found.items()}
    for column in by_key.values():
        mark_column(column, cells.values())
    labels = model_labels(list(cells))
    rows = tuple(_row(model, labels[model], held) for model, held in cells.items())
    return Board(tuple(by_key.values()), rows, entries)


def _cells(columns: Mapping[str, Column], held: Mapping[str, Sequence[Entry]]) -> dict[str, Cell]:
    """Return the cells of one model, of which `held` has the records by column key."""
    records = [record for entries in held.values() for _, record in entries]
    return {key: make_cell(column, held[key], records) for key, column in columns.items() if key in held}


def unrun(columns: Iterable[Column], rows: Sequence[Row]) -> list[Column]:
    """Return the columns that are "not run" in every row that has a cell there."""
    return [
        column
        for column in columns
        if all(cell.status == "not run" for row in rows if (cell := row.cells.get(column.key)))
    ]


def not_run(columns: Sequence[Column]) -> str:
    """Return a line about tasks that no model ran."""
    names = ", ".join([column.name for column in columns[:_NAMED]] + ["…"] * (len(columns) > _NAMED))
    tasks, their, each = ("task", "its", "it") if len(columns) == 1 else ("tasks", "their", "each")
    return (
        f"{len(columns)} {tasks} not run, {their} data is not on this machine: {names}; "
        f"'tilbench run … --dry-run' says how to get {each}"
    )


_Model = tuple[str, str]  # name, fingerprint
_Version = tuple[str, str, str, bool]  # suite, task, task fingerprint, reported


def _version(record: Record) -> _Version:
    task = record.task
    return task.suite, task.name, task.fingerprint, record.source == "reported"


def _columns(entries: Sequence[Entry]) -> dict[_Version, Column]:
    """Return the column of every version in the records, in the suite's order, newest version first."""
    latest: dict[tuple[str, str, bool], dict[_Version, Entry]] = {}
    for entry in entries:
        version = _version(entry[1])
        versions = latest.setdefault((version[0], version[1], version[3]), {})
        versions[version] = max(versions.get(version, entry), entry, key=finished)
    columns: dict[_Version, Column] = {}
    places = {(record.task.suite, record.task.name): record.task.position for _, record in entries}
    suites = list(dict.fromkeys(suite for suite, _ in places))
    order = sorted(places, key=lambda task: (suites.index(task[0]), places[task]))
    for suite, task in order:
        for reported in (False, True):
            versions = latest.get((suite, task, reported), {})
            ranked = sorted(versions, key=lambda version: finished(versions[version]), reverse=True)
            done = [version for version in ranked if versions[version][1].status == "done"] or ranked[:1]
            for version in done:
                record, first = versions[version][1], versions[done[0]][1]
                differs = tuple(differences(record.task, first.task))
                columns[version] = _column(record, len(done), version == done[0], differs)
            for version in ranked:  # not run: in the column that it would have filled
                columns.setdefault(version, columns[done[0]])
    return columns


def _column(record: Record, versions: int, newest: bool, differs: tuple[str, ...]) -> Column:
    task, score, reported = record.task, record.headline, record.source == "reported"
    return Column(
        key=f"{task.suite}/{task.name}@{task.fingerprint[:12]}{'-reported' if reported else ''}",
        suite=task.suite,
        name=task.name,
        headline=task.headline,
        unit=score.unit if score else "",
        direction=score.direction if score else "none",
        chance=score.chance if score else None,
        majority=baseline(record),
        n=score.n if score else task.dataset.rows,
        language=task.dataset.language,
        fingerprint=task.fingerprint,
        reported=reported,
        task=task,
        versions=versions,
        newest=newest,
        differs=differs,
    )


def _models(entries: Sequence[Entry]) -> dict[_Model, _Model]:
    """Return the row of every model; one that was never opened joins the row that has its name."""
    models = list(dict.fromkeys((record.model.name, record.model.fingerprint) for _, record in entries))
    opened = {name: (name, fingerprint) for name, fingerprint in models if fingerprint != _UNKNOWN_MODEL}
    return {model: opened.get(model[0], model) if model[1] == _UNKNOWN_MODEL else model for model in models}


def _row(model: _Model, label: str, cells: Mapping[str, Cell]) -> Row:
    known = [cell.record.model for cell in cells.values()]
    return Row(
        name=model[0],
        fingerprint=model[1],
        parameters=max(used.parameters for used in known),
        step=max((used.step for used in known if used.step is not None), default=None),
        label=label,
        cells=cells,
    )

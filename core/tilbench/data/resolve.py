"""From a dataset's name to its rows: data directory first, then the dataset's own source."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tilbench.data.dataset import Dataset, Prepare
from tilbench.data.files import EXTENSIONS, read_rows
from tilbench.data.hub import hub_rows, interleaved_rows
from tilbench.data.rows import Question, Row, kind_of, parse_row, rows_fingerprint
from tilbench.errors import DataError, MissingDataset, PluginError
from tilbench.paths import package_file, within

__all__ = ["Rows", "find_file", "load_rows", "sample", "source_rows", "stream_rows", "unregistered"]


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows that were read, with the digest of exactly these rows.

    total: rows of the dataset, of which `rows` may be a sample. source_total: rows of its source, which differ from
    these where the dataset prepares them. origin: where they came from, for people. equal_options: ids of questions
    two of whose choices have one text.
    """

    name: str
    kind: str
    rows: tuple[Row, ...]
    total: int
    origin: str
    fingerprint: str
    source_total: int
    language: str = ""
    equal_options: tuple[str, ...] = ()


def load_rows(name: str, dataset: Dataset, data_dir: Path | None, *, limit: int | None = None, seed: int = 0) -> Rows:
    """Read a dataset, or a seeded sample of `limit` of its rows in their own order.

    name: what it is called in messages and in the data directory.
    Raises MissingDataset where it is nowhere on this machine, DataError for a bad row.
    """
    origin, source = _source(name, dataset, data_dir, limit if dataset.prepare is None else None, seed)
    source_total: int | None = None
    if dataset.prepare is not None:
        raw_rows = [raw for _, raw in source]
        source_total = len(raw_rows)
        source = _prepared(name, dataset.prepare, raw_rows, origin)
    rows: list[Row] = []
    kind: str = dataset.kind or ""
    ids: set[str] = set()
    for place, raw in source:
        columns = _rename(raw, dataset, place)
        kind = kind or kind_of(columns)
        row = parse_row(kind, columns, place)
        if row.id in ids:
            raise DataError(f"{place}: a second row with the id {row.id!r}; ids must be unique")
        ids.add(row.id)
        rows.append(row)
    if not rows:
        raise DataError(f"dataset {name!r} ({origin}) has no rows")
    chosen = sample(rows, limit, seed)
    return Rows(
        name=name,
        kind=kind,
        rows=tuple(chosen),
        total=len(rows),
        origin=origin,
        fingerprint=rows_fingerprint(chosen),
        source_total=len(rows) if source_total is None else source_total,
        language=dataset.language,
        equal_options=tuple(row.id for row in chosen if isinstance(row, Question) and _equal_options(row)),
    )


def source_rows(name: str, dataset: Dataset, data_dir: Path | None) -> list[tuple[str, Mapping[str, object]]]:
    """Return `(place, columns)` of each row of the dataset's source, as it was read: before `prepare` and `columns`.

    `where` is applied. What a dataset made of these rows is what `load_rows` returns.
    Raises MissingDataset where the source is nowhere on this machine, DataError for a file that cannot be read.
    """
    return list(stream_rows(name, dataset, data_dir))


def stream_rows(name: str, dataset: Dataset, data_dir: Path | None) -> Iterator[tuple[str, Mapping[str, object]]]:
    """Return the rows of `source_rows` one at a time, for sources that do not fit into memory."""
    return _source(name, dataset, data_dir, None, 0)[1]


def _equal_options(question: Question) -> bool:
    """Say whether two choices are one text; space around a choice is never shown to a model."""
    return len({choice.strip() for choice in question.choices}) < len(question.choices)


def sample(rows: Sequence[Row], limit: int | None, seed: int) -> Sequence[Row]:
    """Return `limit` rows chosen by `seed`, in their own order; all of them where the limit allows."""
    if limit is None or limit >= len(rows):
        return rows
    chosen = random.Random(f"tilbench sample {seed}").sample(range(len(rows)), limit)
    return [rows[index] for index in sorted(chosen)]


def find_file(root: Path, name: str) -> Path | None:
    """Return the file of dataset `name` under `root`, whatever its extension; None where there is none."""
    if any(name.endswith(extension) for extension in EXTENSIONS) and within(root, name).is_file():
        return within(root, name)
    found = [path for extension in EXTENSIONS if (path := within(root, name + extension)).is_file()]
    if len(found) > 1:
        raise DataError(f"dataset {name!r} is in {found[0]} and in {found[1].name}; keep one of them")
    return found[0] if found else None


def _source(
    name: str, dataset: Dataset, data_dir: Path | None, limit: int | None, seed: int
) -> tuple[str, Iterator[tuple[str, Mapping[str, Any]]]]:
    """Return where the rows come from, and those that `where` lets pass."""
    origin, rows = _open(dataset.stored_as or name, dataset, data_dir, limit, seed)
    wanted = dataset.where.items()
    return origin, (row for row in rows if all(str(row[1].get(column)) == value for column, value in wanted))


def _prepared(
    name: str, prepare: Prepare, rows: Sequence[Mapping[str, object]], origin: str
) -> Iterator[tuple[str, Mapping[str, object]]]:
    """Yield the prepared rows; a place counts these, since one of them may come of several rows of the source."""
    try:
        prepared = prepare(rows)
    except DataError as error:
        raise DataError(f"{origin}: {error}") from None
    except Exception as error:  # a plugin's code may raise anything
        raise PluginError(f"dataset {name!r} cannot prepare its rows: {type(error).__name__}: {error}") from error
    for number, row in enumerate(prepared, start=1):
        yield f"{origin}, prepared row {number}", row


def _open(
    name: str, dataset: Dataset, data_dir: Path | None, limit: int | None, seed: int
) -> tuple[str, Iterator[tuple[str, Mapping[str, object]]]]:
    """Return where the rows come from, and the rows."""
    if data_dir is not None:
        for local in _local_names(name, dataset):
            if path := find_file(data_dir, local):
                return str(path), read_rows(path)
    if dataset.package:
        return f"{dataset.package}/{dataset.file}", read_rows(package_file(dataset.package, dataset.file))
    if dataset.path:
        path = Path(dataset.path).expanduser()
        return str(path), read_rows(path)
    if dataset.mix:
        return f"{len(dataset.mix)} streams on the Hub", interleaved_rows(name, dataset.mix, limit, seed)
    if dataset.hub:
        origin = f"hf:{dataset.hub}@{dataset.revision} {dataset.config} {dataset.split}".replace("  ", " ")
        return origin, hub_rows(name, dataset, limit, seed)
    where = f"{data_dir}/{name}.jsonl" if data_dir else f"DIR/{name}.jsonl"
    raise MissingDataset(
        f"dataset {name!r} is not on this machine: put it at {where} (or .jsonl.gz, .parquet, .csv, .txt) and pass "
        f"--data {data_dir or 'DIR'}, or set TILBENCH_DATA"
    )


def _local_names(name: str, dataset: Dataset) -> list[str]:
    """Return the ids under which a data directory may hold the dataset."""
    names = [] if Path(name).is_absolute() or name.startswith(".") else [name]
    if dataset.hub:
        names += ["/".join(part for part in (dataset.hub, dataset.config, dataset.split) if part)]
    return names


def _rename(raw: Mapping[str, object], dataset: Dataset, place: str) -> Mapping[str, object]:
    """Return the row under our field names, choices without empty ends, and an answer that counts from 0."""
    columns = dataset.columns
    sources = {ours: (theirs,) if isinstance(theirs, str) else theirs for ours, theirs in columns.items()}
    missing = [column for names in sources.values() for column in names if column not in raw]
    if missing and all(ours in raw for ours in columns):
        return raw  # a file with our fields, in the place of the source
    if missing:
        raise DataError(f"{place}: no column {missing[0]!r}; has {', '.join(raw)}")
    renamed = {key: value for key, value in raw.items() if key not in columns}
    for ours, names in sources.items():
        values = [raw[column] for column in names]
        if isinstance(columns[ours], str):
            renamed[ours] = values[0]
        elif ours == "id":
            renamed[ours] = "#".join(map(str, values))
        else:
            while values and values[-1] in (None, ""):
                values.pop()
            # an empty one before others stays and is refused: without it the answer's letter would mean another
            renamed[ours] = ["" if value is None else value for value in values]
    if dataset.answers_from:
        renamed["answer"] = _from_zero(renamed.get("answer"), dataset.answers_from, place)
    return renamed


def _from_zero(answer: object, first: int, place: str) -> int:
    """Return the index from 0 of an answer that counts from `first`."""
    if isinstance(answer, str) and answer.strip().isdecimal():
        answer = int(answer)
    if not isinstance(answer, int) or isinstance(answer, bool) or answer < first:
        raise DataError(f"{place}: 'answer' is {answer!r}, and the first choice is number {first}")
    return answer - first


def unregistered(name: str, data_dir: Path | None) -> Dataset | None:
    """Return a dataset for a name that nobody registered, where the data directory or a path holds it."""
    if data_dir is not None and not Path(name).is_absolute() and find_file(data_dir, name):
        return Dataset()
    path = Path(name).expanduser()
    return Dataset(path=str(path)) if path.is_file() else None

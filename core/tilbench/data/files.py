"""Reads rows from files: jsonl, jsonl.gz, parquet, csv and txt, one at a time."""

from __future__ import annotations

import csv
import gzip
import io
import json
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from tilbench.errors import DataError

__all__ = ["EXTENSIONS", "read_rows"]

Raw = Mapping[str, Any]


def read_rows(path: Path) -> Iterator[tuple[str, Raw]]:
    """Yield `(place, columns)` of each row of a file; `place` is `file:line` for messages.

    A row with no `id` gets its line (or row) number as one. Raises DataError in one line for a file that is
    missing, of an unknown kind, damaged or not UTF-8.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file" if not path.exists() else f"{path} is a folder; name a file in it")
    reader = next((read for extension, read in EXTENSIONS.items() if path.name.endswith(extension)), None)
    if reader is None:
        raise DataError(f"{path}: unknown kind of file; known are {', '.join(EXTENSIONS)}")
    try:
        for number, row in reader(path):
            place = f"{path}:{number}"
            if not isinstance(row, Mapping):
                raise DataError(f"{place}: a row must be an object with named columns")
            yield place, row if row.get("id") is not None else {**row, "id": str(number)}
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 text ({error.reason} at byte {error.start}); convert the file") from None
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: cannot be read: {error}") from None


def _text(path: Path) -> io.TextIOWrapper:
    if path.name.endswith(".gz"):
        return io.TextIOWrapper(gzip.open(path, "rb"), encoding="utf-8-sig")
    return path.open(encoding="utf-8-sig", newline="")


def _jsonl(path: Path) -> Iterator[tuple[int, object]]:
    with _text(path) as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                try:
                    yield number, json.loads(line)
                except json.JSONDecodeError as error:
                    raise DataError(f"{path}:{number}: not JSON: {error.msg} at column {error.colno}") from None


def _csv(path: Path) -> Iterator[tuple[int, object]]:
    with _text(path) as file:
        reader = csv.DictReader(file)
        for row in reader:
            if None in row or None in row.values():
                raise DataError(f"{path}:{reader.line_num}: the row has other columns than the header")
            yield reader.line_num, row


def _txt(path: Path) -> Iterator[tuple[int, object]]:
    """Yield documents that blank lines separate."""
    with _text(path) as file:
        lines: list[str] = []
        start = 1
        for number, line in enumerate(file, start=1):
            if line.strip():
                start = start if lines else number
                lines.append(line)
            elif lines:
                yield start, {"text": "".join(lines).rstrip("\r\n")}
                lines = []
        if lines:
            yield start, {"text": "".join(lines).rstrip("\r\n")}


def _parquet(path: Path) -> Iterator[tuple[int, object]]:
    import pyarrow
    import pyarrow.parquet

    try:
        number = 0
        with pyarrow.parquet.ParquetFile(path) as file:
            for batch in file.iter_batches():
                for row in batch.to_pylist():
                    number += 1
                    yield number, row
    except pyarrow.ArrowException as error:
        raise DataError(f"{path}: not a Parquet file: {str(error).splitlines()[0]}") from None


EXTENSIONS: Mapping[str, Callable[[Path], Iterator[tuple[int, object]]]] = {
    ".jsonl": _jsonl,
    ".jsonl.gz": _jsonl,
    ".parquet": _parquet,
    ".csv": _csv,
    ".csv.gz": _csv,
    ".txt": _txt,
    ".txt.gz": _txt,
}

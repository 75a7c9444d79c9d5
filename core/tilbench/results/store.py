"""Records on disk: `DIR/<suite>/<task>/<model>-<digest>.json`, with its items in a `.parquet` beside it.

A folder of such folders is read as one.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pydantic

from tilbench.errors import DataError
from tilbench.kinds.metric import ItemScore
from tilbench.paths import atomic_path, file_digest
from tilbench.results.record import SCHEMA_VERSION, Record

__all__ = ["RecordStore"]

_KEYS = ("item", "cluster")
_PLACES = ("*/*/*.json", "*/*/*/*.json")


class RecordStore:
    """A folder of records. Reading never changes it."""

    def __init__(self, root: Path) -> None:
        if root.exists() and not root.is_dir():
            raise DataError(f"{root} is a file; records go into a folder, so name another with --out")
        self.root = root

    def path(self, suite: str, task: str, task_fingerprint: str, model: str, fingerprint: str) -> Path:
        """Return where a record lives. A task that changes has another fingerprint, and so another file."""
        slug = re.sub(r"[^A-Za-z0-9.-]+", "_", model).strip("._")[-60:] or "model"
        digest = hashlib.sha256(f"{task_fingerprint}\0{model}\0{fingerprint}".encode()).hexdigest()
        return self.root / suite / task / f"{slug}-{digest[:12]}.json"

    def place(self, record: Record) -> Path:
        """Return where `record` lives."""
        task, model = record.task, record.model
        return self.path(task.suite, task.name, task.fingerprint, model.name, model.fingerprint)

    def find(self, suite: str, task: str, task_fingerprint: str, model: str, fingerprint: str) -> Record | None:
        """Return the record of this model on exactly this task, if it is here."""
        path = self.path(suite, task, task_fingerprint, model, fingerprint)
        if not path.is_file():
            return None
        record = self.read(path)
        same = record.task.fingerprint == task_fingerprint and record.model.fingerprint == fingerprint
        return record if same else None

    def write(self, record: Record, items: Sequence[ItemScore]) -> Path:
        """Write items, then the record that carries their digest; both appear whole or not at all."""
        path = self.place(record)
        digest = ""
        if items:
            with atomic_path(path.with_suffix(".parquet")) as aside:
                pyarrow.parquet.write_table(_table(items), aside)
                digest = file_digest(aside)
        filled = record.model_copy(update={"items": digest})
        with atomic_path(path) as aside:
            aside.write_text(filled.model_dump_json(indent=1) + "\n", encoding="utf-8")
        return path

    def read(self, path: Path) -> Record:
        """Read one record. Raises DataError in one line for a file that is none."""
        try:
            data = json.loads(path.read_bytes())
            version = data.get("schema_version") if isinstance(data, dict) else None
            if isinstance(version, int) and version > SCHEMA_VERSION:
                raise DataError(f"{path}: schema version {version} is newer than this tilbench reads; upgrade tilbench")
            return Record.model_validate(data)
        except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
            raise DataError(f"{path}: not a record: {error}") from None
        except pydantic.ValidationError as error:
            fault = error.errors()[0]
            raise DataError(f"{path}: not a record: {'.'.join(map(str, fault['loc']))}: {fault['msg']}") from None

    def paths(self) -> list[Path]:
        """Return every record's path, sorted; those of a folder of folders of records too."""
        found = (path for pattern in _PLACES for path in self.root.glob(pattern))
        return sorted(path for path in found if not path.name.startswith("."))

    def records(self) -> Iterator[tuple[Path, Record]]:
        """Yield every record with its path. Raises DataError at one that cannot be read."""
        for path in self.paths():
            yield path, self.read(path)

    def items(self, path: Path) -> list[ItemScore]:
        """Return the items beside the record at `path`, in the order of its rows. Raises DataError."""
        table = _read(path)
        names = [name for name in table.column_names if name not in _KEYS]
        texts = [name for name in names if _holds_text(table, name)]
        numbers = [name for name in names if name not in texts]
        return [
            ItemScore(row["item"], row["cluster"], _present(row, numbers), _present(row, texts))
            for row in table.to_pylist()
        ]


def _read(path: Path) -> pyarrow.Table:
    file = path.with_suffix(".parquet")
    try:
        return pyarrow.parquet.read_table(file)
    except (OSError, pyarrow.ArrowException) as error:
        raise DataError(f"{file}: cannot be read: {str(error).splitlines()[0]}") from None


def _holds_text(table: pyarrow.Table, name: str) -> bool:
    return bool(pyarrow.types.is_string(table.schema.field(name).type))


def _present(row: Mapping[str, object], names: Sequence[str]) -> dict[str, Any]:
    return {name: row[name] for name in names if row[name] is not None}


def _table(items: Sequence[ItemScore]) -> pyarrow.Table:
    columns: dict[str, pyarrow.Array] = {
        "item": pyarrow.array([each.item for each in items], pyarrow.string()),
        "cluster": pyarrow.array([each.cluster for each in items], pyarrow.string()),
    }
    for name in sorted({name for each in items for name in each.values}):
        columns[name] = pyarrow.array([each.values.get(name) for each in items], pyarrow.float64())
    for name in sorted({name for each in items for name in each.texts}):
        columns[name] = pyarrow.array([each.texts.get(name) for each in items], pyarrow.string())
    return pyarrow.table(columns)

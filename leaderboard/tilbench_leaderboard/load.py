"""Reading a folder of records, again and again, without reading a file twice."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from tilbench.errors import DataError
from tilbench.results.record import Record
from tilbench.results.store import RecordStore
from tilbench.results.table import Board, make_board

__all__ = ["Reader", "Snapshot"]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a folder held at one time. damaged: a line for each file that is no record, naming the file."""

    board: Board
    damaged: tuple[str, ...]


@dataclass(slots=True)
class Reader:
    """Reads the records of a folder; a file is read again only when its time or size has changed."""

    root: Path
    _known: dict[Path, tuple[tuple[int, int], Record | str]] = field(default_factory=dict)
    _last: Snapshot | None = None

    def read(self) -> Snapshot:
        """Return what the folder holds now. A damaged file is named and the others are still read."""
        store = RecordStore(self.root)
        known: dict[Path, tuple[tuple[int, int], Record | str]] = {}
        for path in store.paths():
            try:
                status = path.stat()
            except OSError:
                continue  # removed since it was listed
            stamp = (status.st_mtime_ns, status.st_size)
            held = self._known.get(path)
            known[path] = held if held and held[0] == stamp else (stamp, _read(store, path))
        if self._last is None or known != self._known:
            found = [(path, entry) for path, (_, entry) in known.items()]
            self._last = Snapshot(
                board=make_board((path, entry) for path, entry in found if isinstance(entry, Record)),
                damaged=tuple(entry for _, entry in found if isinstance(entry, str)),
            )
            self._known = known
        return self._last


def _read(store: RecordStore, path: Path) -> Record | str:
    try:
        return store.read(path)
    except DataError as error:
        return str(error)

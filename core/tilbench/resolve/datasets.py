"""Datasets by reference: a registered name, a data-directory id, a path, or fields written in a suite."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import overload

from tilbench.data.dataset import Dataset
from tilbench.data.resolve import Rows, load_rows, unregistered
from tilbench.data.rows import Document
from tilbench.errors import DataError, UnknownName
from tilbench.registry import Registry

__all__ = ["ReferenceText", "documents", "find_dataset", "rows_of"]


def find_dataset(reference: str | Dataset, registry: Registry, data_dir: Path | None) -> tuple[str, Dataset]:
    """Return a dataset with the name it goes by. Raises UnknownName."""
    if isinstance(reference, Dataset):
        name = reference.hub or reference.path or reference.file
        return "/".join(part for part in (name, reference.config) if part), reference
    if reference in registry.datasets:
        return reference, registry.datasets.get(reference)
    if (found := unregistered(reference, data_dir)) is not None:
        return reference, found
    where = f"{data_dir or 'DIR'}/{reference}.jsonl"
    fix = f"a file at {where} under --data {data_dir or 'DIR'} would be found too"
    raise UnknownName("dataset", reference, registry.datasets.names(), fix)


def rows_of(
    reference: str | Dataset,
    registry: Registry,
    data_dir: Path | None,
    *,
    limit: int | None = None,
    seed: int = 0,
) -> Rows:
    """Read a dataset's rows. Raises UnknownName, MissingDataset, DataError."""
    name, dataset = find_dataset(reference, registry, data_dir)
    return load_rows(name, dataset, data_dir, limit=limit, seed=seed)


def documents(
    reference: str, registry: Registry, data_dir: Path | None, *, limit: int | None = None
) -> tuple[Rows, list[Document]]:
    """Read a dataset that must hold running text. Raises DataError where it holds other rows."""
    rows = rows_of(reference, registry, data_dir, limit=limit)
    texts = [row for row in rows.rows if isinstance(row, Document)]
    if rows.kind != Document.kind:
        raise DataError(f"dataset {reference!r} holds {rows.kind}; running text is needed here")
    return rows, texts


class ReferenceText(Sequence[str]):
    """The texts that trainable baselines learn from, read when the first baseline asks for them."""

    def __init__(self, names: Sequence[str], registry: Registry, data_dir: Path | None) -> None:
        self._names = names
        self._registry = registry
        self._data_dir = data_dir
        self._texts: list[str] | None = None

    def _read(self) -> list[str]:
        """Raises MissingDataset, UnknownName or DataError where the text cannot be read."""
        if self._texts is None:
            read = [documents(name, self._registry, self._data_dir)[1] for name in self._names]
            self._texts = [document.text for source in read for document in source]
        return self._texts

    def __len__(self) -> int:
        return len(self._read())

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        return self._read()[index]

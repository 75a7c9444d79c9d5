"""A dataset: what its rows are, where they come from, and what it may be used for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

__all__ = ["Dataset", "Prepare", "RowKind"]

RowKind = Literal["documents", "questions", "pairs", "conversations", "prompts", "probes", "readings", "labelled"]

Prepare = Callable[[Sequence[Mapping[str, Any]]], Sequence[Mapping[str, Any]]]
"""All rows of a source, with the source's own columns → the rows that are used, each with an `id`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """Rows of one kind from exactly one source: a plugin's file, a path, or the Hugging Face Hub.

    A data directory is searched for the dataset's registered name (or `stored_as`) first, whatever the source says.

    kind: what a row is; None infers it from the columns.
    language: BCP-47 tag with script (`kk-Cyrl`), or a domain (`code`, `math`).
    package, file: a file shipped inside an importable package.
    path: a file on this machine (jsonl, jsonl.gz, parquet, csv or txt).
    hub, revision, config, split: a dataset on the Hub, at one revision.
    streaming: read the Hub dataset as it comes instead of storing it first.
    columns: the row's field → the source's column. Several columns make a list of choices, and an `id` whose parts
        stand with a `#` between them. A row that has these fields already, and not the columns, is taken as it is.
    where: column → value; only rows that have all of these values are used.
    stored_as: its id in a data directory where that is not its name: two datasets may be made of one file.
    answers_from: the number that the source's column of answers gives to the first choice (letters need none).
    prepare: what makes the rows out of the source's, before `columns`. It is code: plugins can name it, files cannot.
    mix: streams on the Hub, and how often each is drawn from: one dataset by `datasets.interleave_datasets`.
    licence, citation: what the source asks of those who use it.
    """

    __pydantic_config__ = {"extra": "forbid"}

    kind: RowKind | None = None
    language: str = ""
    package: str = ""
    file: str = ""
    path: str = ""
    hub: str = ""
    revision: str = "main"
    config: str = ""
    split: str = "test"
    streaming: bool = False
    columns: Mapping[str, str | tuple[str, ...]] = field(default_factory=dict)
    where: Mapping[str, str] = field(default_factory=dict)
    stored_as: str = ""
    answers_from: int = 0
    prepare: Prepare | None = None
    mix: tuple[tuple[Dataset, float], ...] = ()
    licence: str = ""
    citation: str = ""
    summary: str = ""

    def __post_init__(self) -> None:
        """Refuse a dataset with no source or with two."""
        sources = [name for name in ("package", "path", "hub", "mix") if getattr(self, name)]
        if len(sources) > 1:
            raise ValueError(f"a dataset has one source, not {' and '.join(sources)}")
        if bool(self.package) != bool(self.file):
            raise ValueError("'package' and 'file' go together")

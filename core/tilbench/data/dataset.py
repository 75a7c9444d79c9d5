"""A dataset: what its rows are, where they come from, and what it may be used for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

__all__ = ["Dataset", "RowKind"]

RowKind = Literal["documents", "questions", "pairs", "conversations", "prompts", "probes"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """Rows of one kind from exactly one source: a plugin's file, a path, or the Hugging Face Hub.

    A data directory is searched for the dataset's registered name first, whatever the source says.

    kind: what a row is; None infers it from the columns.
    language: BCP-47 tag with script (`kk-Cyrl`), or a domain (`code`, `math`).
    package, file: a file shipped inside an importable package.
    path: a file on this machine (jsonl, jsonl.gz, parquet, csv or txt).
    hub, revision, config, split: a dataset on the Hub, at one revision.
    streaming: read the Hub dataset as it comes instead of storing it first.
    columns: the row's field → the source's column (several columns make a list of choices).
    where: column → value; only rows that have all of these values are used.
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
    licence: str = ""
    citation: str = ""
    summary: str = ""

    def __post_init__(self) -> None:
        """Refuse a dataset with no source or with two."""
        sources = [name for name in ("package", "path", "hub") if getattr(self, name)]
        if len(sources) > 1:
            raise ValueError(f"a dataset has one source, not {' and '.join(sources)}")
        if bool(self.package) != bool(self.file):
            raise ValueError("'package' and 'file' go together")

"""Text that a model may have learned from, as a stream: a dataset, files, or the token files of a run."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tilbench.checkpoints.folder import RUN, find_checkpoint, is_checkpoint, is_run
from tilbench.contamination.items import texts
from tilbench.contamination.normalise import BOUNDARY
from tilbench.data.files import EXTENSIONS, read_rows
from tilbench.data.resolve import stream_rows
from tilbench.errors import CheckpointError, DataError, UnknownName
from tilbench.registry import Registry
from tilbench.resolve.checkpoint import Checkpoint
from tilbench.resolve.datasets import find_dataset

__all__ = ["stream_text"]

_BLOCK = 1 << 18
"""Characters of a plain text read at a time."""
_TOKENS = 1 << 16
"""Tokens decoded at a time."""
_OVERLAP = 1 << 10
"""Tokens that two stretches of one long document share, so that no window is lost between them."""

Decode = Callable[[Sequence[int]], str]


def stream_text(reference: str, registry: Registry, data_dir: Path | None) -> Iterator[str]:
    """Yield the documents of a registered dataset, of a file or folder, or of a training run, each with `BOUNDARY`.

    Of rows it takes every text they hold; of a run, or a token file of one, what its last checkpoint's tokenizer makes
    of the tokens. A long document comes in several pieces, so that memory does not grow with it.
    Raises UnknownName, MissingDataset, DataError or CheckpointError.
    """
    path = Path(reference).expanduser()
    if reference in registry.datasets or not path.exists():
        try:
            name, dataset = find_dataset(reference, registry, data_dir)
        except UnknownName:
            fix = "name a dataset, a file, a folder, or the folder of a training run"
            raise UnknownName("training text", reference, registry.datasets.names(), fix) from None
        return _rows(stream_rows(name, dataset, data_dir))
    if path.suffix == ".bin":
        return _tokens([path], path.parent.parent, registry)
    if is_checkpoint(path) or is_run(path):
        return _run(path.parent if is_checkpoint(path) else path, registry)
    return _folder(path) if path.is_dir() else _file(path)


def _rows(rows: Iterable[tuple[str, Mapping[str, Any]]]) -> Iterator[str]:
    for _, raw in rows:
        yield " ".join(texts([value for name, value in raw.items() if name != "id"])) + BOUNDARY


def _folder(folder: Path) -> Iterator[str]:
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name.endswith(tuple(EXTENSIONS))]
    if not files:
        raise DataError(f"{folder}: no text in it; known are {', '.join(EXTENSIONS)}")
    return (piece for path in files for piece in _file(path))


def _file(path: Path) -> Iterator[str]:
    return _plain(path) if path.name.endswith((".txt", ".txt.gz")) else _rows(read_rows(path))


def _plain(path: Path) -> Iterator[str]:
    """Yield a text file as one document, in blocks that end between words."""
    try:
        with (
            gzip.open(path, "rt", encoding="utf-8-sig")
            if path.suffix == ".gz"
            else path.open(encoding="utf-8-sig") as file
        ):
            held = ""
            while block := file.read(_BLOCK):
                held += block
                cut = max(held.rfind(space) for space in " \n\t") + 1 or len(held)
                yield held[:cut]
                held = held[cut:]
            yield held + BOUNDARY
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 text ({error.reason} at byte {error.start}); convert the file") from None
    except (OSError, EOFError) as error:
        raise DataError(f"{path}: cannot be read: {error}") from None


def _run(folder: Path, registry: Registry) -> Iterator[str]:
    files = sorted((folder / "data").glob("*.bin"))
    if files:
        return _tokens(files, folder, registry)
    asked = json.loads((folder / RUN).read_text(encoding="utf-8")) if (folder / RUN).is_file() else {}
    names = ", ".join(asked.get("data", ())) or "the datasets it was trained on"
    raise DataError(f"{folder} keeps no token files in {folder / 'data'}; name {names} instead")


def _tokens(files: Sequence[Path], folder: Path, registry: Registry) -> Iterator[str]:
    tokenizer = Checkpoint.open(find_checkpoint(folder), registry).tokenizer
    return (piece for path in files for piece in _decoded(path, tokenizer.decode, tokenizer.size))


def _decoded(path: Path, decode: Decode, size: int) -> Iterator[str]:
    """Yield the documents of a token file: `NAME.bin` of ids, `NAME.json` with `dtype`, `tokens` and `separator`."""
    index = path.with_suffix(".json")
    try:
        facts = json.loads(index.read_text(encoding="utf-8"))
        dtype, tokens, separator = np.dtype(facts["dtype"]), int(facts["tokens"]), facts["separator"]
        vocabulary = int(facts["vocabulary"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: its {index.name} cannot be read ({error}); train again to make both") from None
    if path.stat().st_size != tokens * dtype.itemsize:
        raise DataError(f"{path}: not the {tokens:,} tokens that {index.name} says; train again to make both")
    if vocabulary != size:
        raise CheckpointError(f"{path} has ids below {vocabulary}, and the tokenizer of its run ends at {size}")
    for begin, end in _documents(path, dtype, tokens, separator):
        for start in range(begin, end, _TOKENS - _OVERLAP):
            ids = np.fromfile(path, dtype, min(_TOKENS, end - start), offset=start * dtype.itemsize)
            yield decode(ids.tolist()) + BOUNDARY
            if start + _TOKENS >= end:
                break


def _documents(path: Path, dtype: Any, tokens: int, separator: int | None) -> Iterator[tuple[int, int]]:
    """Yield begin and end of each document, separators left out."""
    begin = 0
    for start in range(0, tokens, _TOKENS):
        ids = np.fromfile(path, dtype, min(_TOKENS, tokens - start), offset=start * dtype.itemsize)
        for place in np.flatnonzero(ids == separator) if separator is not None else ():
            if start + int(place) > begin:
                yield begin, start + int(place)
            begin = start + int(place) + 1
    if begin < tokens:
        yield begin, tokens

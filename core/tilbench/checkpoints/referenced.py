"""What the files of a model's folder refer to and what lies elsewhere: an adapter's base, shards, a tokenizer's files.

A fingerprint that left them out would be the same for two models.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tilbench.paths import file_digest

__all__ = ["ADAPTER", "adapter_base", "local_base", "outside", "weights_digest"]

ADAPTER = "adapter_config.json"
_INDEX = "*.index.json"
_TOKENIZER = "tokenizer_config.json"
_WEIGHTS = ("*.safetensors", "*.bin", "*.pt", "*.pth")


def adapter_base(folder: Path) -> Path | None:
    """Return the folder of the weights that the peft adapter in `folder` belongs to, or the local copy of the Hub's.

    None where `folder` has no adapter, or its base is not here.
    """
    if (found := local_base(folder)) is not None:
        return found
    content = _json(folder / ADAPTER)
    name = content.get("base_model_name_or_path")
    return _cached(name, content.get("revision")) if isinstance(name, str) and name else None


def local_base(folder: Path) -> Path | None:
    """Return the folder that `base_model_name_or_path` names; None where it names none.

    It is absolute or relative: to the adapter's own folder, to one of the folders around it from the nearest on, or to
    the working directory. peft writes it relative to the directory that the training ran in. The first that is there
    counts.
    """
    name = _json(folder / ADAPTER).get("base_model_name_or_path")
    if not isinstance(name, str) or not name:
        return None
    around = (folder, *folder.resolve().parents)
    places = (*(place / name for place in around), Path(name).expanduser())
    return next((place for place in places if place.is_dir()), None)


def outside(folder: Path) -> Iterator[tuple[str, Path]]:
    """Yield what files of `folder` refer to and what is not in it: how it is referred to, and its file or folder."""
    base = adapter_base(folder)
    if base is not None and not _within(base, folder):
        yield "base", base
    for index in sorted(folder.glob(_INDEX)):
        shards = _json(index).get("weight_map")
        for name in sorted({str(each) for each in shards.values()} if isinstance(shards, dict) else ()):
            if (folder / name).is_file() and not _within(folder / name, folder):
                yield name, folder / name
    for field, value in sorted(_json(folder / _TOKENIZER).items()):
        if field.endswith("_file") and isinstance(value, str):
            file = folder / value
            if file.is_file() and not _within(file, folder):
                yield field, file


def weights_digest(folder: Path) -> str:
    """Return a digest of the files of weights that lie in `folder`, or that its index names."""
    files = {each for pattern in _WEIGHTS for each in folder.glob(pattern)}
    files |= {place for name, place in outside(folder) if place.is_file() and place.suffix != ".json"}
    digest = hashlib.sha256()
    for file in sorted(files):
        facts = file.stat()
        digest.update(f"{file.name}\0{_digest(file.resolve(), facts.st_size, facts.st_mtime_ns)}\0".encode())
    return digest.hexdigest()


@functools.lru_cache(maxsize=64)
def _digest(file: Path, size: int, changed: int) -> str:
    """Return the digest of a file as it was then: a run asks for that of its base at every checkpoint."""
    return file_digest(file)


def _within(path: Path, folder: Path) -> bool:
    return path.resolve().is_relative_to(folder.resolve())


def _cached(name: str, revision: str | None) -> Path | None:
    if importlib.util.find_spec("huggingface_hub") is None:
        return None
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, revision=revision, local_files_only=True))
    except Exception:  # no name of the Hub, or never fetched: its errors share no base class
        return None


def _json(path: Path) -> dict[str, Any]:
    """Return a JSON object; an empty one for a file that is none, of which whoever needs it says so."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}

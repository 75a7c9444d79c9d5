"""From a model reference to the folders it stands for, without importing torch."""

from __future__ import annotations

import importlib.util
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tilbench.checkpoints.folder import checkpoint_fingerprint, is_checkpoint, read_json
from tilbench.checkpoints.referenced import ADAPTER, local_base
from tilbench.errors import CheckpointError, MissingDependency, TilbenchError

__all__ = ["ADAPTER", "CONFIG", "Source", "one_line", "recognises", "resolve", "resolve_base"]

CONFIG = "config.json"
_HUB = re.compile(r"hf:(?P<name>[\w.-]+(?:/[\w.-]+)?)(?:@(?P<revision>\S+))?")
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_LONGEST = 300
"""Characters of a library's message that are shown."""
_FILES = ("*.json", "*.safetensors", "*.model", "*.tiktoken", "*.txt", "*.jinja")
_UNUSED = ("original/*", "onnx/*", "checkpoint-*/*", "runs/*")
_TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "tokenizer.model")


@dataclass(frozen=True, slots=True)
class Source:
    """What a reference stands for.

    name: how people call it. base: folder of the weights. adapter: folder of a peft adapter on them, or None.
    """

    name: str
    base: Path
    adapter: Path | None = None

    @property
    def tokenizer(self) -> Path:
        """Folder of the tokenizer: the adapter's own, else the base's."""
        own = self.adapter and any((self.adapter / name).is_file() for name in _TOKENIZER_FILES)
        return self.adapter if self.adapter and own else self.base

    @property
    def config(self) -> dict[str, Any]:
        """Content of the base's `config.json`."""
        return read_json(self.base / CONFIG)

    def fingerprint(self, **extra: object) -> str:
        """Return a digest of every file that decides the answers, and of `extra`."""
        return checkpoint_fingerprint(self.adapter or self.base, **extra)


def one_line(error: BaseException) -> str:
    """Return what a library's error says, in one line."""
    text = " ".join(str(error).split())
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def recognises(reference: str) -> bool:
    """Say whether a reference is a Transformers or peft folder, or `hf:org/name[@revision]`.

    A folder whose config.json cannot be read is taken for one, so that opening it says what is wrong with the file.
    """
    if reference.startswith("hf:"):
        return _HUB.fullmatch(reference) is not None
    folder = Path(reference).expanduser()
    if not folder.is_dir() or is_checkpoint(folder):
        return False
    if (folder / ADAPTER).is_file():
        return True
    try:
        return "model_type" in read_json(folder / CONFIG)
    except CheckpointError:
        return (folder / CONFIG).is_file()


def resolve(reference: str, *, code: bool = False) -> Source:
    """Return the folders of a reference; what is on the Hub is downloaded. code: Python files too."""
    if reference.startswith("hf:"):
        match = _HUB.fullmatch(reference)
        if match is None:
            raise CheckpointError(f"model {reference!r}: write hf:org/name or hf:org/name@revision")
        name, folder = reference.removeprefix("hf:"), _download(match["name"], match["revision"], code)
    else:
        folder = Path(reference).expanduser()
        name = folder.resolve().name
    if (folder / ADAPTER).is_file():
        return Source(name, resolve_base(folder, code=code), folder)
    if not (folder / CONFIG).is_file():
        raise CheckpointError(f"{reference} holds neither {CONFIG} nor {ADAPTER}: no Transformers model is there")
    return Source(name, folder)


def resolve_base(adapter: Path, *, code: bool = False) -> Path:
    """Return the folder of the weights that the adapter in `adapter` belongs to.

    `base_model_name_or_path` is a folder or a name on the Hub; see `local_base`.
    """
    content = read_json(adapter / ADAPTER)
    name = content.get("base_model_name_or_path")
    if not isinstance(name, str) or not name:
        raise CheckpointError(f"{adapter / ADAPTER} names no base_model_name_or_path; write the base's folder there")
    if (folder := local_base(adapter)) is None:
        seen = "no folder, seen from the adapter's, from those around it, and from the working directory"
        fault = f"{adapter / ADAPTER}: the base {name!r} is {seen}"
        if not _HUB_ID.fullmatch(name):
            raise CheckpointError(f"{fault}; write where its weights are")
        try:
            folder = _download(name, content.get("revision"), code)
        except TilbenchError as error:
            raise CheckpointError(f"{fault}; and {error}") from None
    if not (folder / CONFIG).is_file():
        raise CheckpointError(f"{folder}, the base of the adapter {adapter}, has no {CONFIG}")
    return folder


def _download(name: str, revision: str | None, code: bool) -> Path:
    """Return the local copy of a Hub repository, fetched where it is not here yet."""
    if importlib.util.find_spec("huggingface_hub") is None:
        raise MissingDependency("huggingface_hub", "hf", f"hf:{name}")
    from huggingface_hub import snapshot_download

    wanted = [*_FILES, *(["*.py"] if code else [])]
    try:
        folder = Path(snapshot_download(name, revision=revision, allow_patterns=wanted, ignore_patterns=[*_UNUSED]))
        if not any(folder.glob("*.safetensors")):
            wanted.append("*.bin")
            snapshot_download(name, revision=revision, allow_patterns=wanted, ignore_patterns=[*_UNUSED])
    except Exception as error:  # offline, no such repository, gated, disk full: the libraries share no base class
        at = f" --revision {revision}" if revision else ""
        raise TilbenchError(
            f"hf:{name} cannot be fetched ({type(error).__name__}: {one_line(error)}); where there is a "
            f"network, run 'hf download {name}{at} --local-dir DIR', and name the folder DIR instead"
        ) from None
    return folder

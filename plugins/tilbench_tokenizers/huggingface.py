"""Transformers folders and Hub repositories, read without Transformers wherever there is a tokenizer.json."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from tilbench.config.references import split_hub
from tilbench.errors import CheckpointError, MissingDependency
from tilbench.kinds.tokenizer import Tokenizer
from tilbench_tokenizers.base import LoadedFamily, read_json, saved_marker, verified
from tilbench_tokenizers.fast import ROLES, FastTokenizer, read_content

__all__ = ["HuggingFace", "hub_folder", "role_names"]

_CONFIG, _SPECIAL = "tokenizer_config.json", "special_tokens_map.json"

_HUB_FILES = [
    *("tokenizer.json", _CONFIG, _SPECIAL, "added_tokens.json", "config.json"),
    *("*.model", "vocab.json", "vocab.txt", "merges.txt"),
]
"""What is fetched from the Hub: never weights, never code."""


class HuggingFace(LoadedFamily):
    """Loads a folder with tokenizer.json (or one to convert), and `hf:org/name[@revision]`."""

    name: ClassVar[str] = "huggingface"

    def recognises(self, reference: str) -> bool:
        """Recognise `hf:…`, a folder in Transformers' form that no other family saved, and a saved folder."""
        if split_hub(reference):
            return True
        if family := saved_marker(reference).get("family"):
            return bool(family == self.name)
        return any((Path(reference) / file).is_file() for file in ("tokenizer.json", _CONFIG))

    def load(self, reference: str) -> Tokenizer:
        """Load a folder or a Hub repository.

        tokenizer.json decides; of tokenizer_config.json only the names of the special tokens and the tokens
        it adds are read. Raises CheckpointError where files are missing or damaged, or the Hub is out of
        reach.
        """
        folder = hub_folder(reference) if split_hub(reference) else Path(reference)
        if not folder.is_dir():
            raise CheckpointError(f"there is no folder {reference!r}; give a folder, or hf:org/name for the Hub")
        if (folder / "tokenizer.json").is_file() or not (folder / _CONFIG).is_file():
            content = read_content(folder)
        else:
            content = _converted(folder)
        return verified(FastTokenizer(self.name, _with_added(content, folder), role_names(folder)), reference)


def role_names(folder: Path) -> dict[str, str | None]:
    """Return the bos, eos, pad and unk tokens of a folder: by tokenizer_config.json, else the special map."""
    names: dict[str, str | None] = dict.fromkeys(ROLES)
    for file in (_SPECIAL, _CONFIG):  # the latter wins, a null in it too
        if not (folder / file).is_file():
            continue
        for role in ROLES:
            settings = _settings(folder / file)
            if f"{role}_token" in settings:
                value = settings[f"{role}_token"]
                value = value.get("content") if isinstance(value, Mapping) else value
                if value is not None and not isinstance(value, str):
                    raise CheckpointError(f"{folder / file}: {role}_token must be text or null, not {value!r}")
                names[role] = value
    return names


def hub_folder(reference: str) -> Path:
    """Return the folder of the tokenizer files of `hf:org/name[@revision]`, fetched or from the cache.

    Raises CheckpointError, in one line, where the repository cannot be reached or does not exist.
    """
    try:
        from huggingface_hub import snapshot_download
    except ModuleNotFoundError:
        raise MissingDependency("huggingface-hub", "hf", f"loading {reference}") from None
    name, revision = split_hub(reference) or (reference, None)
    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=_HUB_FILES))
    except Exception as error:  # the hub's errors share no base class: HTTP, cache, validation, offline
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)[:160]
        raise CheckpointError(
            f"the tokenizer of {reference} cannot be fetched ({reason}); "
            "check the name and the network, or give a local folder"
        ) from None


def _settings(path: Path) -> dict[str, Any]:
    settings = read_json(path)
    if not isinstance(settings, dict):
        raise CheckpointError(f"{path} is no JSON object; fetch it again")
    return settings


def _with_added(content: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Add the tokens that only tokenizer_config.json lists, as Transformers does on loading."""
    path = folder / _CONFIG
    declared = _settings(path).get("added_tokens_decoder") if path.is_file() else None
    if not declared:
        return content
    added = list(content.get("added_tokens") or ())
    known = {token["content"] for token in added}
    for number, token in sorted(declared.items(), key=lambda item: int(item[0])):
        if token["content"] not in known:
            flags = {key: bool(token.get(key)) for key in ("single_word", "lstrip", "rstrip", "normalized", "special")}
            added.append({"id": int(number), "content": token["content"], **flags})
    return {**content, "added_tokens": added}


def _converted(folder: Path) -> dict[str, object]:
    """Have Transformers convert a folder of an older format; no code of the folder is run."""
    try:
        from transformers import AutoTokenizer
    except ModuleNotFoundError:
        raise MissingDependency("transformers", "hf", f"converting {folder}, which has no tokenizer.json,") from None
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, use_fast=True, local_files_only=True)
    except Exception as error:  # whatever the conversion of a foreign folder raises
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)[:160]
        raise CheckpointError(f"{folder} has no tokenizer.json and Transformers cannot convert it: {reason}") from None
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise CheckpointError(f"{folder} holds a slow tokenizer that has no fast form; convert it to tokenizer.json")
    content: dict[str, Any] = json.loads(backend.to_str())
    return content

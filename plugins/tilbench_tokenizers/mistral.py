"""The tokenizers that are shipped inside mistral-common."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from tilbench.errors import CheckpointError, MissingDependency, UnknownName
from tilbench.kinds.tokenizer import SpecialTokens, Tokenizer
from tilbench_tokenizers.base import BaseTokenizer, LoadedFamily, digest, saved_marker, verified
from tilbench_tokenizers.byte_pairs import BytePairs
from tilbench_tokenizers.pieces import PieceTokenizer

__all__ = ["Mistral", "TekkenTokenizer", "shipped"]

_PREFIX = "mistral:"


class TekkenTokenizer(BaseTokenizer):
    """A tekken.json file: ids are special tokens first, then byte-pair ranks.

    mistral-common checks the file and knows its special tokens; the ranks are run here, because its own
    encoder stops with an error at a run of some 100,000 letters.
    """

    family = "mistral"

    def __init__(self, path: Path) -> None:
        try:
            from mistral_common.tokens.tokenizers.tekken import Tekkenizer
        except ModuleNotFoundError:
            raise MissingDependency("mistral-common", "hf", "loading a tekken tokenizer") from None
        try:
            self._data = path.read_bytes()
            content = json.loads(self._data)
            tekken = Tekkenizer.from_file(path)
            ranks = int(tekken.n_words) - int(tekken.num_special_tokens)
            entries = {base64.b64decode(t["token_bytes"]): int(t["rank"]) for t in content["vocab"][:ranks]}
            self._ranks, self._pattern = entries, str(content["config"]["pattern"])
            self._pairs = BytePairs(entries, self._pattern)
            defined = {token["token_str"] for token in content.get("special_tokens") or ()}
        except MissingDependency:
            raise
        except Exception as error:  # the package checks its files with assertions, KeyError and ValueError
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:150]
            raise CheckpointError(f"{path} is no tekken tokenizer ({reason}); fetch it again") from None
        self.size, self._offset = int(tekken.n_words), int(tekken.num_special_tokens)
        names = {"bos": "<s>", "eos": "</s>", "pad": "<pad>", "unk": "<unk>"}
        # files older than the list of special tokens use the package's own, which has all four
        ids = {role: tekken.get_special_token(n) for role, n in names.items() if not defined or n in defined}
        self.special = SpecialTokens(ids.get("bos"), ids.get("eos"), ids.get("pad"), ids.get("unk"))
        self.fallback_ids = frozenset(self._offset + rank for rank in self._pairs.high_bytes)
        self.pre_tokenizer = f"pattern {self._pattern!r}"
        self._names = [str(tekken.id_to_piece(number)) for number in range(self._offset)]
        self.fingerprint = digest(["tekken", hashlib.sha256(self._data).hexdigest()])

    def _encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        return [[self._offset + rank for rank in ranks] for ranks in self._pairs.encode_batch(texts)]

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of `ids`; special tokens, and ids that are no token, are left out."""
        return self._pairs.decode([i - self._offset for i in ids])

    def to_transformers(self) -> Mapping[str, Any]:
        """Return the content of an equal tokenizer.json."""
        from tilbench_tokenizers.transformers_form import byte_pair_content

        special = {name: number for number, name in enumerate(self._names)}
        content: Mapping[str, Any] = byte_pair_content(self._ranks, self._pattern, special, self._offset)
        return content

    def _write(self, folder: Path) -> Mapping[str, Any]:
        (folder / "tekken.json").write_bytes(self._data)
        return {}


class Mistral(LoadedFamily):
    """Loads `mistral:NAME`, where NAME is one of `shipped()`, or a folder one was saved in."""

    name: ClassVar[str] = "mistral"

    def recognises(self, reference: str) -> bool:
        """Recognise the prefix `mistral:` and a saved folder."""
        return reference.startswith(_PREFIX) or saved_marker(reference).get("family") == self.name

    def load(self, reference: str) -> Tokenizer:
        """Load a shipped or saved tokenizer. Raises UnknownName with what the installed package ships."""
        if reference.startswith(_PREFIX):
            files, name = shipped(), reference.removeprefix(_PREFIX)
            if name not in files:
                raise UnknownName("mistral tokenizer", name, files, "a newer mistral-common may ship more")
            file = files[name]
        else:
            folder = Path(reference)
            found = [folder / f for f in ("tekken.json", "tokenizer.model") if (folder / f).is_file()]
            if not found:
                raise CheckpointError(f"{folder} has no tekken.json or tokenizer.model; use {_PREFIX}NAME")
            file = found[0]
        if file.suffix == ".json":
            return verified(TekkenTokenizer(file), reference)
        return verified(PieceTokenizer(self.name, file.read_bytes(), str(file)), reference)


def shipped() -> dict[str, Path]:
    """Return the tokenizer files inside the installed mistral-common: `v3`, `tekken_240911` … → path."""
    try:
        import mistral_common
    except ModuleNotFoundError:
        raise MissingDependency("mistral-common", "hf", "loading a mistral: tokenizer") from None
    folder = Path(mistral_common.__file__).parent / "data"
    files = {path.name.partition(".model.")[2]: path for path in folder.glob("*.model.*")}
    return files | {path.stem: path for path in folder.glob("tekken*.json")}

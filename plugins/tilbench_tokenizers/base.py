"""What every tokenizer of this plugin shares: batching, the saved marker, checked options."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from tilbench.errors import CheckpointError, ConfigError, DataError, Unsupported
from tilbench.kinds.tokenizer import SpecialTokens, Tokenizer

__all__ = [
    "MARKER",
    "BaseTokenizer",
    "LoadedFamily",
    "NoOptions",
    "checked",
    "digest",
    "read_json",
    "saved_marker",
    "verified",
]

MARKER = "tokenizer_family.json"
"""Written into every saved folder: which family loads it, and the fingerprint it must come back with."""

_Options = TypeVar("_Options", bound=BaseModel)


class NoOptions(BaseModel):
    """Options of a family that cannot be trained: none."""

    model_config = ConfigDict(extra="forbid")


class BaseTokenizer(ABC):
    """A `tilbench.kinds.tokenizer.Tokenizer` whose subclasses say how one text is encoded."""

    family: str
    size: int
    special: SpecialTokens
    fingerprint: str
    fallback_ids: frozenset[int] = frozenset()
    """Ids that stand for one byte of a character which no token covered."""
    unknown_ids: frozenset[int] = frozenset()
    pre_tokenizer: str = "not stated"
    """How a text is split before tokens are formed, in words: it bounds what a token can be."""

    @abstractmethod
    def _encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Encode texts that are known to be valid Unicode."""

    @abstractmethod
    def _write(self, folder: Path) -> Mapping[str, Any]:
        """Write the family's own files; return what the marker has to remember besides."""

    @abstractmethod
    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of `ids`; special tokens, and ids that are no token, are left out."""

    def encode(self, text: str) -> list[int]:
        """Return the ids of `text`. Raises DataError for a lone surrogate, which has no UTF-8 form."""
        return self.encode_batch([text])[0]

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the ids of each text, in order. Raises DataError for a lone surrogate."""
        for text in texts:
            try:
                text.encode("utf-8")
            except UnicodeEncodeError as error:
                found = f"a lone surrogate (U+{ord(text[error.start]):04X}) at character {error.start}"
                raise DataError(f"a text has {found}, which UTF-8 cannot hold; mend the text") from None
        return self._encode_batch(texts)

    def unknown(self, ids: Sequence[int]) -> int:
        """Count the ids that stand for text the tokenizer could not represent."""
        return sum(map(self.unknown_ids.__contains__, ids)) if self.unknown_ids else 0

    def byte_fallback(self, ids: Sequence[int]) -> int:
        """Count the ids that are one byte of a longer character (in SentencePiece: any `<0xNN>` piece)."""
        return sum(map(self.fallback_ids.__contains__, ids)) if self.fallback_ids else 0

    def save(self, folder: Path) -> None:
        """Write the tokenizer's files and the marker into `folder`. Raises DataError where it cannot."""
        try:
            extra = self._write(folder)
            marker = {"family": self.family, "fingerprint": self.fingerprint, **extra}
            (folder / MARKER).write_text(json.dumps(marker, indent=2) + "\n", encoding="utf-8")
        except OSError as error:
            raise DataError(f"the tokenizer cannot be saved in {folder}: {error.strerror or error}") from None


class LoadedFamily(ABC):
    """A family whose tokenizers come ready made."""

    trainable: ClassVar[bool] = False
    Options: ClassVar[type[BaseModel]] = NoOptions
    name: ClassVar[str]

    @abstractmethod
    def load(self, reference: str) -> Tokenizer:
        """Load a tokenizer. Raises CheckpointError where the files are not what they should be."""

    def train(self, texts: Iterable[str], options: Mapping[str, object]) -> Tokenizer:
        """Raise Unsupported: there is nothing to train."""
        raise Unsupported(f"a {self.name!r} tokenizer is loaded, never trained; train a 'bpe' or 'unigram' one")


def digest(content: Any) -> str:
    """Return the SHA-256 of JSON content, independent of the order of its keys."""
    text = json.dumps(content, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def read_json(path: Path) -> Any:
    """Read a JSON file. Raises CheckpointError naming the file and the place of the fault."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise CheckpointError(f"{path} is not UTF-8 text; it is damaged, fetch it again") from None
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise CheckpointError(f"{path} is not valid JSON ({error.msg}, {where}); fetch it again") from None


def saved_marker(reference: str) -> Mapping[str, Any]:
    """Return what the marker of a saved folder says; empty where `reference` is no such folder."""
    path = Path(reference) / MARKER
    if not path.is_file():
        return {}
    marker = read_json(path)
    if not isinstance(marker, dict) or not isinstance(marker.get("family"), str):
        raise CheckpointError(f"{path} names no tokenizer family; save the tokenizer again")
    return marker


def verified(tokenizer: BaseTokenizer, reference: str) -> Tokenizer:
    """Return `tokenizer`, or raise CheckpointError where a saved folder's files are not those once saved."""
    expected = saved_marker(reference).get("fingerprint", tokenizer.fingerprint)
    if expected != tokenizer.fingerprint:
        raise CheckpointError(
            f"the tokenizer in {reference} has fingerprint {tokenizer.fingerprint[:12]}, but was saved as "
            f"{str(expected)[:12]}: its files were changed; restore them, or delete {MARKER} to accept them"
        )
    return tokenizer


def checked(model: type[_Options], options: Mapping[str, object]) -> _Options:
    """Validate training options. Raises ConfigError that names the option, the fault and what there is."""
    try:
        return model.model_validate(dict(options))
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"])) or "options"
        known = ", ".join(model.model_fields) or "none"
        raise ConfigError(f"tokenizer option {name!r}: {first['msg']}; the options are {known}") from None

"""Tokenizers: text ↔ ids, and the families that train or load them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Protocol, runtime_checkable

if TYPE_CHECKING:
    from pydantic import BaseModel

__all__ = ["SpecialTokens", "Tokenizer", "TokenizerFamily", "ids_beyond"]


@dataclass(frozen=True, slots=True)
class SpecialTokens:
    """Ids of the special tokens a model needs; None where the tokenizer has none."""

    bos: int | None = None
    eos: int | None = None
    pad: int | None = None
    unk: int | None = None
    named: Mapping[str, int] = field(default_factory=dict, compare=False)
    """Every special token that a chat template may write, by its spelling."""

    def begun_by(self, prefix: int | None) -> SpecialTokens:
        """Return them as other tools take them: bos is the id that documents began with in training, if any did."""
        return self if prefix is None else replace(self, bos=prefix)


@runtime_checkable
class Tokenizer(Protocol):
    """Turns text into token ids and back. It never adds special tokens, pads or truncates.

    A special token spelled out in a text (`</s>`) is encoded as the ordinary characters it is.
    `tilbench.kinds.capabilities.tokenizer` has what a tokenizer may offer besides.
    """

    family: str
    size: int
    """Rows an embedding needs: the highest id + 1."""
    special: SpecialTokens
    fingerprint: str
    """Digest of everything that decides what `encode` returns."""

    def encode(self, text: str) -> list[int]:
        """Return the ids of `text`."""

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the ids of each text, in order."""

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of `ids`, special tokens left out; bytes that are no UTF-8 become U+FFFD."""

    def unknown(self, ids: Sequence[int]) -> int:
        """Count the ids that stand for text the tokenizer could not represent."""

    def byte_fallback(self, ids: Sequence[int]) -> int:
        """Count the ids that are single bytes used because no token covered their character."""

    def save(self, folder: Path) -> None:
        """Write the files from which the family's `load` makes the same tokenizer, into an existing folder."""


@runtime_checkable
class TokenizerFamily(Protocol):
    """A way to make tokenizers: train one from text, or load one from a reference.

    One that loses more than what it counts as unknown says so (`tilbench.kinds.capabilities.tokenizer`).
    """

    trainable: ClassVar[bool]

    @property
    def Options(self) -> type[BaseModel]:
        """Pydantic model of the training options (`vocab_size` among them), forbidding unknown fields."""

    def recognises(self, reference: str) -> bool:
        """Say whether `reference` (a folder, a file, `scheme:name`) is this family's to load."""

    def load(self, reference: str) -> Tokenizer:
        """Load a tokenizer. Raises CheckpointError where the files are not what they should be."""

    def train(self, texts: Iterable[str], options: Mapping[str, object]) -> Tokenizer:
        """Train on `texts`. Raises ConfigError for bad options, Unsupported where nothing can be trained."""


def ids_beyond(tokenizer: Tokenizer, rows: int) -> str:
    """Return, as a reason, that an embedding of `rows` rows is too small for the tokenizer; empty where it fits.

    It fits where every id that a text can have, bos and eos have a row. Other special tokens may lie beyond the
    embedding, as Gemma 3's token for images does: no text becomes one.
    """
    special = tokenizer.special
    never = set(special.named.values()) - {special.bos, special.eos}
    if all(token in never for token in range(rows, tokenizer.size)):
        return ""
    return f"the tokenizer has {tokenizer.size:,} ids and the embedding {rows:,} rows"

"""The tokenizer without a vocabulary: UTF-8 bytes are their own ids."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from tilbench.errors import CheckpointError
from tilbench.kinds.tokenizer import SpecialTokens, Tokenizer
from tilbench_tokenizers.base import BaseTokenizer, LoadedFamily, digest, saved_marker, verified

__all__ = ["ByteTokenizer", "Bytes"]


class ByteTokenizer(BaseTokenizer):
    """Ids 0–255 are the bytes; 256 pads, 257 begins and 258 ends a document."""

    family = "bytes"
    size = 259
    special = SpecialTokens(bos=257, eos=258, pad=256)
    # every byte of a longer character is used because no token covers that character
    fallback_ids = frozenset(range(0x80, 0x100))
    pre_tokenizer = "none"

    def __init__(self) -> None:
        self.fingerprint = digest(["utf-8 bytes", self.size])

    def _encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        return [list(text.encode("utf-8")) for text in texts]

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of `ids`; bytes that are no UTF-8 become U+FFFD."""
        return bytes(i for i in ids if 0 <= i < 0x100).decode("utf-8", "replace")

    def to_transformers(self) -> Mapping[str, Any]:
        """Return the content of an equal tokenizer.json."""
        from tilbench_tokenizers.transformers_form import byte_content

        return byte_content({"<pad>": 256, "<s>": 257, "</s>": 258})

    def _write(self, folder: Path) -> Mapping[str, Any]:
        return {}


class Bytes(LoadedFamily):
    """Loads the one byte tokenizer there is, by the reference `bytes`."""

    name: ClassVar[str] = "bytes"

    def recognises(self, reference: str) -> bool:
        """Recognise `bytes`, and a folder that a byte tokenizer was saved in."""
        return reference == self.name or saved_marker(reference).get("family") == self.name

    def load(self, reference: str) -> Tokenizer:
        """Return the byte tokenizer. Raises CheckpointError for any other reference."""
        if not self.recognises(reference):
            raise CheckpointError(f"{reference!r} is no byte tokenizer; the reference is 'bytes'")
        return verified(ByteTokenizer(), reference)

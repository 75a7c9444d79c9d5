"""`.tiktoken` rank files, read from disk: nothing is downloaded."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from tilbench.errors import CheckpointError
from tilbench.kinds.tokenizer import SpecialTokens, Tokenizer
from tilbench_tokenizers.base import BaseTokenizer, LoadedFamily, digest, saved_marker, verified
from tilbench_tokenizers.byte_pairs import BytePairs

__all__ = ["SCHEMES", "Scheme", "Tiktoken", "TiktokenTokenizer", "read_ranks"]

_FILE = "ranks.tiktoken"


@dataclass(frozen=True, slots=True)
class Scheme:
    """How a published vocabulary splits text, and the ids of its special tokens."""

    entries: int
    pattern: str
    special: Mapping[str, int]


# Source of patterns, sizes and special ids: openai/tiktoken, tiktoken_ext/openai_public.py (0.14).
_R50K = r"""'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s"""
_CL100K = (
    r"""'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+"""
    r"""|\s++$|\s*[\r\n]|\s+(?!\S)|\s"""
)
_FIM = ("<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>")
_CL100K_SPECIAL = {
    "<|endoftext|>": 100257,
    **{name: 100258 + i for i, name in enumerate(_FIM)},
    "<|endofprompt|>": 100276,
}

SCHEMES: Mapping[str, Scheme] = {
    "r50k_base": Scheme(50_256, _R50K, {"<|endoftext|>": 50_256}),
    "p50k_base": Scheme(50_280, _R50K, {"<|endoftext|>": 50_256}),
    "cl100k_base": Scheme(100_256, _CL100K, _CL100K_SPECIAL),
}
"""The published vocabularies, by name; a file is recognised by its number of entries."""


class TiktokenTokenizer(BaseTokenizer):
    """A rank file under a scheme. `special.eos` is `<|endoftext|>`; there is no bos, pad or unk."""

    family = "tiktoken"

    def __init__(self, data: bytes, where: str, scheme: str | None = None) -> None:
        ranks = read_ranks(data, where)
        self.scheme = scheme or _scheme_of(len(ranks), where)
        if self.scheme not in SCHEMES:
            known = ", ".join(SCHEMES)
            raise CheckpointError(f"{where}: there is no splitting scheme {self.scheme!r}; known: {known}")
        chosen, top = SCHEMES[self.scheme], max(ranks.values())
        # another vocabulary under a known scheme has its own end: the id after its last rank
        special = dict(chosen.special) if len(ranks) == chosen.entries else {"<|endoftext|>": top + 1}
        self._data, self._ranks, self._special = data, ranks, special
        self._pairs = BytePairs(ranks, chosen.pattern)
        self.size = max(top, *special.values()) + 1
        self.special = SpecialTokens(eos=special["<|endoftext|>"])
        self.fallback_ids = self._pairs.high_bytes
        self.pre_tokenizer = f"pattern of {self.scheme}"
        self.fingerprint = digest([hashlib.sha256(data).hexdigest(), chosen.pattern, special])

    def _encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        return self._pairs.encode_batch(texts)

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of `ids`; special tokens, and ids that are no token, are left out."""
        return self._pairs.decode(ids)

    def to_transformers(self) -> Mapping[str, Any]:
        """Return the content of an equal tokenizer.json."""
        from tilbench_tokenizers.transformers_form import byte_pair_content

        content: Mapping[str, Any] = byte_pair_content(self._ranks, SCHEMES[self.scheme].pattern, self._special)
        return content

    def _write(self, folder: Path) -> Mapping[str, Any]:
        (folder / _FILE).write_bytes(self._data)
        return {"scheme": self.scheme}


class Tiktoken(LoadedFamily):
    """Loads `FILE.tiktoken`, `FILE.tiktoken#scheme` for an unpublished vocabulary, or a saved folder."""

    name: ClassVar[str] = "tiktoken"

    def recognises(self, reference: str) -> bool:
        """Recognise a `.tiktoken` file, with or without a scheme, and a saved folder."""
        path = reference.partition("#")[0]
        return path.endswith(".tiktoken") or saved_marker(reference).get("family") == self.name

    def load(self, reference: str) -> Tokenizer:
        """Load a rank file. Raises CheckpointError naming the line, or the scheme that has to be chosen."""
        marker = saved_marker(reference)
        file, _, scheme = reference.partition("#")
        path = Path(reference) / _FILE if marker else Path(file)
        try:
            data = path.read_bytes()
        except OSError as error:
            raise CheckpointError(f"{path} cannot be read: {error.strerror or error}") from None
        return verified(TiktokenTokenizer(data, str(path), marker.get("scheme") or scheme or None), reference)


def _scheme_of(entries: int, where: str) -> str:
    for name, scheme in SCHEMES.items():
        if scheme.entries == entries:
            return name
    raise CheckpointError(
        f"{where} has {entries:,} entries; no published vocabulary has, so how it splits text is unknown: "
        f"choose with FILE#SCHEME, where SCHEME is {', '.join(SCHEMES)}"
    )


def read_ranks(data: bytes, where: str) -> dict[bytes, int]:
    """Read lines of a base64 token, a space and its rank. Raises CheckpointError naming the faulty line."""
    ranks: dict[bytes, int] = {}
    used: dict[int, int] = {}
    for number, line in enumerate(data.splitlines(), 1):
        if not line:
            continue
        try:
            token, rank = line.split()
            decoded, value = base64.b64decode(token, validate=True), int(rank)
        except (ValueError, binascii.Error):
            fault = "is not a base64 token, a space and a rank"
            raise CheckpointError(f"{where}, line {number}: {fault}; fetch the file again") from None
        if value < 0 or decoded in ranks or value in used:
            fault = f"repeats the rank of line {used[value]}" if value in used else "repeats a token or is negative"
            raise CheckpointError(f"{where}, line {number}: {fault}; fetch the file again")
        ranks[decoded], used[value] = value, number
    missing = sum(bytes([byte]) not in ranks for byte in range(0x100))
    if missing:
        raise CheckpointError(f"{where} lacks {missing} of the 256 single bytes: it is cut short or no rank file")
    return ranks

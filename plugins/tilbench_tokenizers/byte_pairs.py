"""Byte-pair ranks and a splitting pattern, run by tiktoken on texts of any shape."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import regex

from tilbench.errors import MissingDependency

__all__ = ["BytePairs"]


class BytePairs:
    """Encodes and decodes by mergeable ranks; knows no special tokens. Ids are ranks.

    Raises MissingDependency where tiktoken is not installed.
    """

    def __init__(self, ranks: Mapping[bytes, int], pattern: str) -> None:
        try:
            import tiktoken
        except ModuleNotFoundError:
            raise MissingDependency("tiktoken", "hf", "encoding with a byte-pair rank file") from None
        self._pattern = regex.compile(pattern)
        self._bytes = {rank: token for token, rank in ranks.items()}
        self._encoding = tiktoken.Encoding(
            name="ranks", pat_str=pattern, mergeable_ranks=dict(ranks), special_tokens={}
        )
        self.high_bytes = frozenset(r for token, r in ranks.items() if len(token) == 1 and token[0] >= 0x80)
        """Ids of the single bytes that are no character by themselves."""

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the ids of each text, in order."""
        try:
            if len(texts) == 1:  # no pool of threads for one
                return [self._encoding.encode(texts[0], disallowed_special=())]
            return self._encoding.encode_batch(list(texts), disallowed_special=())
        except ValueError:  # "Max stack size exceeded": a pattern that backtracks, on a very long run
            return [self._encode(text) for text in texts]

    def _encode(self, text: str) -> list[int]:
        try:
            # not encode_ordinary, whose Rust side panics where this one raises
            return self._encoding.encode(text, disallowed_special=())
        except ValueError:
            # The same pattern under an engine without that limit; tiktoken has no public call for one piece.
            pieces = (piece.encode("utf-8") for piece in self._pattern.findall(text))
            return [i for piece in pieces for i in self._encoding._encode_single_piece(piece)]

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of `ids`; what is no rank is left out, what is no UTF-8 is U+FFFD."""
        return b"".join(self._bytes.get(i, b"") for i in ids).decode("utf-8", "replace")

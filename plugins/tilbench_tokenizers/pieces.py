"""SentencePiece `.model` files, run by the sentencepiece library."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from tilbench.errors import CheckpointError, MissingDependency
from tilbench.kinds.tokenizer import SpecialTokens, Tokenizer
from tilbench_tokenizers.base import BaseTokenizer, LoadedFamily, digest, saved_marker, verified

__all__ = ["PieceTokenizer", "SentencePiece"]

_FILE = "tokenizer.model"
_PIECES, _TRAINER, _NORMALIZER = 1, 2, 3  # fields of sentencepiece_model.proto's ModelProto


class PieceTokenizer(BaseTokenizer):
    """A `.model` file. Its own normalisation applies, so a text may come back changed."""

    def __init__(self, family: str, data: bytes, where: str) -> None:
        try:
            import sentencepiece
        except ModuleNotFoundError:
            raise MissingDependency("sentencepiece", "hf", "reading a SentencePiece .model file") from None
        _check_whole(data, where)
        try:
            processor = sentencepiece.SentencePieceProcessor(model_proto=data)
        except Exception as error:  # RuntimeError, or OSError in older releases
            reason = " ".join(str(error).split())[:150]
            raise CheckpointError(f"{where} is no SentencePiece model ({reason}); fetch it again") from None
        self.family = family
        self._data, self._processor = data, processor
        self.size = int(processor.vocab_size())
        ids = range(self.size)
        roles = {role: int(getattr(processor, f"{role}_id")()) for role in ("bos", "eos", "pad", "unk")}
        found = {role: place if place >= 0 else None for role, place in roles.items()}
        self.special = SpecialTokens(found["bos"], found["eos"], found["pad"], found["unk"])
        self.unknown_ids = frozenset(i for i in ids if processor.is_unknown(i))
        self.fallback_ids = frozenset(i for i in ids if processor.is_byte(i))
        self._hidden = self.unknown_ids | {i for i in ids if processor.is_control(i)}
        self.pre_tokenizer = "SentencePiece's own rules"
        self.fingerprint = digest(["sentencepiece", hashlib.sha256(data).hexdigest()])

    def _encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        # control pieces (<s>, </s>) are never matched in a text by the library itself
        ids: list[list[int]] = self._processor.encode(list(texts), out_type=int, add_bos=False, add_eos=False)
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of `ids`; special and unknown tokens, and ids that are no token, are left out."""
        shown = [int(i) for i in ids if 0 <= i < self.size and i not in self._hidden]
        text: str = self._processor.decode(shown)
        return text

    def to_transformers(self) -> Mapping[str, Any]:
        """Return the content of a tokenizer.json that Transformers makes of the model. Raises Unsupported."""
        from tilbench_tokenizers.transformers_form import piece_content

        content: Mapping[str, Any] = piece_content(self._data)
        return content

    def _write(self, folder: Path) -> Mapping[str, Any]:
        (folder / _FILE).write_bytes(self._data)
        return {}


class SentencePiece(LoadedFamily):
    """Loads `FILE.model`, or a folder that holds `tokenizer.model` and nothing Transformers would read."""

    name: ClassVar[str] = "sentencepiece"

    def recognises(self, reference: str) -> bool:
        """Recognise a `.model` file, a folder of one alone, and a saved folder."""
        path = Path(reference)
        if family := saved_marker(reference).get("family"):
            return bool(family == self.name)
        if path.is_dir():
            others = ("tokenizer.json", "tokenizer_config.json")
            return (path / _FILE).is_file() and not any((path / other).exists() for other in others)
        return reference.endswith(".model")

    def load(self, reference: str) -> Tokenizer:
        """Load a model file. Raises CheckpointError where it is missing, cut short or something else."""
        path = Path(reference)
        file = path / _FILE if path.is_dir() else path
        try:
            data = file.read_bytes()
        except OSError as error:
            raise CheckpointError(f"{file} cannot be read: {error.strerror or error}") from None
        return verified(PieceTokenizer(self.name, data, str(file)), reference)


def _check_whole(data: bytes, where: str) -> None:
    """Raise CheckpointError for a file that ends early: protobuf accepts one cut between two fields."""
    try:
        fields = set(_fields(data))
    except IndexError:
        raise CheckpointError(f"{where} is cut short or no SentencePiece model; fetch it again") from None
    if missing := {_PIECES, _TRAINER, _NORMALIZER} - fields:
        names = {_PIECES: "pieces", _TRAINER: "trainer settings", _NORMALIZER: "normalizer"}
        lacking = ", ".join(names[field] for field in sorted(missing))
        raise CheckpointError(f"{where} has no {lacking}: it is cut short or no SentencePiece model; fetch it again")


def _fields(data: bytes) -> Iterator[int]:
    """Yield the numbers of a protobuf message's top-level fields; IndexError where it ends inside one."""
    at = 0

    def varint() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value
            if shift > 63:
                raise IndexError

    while at < len(data):
        key = varint()
        kind = key & 7
        if kind == 0:
            varint()
        elif kind in (1, 2, 5):
            length = varint() if kind == 2 else (8 if kind == 1 else 4)
            at += length
        else:
            raise IndexError
        if at > len(data):
            raise IndexError
        yield key >> 3

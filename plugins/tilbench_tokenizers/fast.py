"""A tokenizer in the `tokenizer.json` format, run by the `tokenizers` library."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer as RustTokenizer

from tilbench.errors import CheckpointError
from tilbench.kinds.tokenizer import SpecialTokens
from tilbench_tokenizers.base import BaseTokenizer, digest, read_json
from tilbench_tokenizers.splitting import described

__all__ = ["ROLES", "FastTokenizer", "byte_alphabet", "read_content"]

ROLES = ("bos", "eos", "pad", "unk")

# What decides ids and their text. Padding, truncation and the template of special tokens are left out: they
# belong to a way of use, and none of them is ever applied here.
_DECISIVE = ("normalizer", "pre_tokenizer", "model", "decoder", "added_tokens")


def byte_alphabet() -> dict[str, int]:
    """Return the printable character that byte-level vocabularies write for each byte, and that byte.

    The mapping is GPT-2's `bytes_to_unicode` (openai/gpt-2, src/encoder.py): printable Latin-1 stands for
    itself, the other 68 bytes for U+0100 onwards, in order.
    """
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = [byte for byte in range(0x100) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(0x100 + n): byte for n, byte in enumerate(others)}


class FastTokenizer(BaseTokenizer):
    """Runs the content of a `tokenizer.json` so that only its text-to-id mapping is left of it.

    Stored padding, truncation, post-processing and BPE dropout are switched off, and a special token is
    never matched in a text, neither as an added token nor by the model. Raises CheckpointError where
    `content` is no such thing, or where `names` (role → token) has a token that is not in it.
    """

    def __init__(self, family: str, content: Mapping[str, Any], names: Mapping[str, str | None]) -> None:
        self.family = family
        self.content = {**content, "truncation": None, "padding": None}
        self.names = {role: names.get(role) for role in ROLES}
        try:
            added, vocabulary = list(content["added_tokens"] or ()), _vocabulary(content["model"])
            self._hidden = frozenset(int(token["id"]) for token in added if token["special"])
            ids = vocabulary | {str(token["content"]): int(token["id"]) for token in added}
            self._rust = RustTokenizer.from_str(json.dumps(_without_specials(self.content), ensure_ascii=False))
        except Exception as error:  # the Rust side raises bare Exception
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
            raise CheckpointError(
                f"tokenizer.json is no usable tokenizer ({reason}); fetch or train it again"
            ) from None
        self._rust.encode_special_tokens = True
        for token in added:
            if not token["special"] and self._rust.token_to_id(token["content"]) != token["id"]:
                got = self._rust.token_to_id(token["content"])
                raise CheckpointError(
                    f"tokenizer.json gives the added token {token['content']!r} id {token['id']}, but what "
                    f"comes before it leaves it {got}; mend its added_tokens"
                )
        self.size = max(ids.values()) + 1
        named = {str(token["content"]): int(token["id"]) for token in added if token["special"]}
        self.special = SpecialTokens(**{role: self._id(role, ids) for role in ROLES}, named=named)
        self.unknown_ids = _unknown_ids(content["model"], ids)
        self.fallback_ids = _fallback_ids(content, vocabulary) - {int(token["id"]) for token in added}
        self.pre_tokenizer = described(content.get("pre_tokenizer"))
        self.undecodable = "" if content.get("decoder") else "its tokenizer.json has no decoder to make text of tokens"
        decisive = {key: content.get(key) for key in _DECISIVE}
        self.fingerprint = digest([decisive, {role: getattr(self.special, role) for role in ROLES}])

    def _id(self, role: str, ids: Mapping[str, int]) -> int | None:
        name = self.names[role]
        if name is None:
            return None
        if name not in ids:
            raise CheckpointError(
                f"tokenizer_config.json names the {role} token {name!r}, which is not in tokenizer.json; "
                f"add it there, or set {role}_token to null"
            )
        return ids[name]

    def _encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        encodings = self._rust.encode_batch_fast(list(texts), add_special_tokens=False)
        return [encoding.ids for encoding in encodings]

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of `ids`; special tokens, and ids that are no token, are left out."""
        shown = [i for i in ids if 0 <= i < self.size and i not in self._hidden]
        text: str = self._rust.decode(shown, skip_special_tokens=False)
        return text

    def to_transformers(self) -> Mapping[str, Any]:
        """Return the content of its tokenizer.json, without dropout."""
        model = self.content["model"]
        return {**self.content, "model": {**model, "dropout": None}} if model.get("dropout") else self.content

    def _write(self, folder: Path) -> Mapping[str, Any]:
        text = json.dumps(self.content, ensure_ascii=False, indent=1)
        (folder / "tokenizer.json").write_text(text, encoding="utf-8")
        config: dict[str, Any] = {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "clean_up_tokenization_spaces": False,
            **{f"{role}_token": name for role, name in self.names.items() if name is not None},
        }
        (folder / "tokenizer_config.json").write_text(
            json.dumps(config, ensure_ascii=False, indent=2) + "\n", encoding="utf-8"
        )
        return {}


def read_content(folder: Path) -> dict[str, object]:
    """Read a folder's tokenizer.json. Raises CheckpointError where there is none or it is no JSON object."""
    path = folder / "tokenizer.json"
    if not path.is_file():
        raise CheckpointError(f"{folder} has no tokenizer.json; give a folder that a tokenizer was saved in")
    content = read_json(path)
    if not isinstance(content, dict) or not isinstance(content.get("model"), dict):
        raise CheckpointError(f"{path} has no model; fetch or train the tokenizer again")
    return content


def _vocabulary(model: Mapping[str, Any]) -> dict[str, int]:
    vocabulary = model["vocab"]
    if isinstance(vocabulary, Mapping):
        return dict(vocabulary)
    return {piece: i for i, (piece, _) in enumerate(vocabulary)}


def _without_specials(content: Mapping[str, Any]) -> dict[str, object]:
    """Return content whose model cannot produce a special token from a text that spells it.

    The library leaves special tokens unmatched when asked, but a unigram lattice, a whole-word lookup or a
    BPE with `ignore_merges` can still reach their entries in the vocabulary. There they are renamed to
    something with a space in it, which no pre-tokenizer lets through; ids do not move. An unknown token
    that the model finds by its name has to keep it.
    """
    model = copy.copy(dict(content["model"]))
    if model.get("dropout") is not None:
        model["dropout"] = None  # a device of training: with it a text would have many encodings
    added = list(content.get("added_tokens") or ())
    vocabulary = model["vocab"]
    keep = {model.get("unk_token")}
    renamed = {t["content"]: f"\ufdd0 {t['id']} {t['content']}" for t in added if t["special"]}
    if isinstance(vocabulary, Mapping):
        reachable = {name for name in renamed if name in vocabulary} - keep
        model["vocab"] = {renamed[p] if p in reachable else p: i for p, i in vocabulary.items()}
    else:
        reachable = {piece for piece, _ in vocabulary if piece in renamed}
        model["vocab"] = [(renamed[p] if p in reachable else p, score) for p, score in vocabulary]
    # a renamed token gets a fresh id from the library: last in the list, so that no other id moves
    added = [t for t in added if t["content"] not in reachable] + [t for t in added if t["content"] in reachable]
    return {**content, "model": model, "added_tokens": added, "post_processor": None}


def _unknown_ids(model: Mapping[str, Any], ids: Mapping[str, int]) -> frozenset[int]:
    if isinstance(model.get("unk_id"), int):
        return frozenset({int(model["unk_id"])})
    name = model.get("unk_token")
    return frozenset({ids[name]}) if isinstance(name, str) and name in ids else frozenset()


def _fallback_ids(content: Mapping[str, Any], vocabulary: Mapping[str, int]) -> frozenset[int]:
    """Find the ids of `<0xNN>` pieces, or of single bytes from 0x80 on in a byte-level vocabulary."""
    if content["model"].get("byte_fallback"):
        names: Iterable[str] = (f"<0x{byte:02X}>" for byte in range(0x100))
    elif _mentions(content.get("pre_tokenizer"), "ByteLevel") or _mentions(content.get("decoder"), "ByteLevel"):
        names = (character for character, byte in byte_alphabet().items() if byte >= 0x80)
    else:
        return frozenset()
    return frozenset(vocabulary[name] for name in names if name in vocabulary)


def _mentions(part: Any, kind: str) -> bool:
    """Say whether a part of a tokenizer.json, or one inside it, is of this type."""
    if isinstance(part, Mapping):
        return part.get("type") == kind or any(_mentions(value, kind) for value in part.values())
    return isinstance(part, list) and any(_mentions(value, kind) for value in part)

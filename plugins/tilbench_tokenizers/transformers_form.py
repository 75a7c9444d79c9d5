"""Tokenizers of other kinds as the content of a tokenizer.json, which the `tokenizers` library runs."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tilbench.errors import MissingDependency, Unsupported
from tilbench_tokenizers.fast import byte_alphabet

__all__ = ["byte_content", "byte_pair_content", "piece_content", "special_token"]

_BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}


def special_token(number: int, name: str) -> dict[str, object]:
    """Return the entry of a special token in `added_tokens`."""
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    return {"id": number, "content": name, **flags}


def byte_content(special: Mapping[str, int]) -> dict[str, object]:
    """Return the tokenizer whose ids are bytes: a BPE of single bytes without merges. special: name → id."""
    return _content(byte_alphabet(), [], _BYTE_LEVEL, special, ignore_merges=False)


def byte_pair_content(ranks: Mapping[bytes, int], pattern: str, special: Mapping[str, int], first: int = 0) -> Any:
    """Return the BPE of byte-pair ranks over the stretches that `pattern` finds.

    Its merges are, in the order of the ranks of what they make, every way to make a token of two others. first: id of
    rank 0. special: name → id.
    """
    characters = {byte: character for character, byte in byte_alphabet().items()}

    def spelled(token: bytes) -> str:
        return "".join(characters[byte] for byte in token)

    merges: list[tuple[bytes, bytes]] = []
    for token in sorted(ranks, key=ranks.__getitem__):
        cuts = ((token[:cut], token[cut:]) for cut in range(1, len(token)))
        made = [pair for pair in cuts if pair[0] in ranks and pair[1] in ranks]
        merges += sorted(made, key=lambda pair: (ranks[pair[0]], ranks[pair[1]]))
    vocabulary = {spelled(token): first + rank for token, rank in ranks.items()}
    split = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
    pre_tokenizer = {"type": "Sequence", "pretokenizers": [split, _BYTE_LEVEL]}
    pairs = [[spelled(left), spelled(right)] for left, right in merges]
    return _content(vocabulary, pairs, pre_tokenizer, special, ignore_merges=True)


def piece_content(data: bytes) -> Any:
    """Return a SentencePiece model as Transformers converts it.

    Raises MissingDependency without Transformers, Unsupported where it cannot.
    """
    try:
        from transformers import AutoTokenizer
    except ModuleNotFoundError:
        raise MissingDependency("transformers", "hf", "converting a SentencePiece model") from None
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "tokenizer.model").write_bytes(data)
        (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "PreTrainedTokenizerFast"}', "utf-8")
        try:
            load: Any = AutoTokenizer.from_pretrained
            return json.loads(load(folder, local_files_only=True).backend_tokenizer.to_str())
        except Exception as error:  # whatever the conversion of a foreign model raises
            reason = next(iter(str(error).strip().splitlines()), type(error).__name__)[:160]
            raise Unsupported(f"Transformers cannot convert this SentencePiece model: {reason}") from None


def _content(
    vocabulary: Mapping[str, int],
    merges: list[list[str]],
    pre_tokenizer: Mapping[str, object],
    special: Mapping[str, int],
    *,
    ignore_merges: bool,
) -> dict[str, Any]:
    model = {
        "type": "BPE",
        "dropout": None,
        "unk_token": None,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": False,
        "byte_fallback": False,
        "ignore_merges": ignore_merges,
        "vocab": {**vocabulary, **special},  # elsewhere the library would number them anew, after the last
        "merges": merges,
    }
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [special_token(number, name) for name, number in sorted(special.items(), key=lambda s: s[1])],
        "normalizer": None,
        "pre_tokenizer": pre_tokenizer,
        "post_processor": None,
        "decoder": {**_BYTE_LEVEL},
        "model": model,
    }

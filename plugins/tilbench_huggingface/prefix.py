"""Reads a checkpoint's prefix policy: which token stands before a text, and whether before a context too."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tilbench.errors import CheckpointError, ConfigError
from tilbench.scoring.encode.prefix import Prefix
from tilbench_huggingface.auto_tokenizer import added_before, open_auto

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

__all__ = ["read_prefix"]
_CHARGED = "the first token of a text costs log2(vocabulary size) bits"


def read_prefix(
    folder: Path, config: Mapping[str, Any], override: str = "", *, trust_remote_code: bool = False
) -> Prefix:
    """Return the policy of the tokenizer in `folder` beside the model config `config` (as in `config.json`).

    A tokenizer that adds a token before a text says that every text began with it; elsewhere the
    beginning-of-text token, or the end-of-text token where there is none, conditions whole documents only, as
    in lm-evaluation-harness. override: bos, eos or none; it then stands before contexts as well.
    Raises CheckpointError where the files contradict each other or do not say.
    """
    tokenizer = open_auto(folder, trust_remote_code=trust_remote_code)
    known: dict[str, int | None] = {"bos": tokenizer.bos_token_id, "eos": tokenizer.eos_token_id}

    def policy(token: int, contexts: bool) -> Prefix:
        return Prefix(token, contexts, f"{_name(tokenizer, token, folder, config)} ({token})")

    if override == "none":
        return Prefix(None, False, "none")
    if override:
        if override not in known:
            raise ConfigError(f"prefix {override!r}: write bos, eos or none")
        token = known[override]
        if token is None:
            others = [name for name, found in known.items() if found is not None]
            raise CheckpointError(
                f"{folder}: its tokenizer defines no {override} token; choose --prefix {' or '.join([*others, 'none'])}"
                + ("" if others else f", with which {_CHARGED}")
            )
        return policy(token, True)
    _agree(folder, config, known["bos"])
    added = added_before(tokenizer, folder)
    if len(added) > 1:
        raise CheckpointError(
            f"{folder}: its tokenizer puts {len(added)} tokens {added} before a text; "
            "choose with --prefix bos, eos or none"
        )
    if added:
        return policy(added[0], True)
    for token in known.values():
        if token is not None:
            return policy(token, False)
    raise CheckpointError(
        f"{folder}: its tokenizer defines neither bos nor eos, so nothing stands before the first token of a document; "
        f"name the token in tokenizer_config.json, or choose --prefix none, with which {_CHARGED}"
    )


def _name(tokenizer: PreTrainedTokenizerBase, token: int, folder: Path, config: Mapping[str, Any]) -> str:
    """Return the text of a special token. Raises CheckpointError for an id that tokenizer or model does not have."""
    name = tokenizer.convert_ids_to_tokens(token) if 0 <= token < len(tokenizer) else None
    size = config.get("vocab_size", (config.get("text_config") or {}).get("vocab_size"))
    if name is None or (isinstance(size, int) and token >= size):
        there = f"its vocabulary has {len(tokenizer):,}" if name is None else f"the model's embedding has {size:,} rows"
        raise CheckpointError(
            f"{folder}: its tokenizer puts id {token} before a text, and {there}; correct the post_processor of "
            "tokenizer.json, or choose with --prefix bos, eos or none"
        )
    return str(name)


def _agree(folder: Path, config: Mapping[str, Any], bos: int | None) -> None:
    """Refuse a model config whose bos is another token than the tokenizer's.

    An id beyond the vocabulary is a class's default that was never meant.
    """
    inner = config.get("text_config") or {}
    stated = config.get("bos_token_id", inner.get("bos_token_id"))
    size = config.get("vocab_size", inner.get("vocab_size"))
    if isinstance(stated, list):
        stated = stated[0] if len(stated) == 1 else None
    if bos is None or stated is None or stated == bos or (size is not None and stated >= size):
        return
    raise CheckpointError(
        f"{folder}: config.json says that bos is token {stated}, the tokenizer says {bos}; correct one of "
        "them, or choose with --prefix bos, eos or none"
    )

"""Reads a checkpoint's prefix policy: which token stands before a text, and whether before a context too."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tilbench.errors import CheckpointError, ConfigError
from tilbench.scoring.prefix import Prefix
from tilbench_huggingface.library import faults, quiet

__all__ = ["read_prefix"]

_PROBE = "a"


def read_prefix(
    folder: Path, config: Mapping[str, Any], override: str = "", *, trust_remote_code: bool = False
) -> Prefix:
    """Return the policy of the tokenizer in `folder` beside the model config `config` (as in `config.json`).

    A tokenizer that adds a token before a text says that every text began with it; elsewhere the
    beginning-of-text token, or the end-of-text token where there is none, conditions whole documents only, as
    in lm-evaluation-harness. override: bos, eos or none; it then stands before contexts as well.
    Raises CheckpointError where the files contradict each other or do not say.
    """
    from transformers import AutoTokenizer

    with quiet(), faults(f"{folder}: its tokenizer cannot be loaded"):
        tokenizer: Any = AutoTokenizer.from_pretrained(
            folder, local_files_only=True, trust_remote_code=trust_remote_code
        )
        added = _added(tokenizer)
    known: dict[str, int | None] = {"bos": tokenizer.bos_token_id, "eos": tokenizer.eos_token_id}

    def policy(token: int, contexts: bool) -> Prefix:
        return Prefix(token, contexts, f"{tokenizer.convert_ids_to_tokens(token)} ({token})")

    if override == "none":
        return Prefix(None, False, "none")
    if override:
        if override not in known:
            raise ConfigError(f"prefix {override!r}: write bos, eos or none")
        token = known[override]
        if token is None:
            raise CheckpointError(f"{folder}: its tokenizer defines no {override} token; use --prefix none")
        return policy(token, True)
    _agree(folder, config, known["bos"])
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
        f"{folder}: its tokenizer defines neither bos nor eos, so nothing conditions the first token of a "
        "document; say so with --prefix none"
    )


def _added(tokenizer: Any) -> list[int]:
    """Return the ids that the tokenizer itself puts before a text."""
    bare = tokenizer(_PROBE, add_special_tokens=False)["input_ids"]
    full = tokenizer(_PROBE, add_special_tokens=True)["input_ids"]
    for start in range(len(full) - len(bare) + 1):
        if full[start : start + len(bare)] == bare:
            return [int(token) for token in full[:start]]
    return []


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

"""How a folder says that its model writes: Transformers' generation_config.json, and the chat template as data."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pydantic
from pydantic import TypeAdapter

from tilbench.checkpoints.folder import read_json
from tilbench.config.decoding import SAMPLING, TRANSFORMERS, Recommended, Sampling
from tilbench.errors import CheckpointError
from tilbench.kinds.language_model import WritingDefaults
from tilbench.kinds.tokenizer import SpecialTokens
from tilbench.paths import atomic_path

__all__ = ["GENERATION", "chat_template", "end_tokens", "generation_config", "read_generation_config", "write_sampling"]

GENERATION = "generation_config.json"
_TOP_K = 50
"""Transformers' own, where it samples and the file does not say."""
_MARKS = {"<|im_start|>": "chatml", "<start_of_turn>": "gemma", "### Instruction:": "alpaca"}
"""What only one of our templates writes."""


def read_generation_config(folder: Path) -> WritingDefaults:
    """Return what the generation_config.json in `folder` says; nothing where there is none.

    As in Transformers, a file that does not say `do_sample` means the likeliest token. One without any setting, as is
    written beside weights for its special tokens alone, gives none. Raises CheckpointError for a damaged one.
    """
    path = folder / GENERATION
    if not path.is_file():
        return WritingDefaults()
    content = read_json(path)
    said = {ours: content[theirs] for ours, theirs in TRANSFORMERS.items() if content.get(theirs) is not None}
    if not said and "do_sample" not in content:
        return WritingDefaults()
    if content.get("do_sample"):
        said = {"top_k": _TOP_K, **said}
    else:
        said = {name: value for name, value in said.items() if name not in ("top_k", "top_p")} | {"temperature": 0.0}
    try:
        settings = TypeAdapter(Recommended).validate_python(said)
    except pydantic.ValidationError as error:
        fault = error.errors()[0]
        raise CheckpointError(f"{path}: {'.'.join(map(str, fault['loc']))}: {fault['msg']}") from None
    return WritingDefaults(generation=settings, origin=str(path))


def generation_config(
    sampling: Sampling, special: SpecialTokens, *, max_new_tokens: int | None = None, stop: Sequence[str] = ()
) -> dict[str, Any]:
    """Return settings as generation_config.json has them.

    What greedy decoding does not read is left out: Transformers warns of it.
    """
    off = () if sampling.temperature > 0 else ("temperature", "top_k", "top_p")
    config: dict[str, Any] = {"do_sample": sampling.temperature > 0}
    config |= {TRANSFORMERS[name]: getattr(sampling, name) for name in SAMPLING if name not in off}
    if max_new_tokens is not None:
        config["max_new_tokens"] = max_new_tokens
    if stop:
        config["stop_strings"] = list(stop)
    ids = {"bos_token_id": special.bos, "eos_token_id": special.eos, "pad_token_id": special.pad}
    return config | {name: token for name, token in ids.items() if token is not None}


def write_sampling(folder: Path, sampling: Sampling) -> None:
    """Write settings into the generation_config.json in `folder`. What it says besides, such as end tokens, stays."""
    path = folder / GENERATION
    said = read_json(path) if path.is_file() else {}
    kept = {name: value for name, value in said.items() if name not in TRANSFORMERS.values()}
    with atomic_path(path) as aside:
        aside.write_text(json.dumps(kept | generation_config(sampling, SpecialTokens()), indent=2) + "\n", "utf-8")


def end_tokens(folder: Path) -> frozenset[int]:
    """Return the ids that end a text of the model in `folder`, besides its tokenizer's end-of-text token.

    As in Transformers: those of generation_config.json, or of config.json where that names none. Raises CheckpointError
    for a damaged file.
    """
    for path in (folder / GENERATION, folder / "config.json"):
        content = read_json(path) if path.is_file() else {}
        said = content.get("eos_token_id")
        if ends := frozenset(each for each in (said if isinstance(said, list) else [said]) if isinstance(each, int)):
            return ends
    return frozenset()


def chat_template(folder: Path) -> tuple[str, str]:
    """Return which of our chat templates the tokenizer in `folder` has, and the file that says so; empty where none.

    A template is a program, which is not run: it is told by the marks that it writes.
    """
    for path in (folder / "chat_template.jinja", folder / "tokenizer_config.json"):
        if not path.is_file():
            continue
        written = path.read_text(encoding="utf-8") if path.suffix == ".jinja" else read_json(path).get("chat_template")
        text = written if isinstance(written, str) else json.dumps(written or "", ensure_ascii=False)
        found = {name for mark, name in _MARKS.items() if mark in text}
        if len(found) == 1:
            return found.pop(), str(path)
    return "", ""

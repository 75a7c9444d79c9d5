"""How a folder says that its model writes: Transformers' generation_config.json and chat template, read as data."""

from __future__ import annotations

import json
from pathlib import Path

import pydantic

from tilbench.checkpoints.folder import read_json
from tilbench.config.model import GenerationSettings
from tilbench.errors import CheckpointError
from tilbench.kinds.language_model import WritingDefaults

__all__ = ["GENERATION", "chat_template", "end_tokens", "generation_config"]

GENERATION = "generation_config.json"
_FIELDS = {
    "temperature": "temperature",
    "top_k": "top_k",
    "top_p": "top_p",
    "repetition_penalty": "repetition_penalty",
    "no_repeat_ngram_size": "no_repeat_ngram",
    "max_new_tokens": "max_new_tokens",
}
"""What Transformers calls a setting → what it is called here."""
_TOP_K = 50
"""Transformers' own, where it samples and the file does not say."""
_MARKS = {"<|im_start|>": "chatml", "<start_of_turn>": "gemma", "### Instruction:": "alpaca"}
"""What only one of our templates writes."""


def generation_config(folder: Path) -> WritingDefaults:
    """Return what the generation_config.json in `folder` says; nothing where there is none.

    As in Transformers, a file that does not say `do_sample` means the likeliest token. One without any setting, as is
    written beside weights for its special tokens alone, gives none. Raises CheckpointError for a damaged one.
    """
    path = folder / GENERATION
    if not path.is_file():
        return WritingDefaults()
    content = read_json(path)
    said = {ours: content[theirs] for theirs, ours in _FIELDS.items() if content.get(theirs) is not None}
    if not said and "do_sample" not in content:
        return WritingDefaults()
    if content.get("do_sample"):
        said = {"top_k": _TOP_K, **said}
    else:
        said = {name: value for name, value in said.items() if name not in ("top_k", "top_p")} | {"temperature": 0.0}
    try:
        settings = GenerationSettings.model_validate(said)
    except pydantic.ValidationError as error:
        fault = error.errors()[0]
        raise CheckpointError(f"{path}: {'.'.join(map(str, fault['loc']))}: {fault['msg']}") from None
    return WritingDefaults(generation=settings, origin=str(path))


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

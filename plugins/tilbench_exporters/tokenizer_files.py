"""A tokenizer as Transformers keeps it, compared with ours on text before anybody relies on it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer as RustTokenizer

from tilbench.errors import Unsupported
from tilbench.kinds.capabilities.tokenizer import RunsInTransformers
from tilbench.kinds.exporter import ExportJob
from tilbench.kinds.tokenizer import Tokenizer
from tilbench_exporters.chat_files import answer_end, chat_jinja
from tilbench_exporters.weights import write_json

__all__ = ["SAMPLES", "role_ids", "write_tokenizer"]

SAMPLES = (
    "Қазақстанның астанасы – Астана қаласы.",
    "Bugün hava çok güzel; İstanbul'da ılık bir rüzgâr esiyor.",
    "Сегодня хорошая погода, и мы идём в парк.",
    "Perché no? È già l'una e mezza.",
    "The year 2024 had 366 days, didn't it?",
    "def f(x):\n\treturn {'a': x ** 2}  # 3.14e-10\n",
    "今日は天気がいいです。",
    "مرحبا بالعالم",
    "e\u0301 ﬁ Ǆ № 👩‍🚀 🇰🇿 \u00a0 \u200d\ufeff",
    "  two  spaces,\ttabs\r\n\n\nand lines  ",
    "",
)
"""Texts of several languages and scripts, and what normalisation and splitting could change."""
_CHUNK = 64
"""Entries of the vocabulary that are written out as one text."""


def role_ids(job: ExportJob) -> dict[str, int | None]:
    """Return the ids of bos (see `SpecialTokens.begun_by`), eos (which ends an answer), pad and unk."""
    special = job.tokenizer.special.begun_by(job.info.prefix)
    return {"bos": special.bos, "eos": answer_end(job), "pad": special.pad, "unk": special.unk}


def write_tokenizer(job: ExportJob, out: Path) -> None:
    """Write tokenizer.json and tokenizer_config.json, which put the prefix of training before a text.

    Not where the prefix stands before whole documents only: then a tool that scores contexts adds none either.

    Raises Unsupported for a tokenizer without such a form, or whose form has other ids on some text.
    """
    if not isinstance(job.tokenizer, RunsInTransformers):
        raise Unsupported(_refusal(job, "has no form for Transformers"))
    content = {**job.tokenizer.to_transformers(), "truncation": None, "padding": None, "post_processor": None}
    _compare(job, content)
    names = {token["id"]: token["content"] for token in content["added_tokens"] or ()}
    prefix = job.info.prefix
    if prefix is not None and job.info.prefix_contexts:
        content["post_processor"] = _template(_name(content, names, prefix), prefix)
    text = json.dumps(content, ensure_ascii=False, indent=1)
    (out / "tokenizer.json").write_text(text + "\n", encoding="utf-8")
    roles = {role: number for role, number in role_ids(job).items() if number is not None}
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": False,
        "model_max_length": job.config.max_length,
        "model_input_names": ["input_ids", "attention_mask"],
        **{f"{role}_token": _name(content, names, number) for role, number in roles.items()},
        **({"chat_template": text} if (text := chat_jinja(job)) else {}),
    }
    write_json(out / "tokenizer_config.json", settings)


def _refusal(job: ExportJob, why: str) -> str:
    family = job.info.tokenizer
    return f"a tokenizer of family {family!r} {why}; export with --to safetensors, pt or onnx, and use it with tilbench"


def _name(content: Mapping[str, Any], names: Mapping[int, str], number: int) -> str:
    """Return the spelling of a token. Raises Unsupported where it has none."""
    if number in names:
        return names[number]
    vocabulary = content["model"]["vocab"]
    if isinstance(vocabulary, Mapping):
        found = next((name for name, place in vocabulary.items() if place == number), None)
    else:
        found = vocabulary[number][0] if number < len(vocabulary) else None
    if found is None:
        raise Unsupported(f"the tokenizer has no spelling for its token {number}, which Transformers asks for")
    return str(found)


def _template(name: str, number: int) -> Mapping[str, object]:
    """Return what puts a token before a text."""
    token = {"SpecialToken": {"id": name, "type_id": 0}}
    first, second = ({"Sequence": {"id": each, "type_id": 0}} for each in "AB")
    return {
        "type": "TemplateProcessing",
        "single": [token, first],
        "pair": [token, first, second],
        "special_tokens": {name: {"id": name, "ids": [number], "tokens": [name]}},
    }


def _compare(job: ExportJob, content: Mapping[str, Any]) -> None:
    """Raise Unsupported where the form has other ids than the tokenizer for one of many texts.

    A text that spells a special token is left out: Transformers reads the token there, and tilbench its characters.
    """
    try:
        form = RustTokenizer.from_str(json.dumps(content, ensure_ascii=False))
    except Exception as error:  # the Rust side raises bare Exception
        reason = " ".join(str(error).split())[:150]
        raise Unsupported(_refusal(job, f"has a form that Transformers cannot read ({reason})")) from None
    added = content["added_tokens"] or ()
    if moved := [token["content"] for token in added if form.token_to_id(token["content"]) != token["id"]]:
        raise Unsupported(_refusal(job, f"has another id in Transformers for its token {moved[0]!r}"))
    special = [token["content"] for token in added if token["special"]]
    for text in _texts(job.tokenizer):
        if any(name in text for name in special):
            continue
        if job.tokenizer.encode(text) != form.encode(text, add_special_tokens=False).ids:
            raise Unsupported(_refusal(job, f"has other ids in Transformers for {text[:40]!r}"))


def _texts(tokenizer: Tokenizer) -> Iterator[str]:
    """Yield the samples, and every entry of the vocabulary in a text of its neighbours."""
    yield from SAMPLES
    for first in range(0, tokenizer.size, _CHUNK):
        yield tokenizer.decode(range(first, min(first + _CHUNK, tokenizer.size)))

"""A folder that Transformers loads: weights, config, tokenizer, decoding settings and a card."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import nn

from tilbench.checkpoints.generation import GENERATION, generation_config
from tilbench.errors import Unsupported
from tilbench.kinds.capabilities.architecture import BringsCode, SavesTransformers, WritesTransformers
from tilbench.kinds.exporter import ExportJob
from tilbench.kinds.tokenizer import SpecialTokens
from tilbench.publish.card import loading, model_card
from tilbench_exporters.chat_files import write_chat_template
from tilbench_exporters.tokenizer_files import role_ids, write_tokenizer
from tilbench_exporters.weights import loaded, write_json

__all__ = ["TransformersExporter"]

_LIMITS = ("max_new_tokens", "max_length")


class TransformersExporter:
    """Writes what `AutoModelForCausalLM` and `AutoTokenizer` read; it needs no Transformers itself."""

    def export(self, job: ExportJob, out: Path) -> Mapping[str, Any]:
        """Write the folder.

        Raises Unsupported where Transformers has no equal model or tokenizer, or needs code that was not allowed.
        """
        code = _code(job)
        write_tokenizer(job, out)
        write_chat_template(job, out)
        _write_model(job, loaded(job), out)
        for name, text in code.items():
            (out / name).write_text(text, encoding="utf-8")
        _write_settings(job, out)
        card = model_card(job, [loading(code=bool(code))])
        (out / "README.md").write_text(card, encoding="utf-8")
        return {"files": sorted(path.name for path in out.iterdir())}


def _code(job: ExportJob) -> Mapping[str, str]:
    """Return the Python that the model is loaded with, by file name. Raises Unsupported where it was not allowed."""
    name, architecture = job.info.architecture.name, job.architecture
    if not isinstance(architecture, WritesTransformers | SavesTransformers):
        raise Unsupported(
            f"architecture {name!r} says nothing of an equal model in Transformers; export with --to safetensors, pt "
            "or onnx"
        )
    code = architecture.transformers_code() if isinstance(architecture, BringsCode) else {}
    if code and not job.allow_code:
        raise Unsupported(
            f"Transformers has no class for architecture {name!r}: {', '.join(code)} would be written beside the "
            "weights and run by whoever loads them; allow it with --allow-code"
        )
    return code


def _write_model(job: ExportJob, module: nn.Module, out: Path) -> None:
    """Write weights and config.json."""
    if isinstance(job.architecture, SavesTransformers):
        job.architecture.save_transformers(module, out)
    elif isinstance(job.architecture, WritesTransformers):
        found = job.architecture.to_transformers(job.config, module.state_dict())
        weights = {name: each.contiguous() for name, each in found.items()}
        save_file(weights, out / "model.safetensors", {"format": "pt"})
        write_json(out / "config.json", {**job.architecture.transformers_config(job.config), "torch_dtype": job.dtype})


def _write_settings(job: ExportJob, out: Path) -> None:
    """Put the special tokens into config.json, and them and the spec's decoding into generation_config.json.

    Special tokens that the model's own files name already are left: they may be several. Every token that ends an
    answer or a text is named. No limit on new tokens is: Transformers puts it above the `max_length` of whoever
    generates, so that a harness's own limit would have no effect.
    """
    ids = {f"{role}_token_id": number for role, number in role_ids(job).items() if role != "unk"}
    config = _read(out / "config.json")
    write_json(out / "config.json", {**config, **{name: _first(config.get(name), ids[name]) for name in ids}})
    decoding: Mapping[str, Any] = {}
    if job.generation is not None:
        decoding = generation_config(job.generation, SpecialTokens())
    known = {name: number for name, number in ids.items() if number is not None}
    path = out / GENERATION
    found = {name: value for name, value in (_read(path) if path.is_file() else {}).items() if name not in _LIMITS}
    settings = {**known, **found, **decoding}
    if ends := _ends(ids["eos_token_id"], job.tokenizer.special.eos if job.chat else None, found.get("eos_token_id")):
        settings["eos_token_id"] = ends if len(ends) > 1 else ends[0]
    write_json(path, settings)


def _ends(*named: Any) -> list[int]:
    """Return the ids that are named, one or several at a time, each once."""
    every = [number for each in named for number in (each if isinstance(each, list) else [each])]
    return list(dict.fromkeys(number for number in every if number is not None))


def _first(*values: object) -> object:
    return next((value for value in values if value is not None), None)


def _read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found

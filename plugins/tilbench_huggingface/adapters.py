"""Low-rank adapters by peft: put on a decoder, written so that peft finds its base, merged into it."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import save_file
from torch import nn

from tilbench.checkpoints.adapters import base_weights, lora_settings, write_adapter
from tilbench.checkpoints.generation import GENERATION
from tilbench.errors import CheckpointError, ConfigError, Unsupported
from tilbench_huggingface.decoder import HuggingFaceDecoder
from tilbench_huggingface.library import quiet, unbothered
from tilbench_huggingface.source import ADAPTER, one_line, resolve_base
from tilbench_huggingface.weights import load_adapter, load_model

if TYPE_CHECKING:
    from tilbench.config.model import Adapter

__all__ = ["BASE", "save_adapted", "save_merged", "with_adapter"]

BASE = "base"
"""Folder of the base's weights within the adapter's, where they are from nowhere else."""


def with_adapter(module: nn.Module, adapter: Adapter) -> HuggingFaceDecoder:
    """Return the decoder with a fresh LoRA adapter (and modules trained whole); all else is frozen.

    quantization nf4 puts the frozen linear layers into 4 bits first (QLoRA: Dettmers et al., 2023), unless they were
    loaded so. Raises ConfigError where the model has no module of a name in `targets` or `train_whole`, Unsupported
    for a module that is no decoder of this plugin or has an adapter already.
    """
    if not isinstance(module, HuggingFaceDecoder) or hasattr(module.model, "peft_config"):
        raise Unsupported("an adapter goes on a model of the architecture huggingface that has none yet")
    settings = lora_settings(module.model, adapter, task_type="CAUSAL_LM")
    from peft import get_peft_model

    model: Any = module.model
    if adapter.quantization != "none" and not getattr(model, "is_quantized", False):
        model = _quantised(model)
    with quiet(), unbothered():
        try:
            adapted: Any = get_peft_model(model, settings)
        except (TypeError, ValueError) as error:
            raise ConfigError(f"adapter: {one_line(error)}") from error
    return HuggingFaceDecoder(adapted, module.max_length, base=module.base)


def save_adapted(module: HuggingFaceDecoder, folder: Path) -> None:
    """Write the adapter into `folder`, and the weights under it into `folder/base` unless they are from elsewhere."""
    model: Any = module.model
    inner = model.get_base_model()
    settings = model.active_peft_config
    before = settings.base_model_name_or_path, settings.revision
    if module.base is None:
        _save_base(inner, folder / BASE)
        settings.base_model_name_or_path = BASE
    else:
        settings.base_model_name_or_path, settings.revision = module.base
    try:
        write_adapter(model, folder)
    finally:
        settings.base_model_name_or_path, settings.revision = before


def _save_plain(model: Any, folder: Path) -> None:
    """Write a model that libraries have taken apart and put together again as a fresh one of its class."""
    weights = base_weights(model)
    with torch.device("meta"):
        plain = type(model)(model.config)
    plain.load_state_dict(weights, assign=True, strict=False)
    plain.tie_weights()
    if lost := [name for name, parameter in plain.named_parameters() if parameter.is_meta]:
        raise CheckpointError(f"{type(model).__name__} has no weight {lost[0]} to save")
    plain.save_pretrained(folder)


def save_merged(folder: Path, out: Path, dtype: torch.dtype) -> None:
    """Write the model of an adapter's folder into `out`, the adapter added into its weights, in `dtype`.

    A base in 4 bits is turned back into `dtype` first, so that nothing is rounded to 4 bits again.
    """
    if not (folder / ADAPTER).is_file():
        raise Unsupported(f"{folder} has no adapter to merge")
    source = resolve_base(folder)
    base: Any = load_model(source, dtype=dtype)
    if getattr(base, "is_quantized", False):
        with quiet():
            base = base.dequantize().to(dtype)
    with quiet(), unbothered():
        _save_plain(load_adapter(base, folder).merge_and_unload().to(dtype), out)
    if (source / GENERATION).is_file():
        shutil.copyfile(source / GENERATION, out / GENERATION)


def _quantised(model: Any) -> Any:
    """Return a copy of a model in NF4, by way of a folder: Transformers quantises what it loads."""
    with tempfile.TemporaryDirectory() as name, quiet():
        folder = Path(name)
        model.save_pretrained(folder)
        return load_model(folder, dtype=model.dtype, device=next(model.parameters()).device, quantization="nf4")


def _save_base(inner: Any, folder: Path) -> None:
    if not getattr(inner, "is_quantized", False):
        _save_plain(inner, folder)
        return
    # Transformers cannot write a quantised model that peft has wrapped; its files are these two.
    inner.config.save_pretrained(folder)
    weights = {name: tensor.contiguous() for name, tensor in base_weights(inner).items()}
    save_file(weights, folder / "model.safetensors", {"format": "pt"})

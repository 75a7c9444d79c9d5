"""Low-rank adapters by peft: put on a decoder, and written so that peft finds its base beside them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from tilbench.errors import ConfigError, Unsupported
from tilbench_huggingface.decoder import HuggingFaceDecoder
from tilbench_huggingface.library import quiet, require
from tilbench_huggingface.source import one_line

if TYPE_CHECKING:
    from tilbench.config.model import Adapter

__all__ = ["BASE", "save_adapted", "with_adapter"]

BASE = "base"
"""Folder of the base's weights within the adapter's."""


def with_adapter(module: nn.Module, adapter: Adapter) -> HuggingFaceDecoder:
    """Return the decoder with a fresh LoRA adapter (and modules trained whole); all else is frozen.

    Raises ConfigError where the model has no module of a name in `targets` or `train_whole`, Unsupported for
    a module that is no decoder of this plugin or has an adapter already, and for quantising one in memory.
    """
    require("peft", "an adapter")
    from peft import LoraConfig, get_peft_model

    if not isinstance(module, HuggingFaceDecoder) or hasattr(module.model, "peft_config"):
        raise Unsupported("an adapter goes on a model of the architecture huggingface that has none yet")
    if adapter.quantization != "none" and not getattr(module.model, "is_quantized", False):
        require("bitsandbytes", "a 4-bit base", "train")
        raise Unsupported(f"adapter: the base is not quantised; name one that was saved as {adapter.quantization}")
    names = {part for name, _ in module.model.named_modules() for part in (name, name.rpartition(".")[2])}
    wanted = [*([] if isinstance(adapter.targets, str) else adapter.targets), *adapter.train_whole]
    if unknown := [name for name in wanted if not any(f".{known}".endswith(f".{name}") for known in names)]:
        raise ConfigError(f"adapter: {type(module.model).__name__} has no module {' or '.join(unknown)}")
    settings = LoraConfig(
        r=adapter.rank,
        lora_alpha=adapter.alpha,
        lora_dropout=adapter.dropout,
        target_modules=adapter.targets,
        modules_to_save=list(adapter.train_whole) or None,
        task_type="CAUSAL_LM",
    )
    with quiet():
        try:
            model: Any = get_peft_model(module.model, settings)
        except (TypeError, ValueError) as error:
            raise ConfigError(f"adapter: {one_line(error)}") from error
    return HuggingFaceDecoder(model, module.max_length)


def save_adapted(model: Any, folder: Path) -> None:
    """Write a peft model's adapter into `folder` and the weights under it into `folder/base`."""
    inner = model.get_base_model()
    if getattr(inner, "is_quantized", False):
        raise Unsupported("a quantised base is not written again; name the folder that it was loaded from")
    weights = {
        name.replace(".base_layer.", ".").replace(".original_module.", "."): tensor
        for name, tensor in inner.state_dict().items()
        if not {"modules_to_save"} & set(name.split(".")) and ".lora_" not in name
    }
    with torch.device("meta"):
        base = type(inner)(inner.config)
    base.load_state_dict(weights, assign=True)
    base.tie_weights()
    base.save_pretrained(folder / BASE)
    settings = model.active_peft_config
    before = settings.base_model_name_or_path
    settings.base_model_name_or_path = BASE
    try:
        model.save_pretrained(folder, save_embedding_layers=False)
    finally:
        settings.base_model_name_or_path = before

"""Low-rank adapters by peft on any module: put on, written in peft's own format, taken up again, merged."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor, nn

from tilbench.checkpoints.optional import load_optional
from tilbench.checkpoints.referenced import ADAPTER
from tilbench.checkpoints.weights import WEIGHTS_FILE, refuse_not_finite
from tilbench.config.model import Adapter
from tilbench.errors import CheckpointError, ConfigError, Unsupported
from tilbench.paths import atomic_path

__all__ = [
    "ADAPTER",
    "add_adapter",
    "base_weights",
    "is_adapted",
    "load_adapter",
    "lora_settings",
    "merged",
    "save_adapted",
    "write_adapter",
]

_HOLDER = "_tilbench_adapter"
"""Attribute of an adapted module: its peft model, in a tuple, so that it is no submodule."""


def is_adapted(module: nn.Module) -> bool:
    """Say whether `add_adapter` or `load_adapter` put an adapter on the module."""
    return hasattr(module, _HOLDER)


def lora_settings(module: nn.Module, adapter: Adapter, **more: Any) -> Any:
    """Return peft's `LoraConfig` of an adapter for `module`; more: further fields of it.

    Raises MissingDependency without peft, ConfigError where the module has none of a name in `targets` or
    `train_whole`.
    """
    load_optional("peft", "hf", "an adapter")
    from peft import LoraConfig

    names = {part for name, _ in module.named_modules() for part in (name, name.rpartition(".")[2])}
    wanted = [*([] if isinstance(adapter.targets, str) else adapter.targets), *adapter.train_whole]
    if unknown := [name for name in wanted if not any(f".{known}".endswith(f".{name}") for known in names)]:
        raise ConfigError(f"adapter: {type(module).__name__} has no module {' or '.join(unknown)}")
    return LoraConfig(
        r=adapter.rank,
        lora_alpha=adapter.alpha,
        lora_dropout=adapter.dropout,
        target_modules=adapter.targets,
        modules_to_save=list(adapter.train_whole) or None,
        **more,
    )


def add_adapter(module: nn.Module, adapter: Adapter) -> nn.Module:
    """Put a fresh LoRA adapter on `module`, in place, and return it; all else is frozen.

    `all-linear` means every linear layer but the output layer `lm_head`.
    Raises ConfigError for names that the module does not have, Unsupported where it has an adapter already.
    """
    if is_adapted(module):
        raise Unsupported("the model has an adapter already; merge it first")
    if adapter.quantization != "none":
        raise Unsupported(f"adapter.quantization {adapter.quantization} is for models of Transformers; set it to none")
    if adapter.targets == "all-linear":
        left_out = {"lm_head", *adapter.train_whole}
        linear = [name for name, part in module.named_modules() if isinstance(part, nn.Linear)]
        adapter = adapter.model_copy(update={"targets": [name for name in linear if name not in left_out]})
    settings = lora_settings(module, adapter)
    from peft import get_peft_model

    with _quiet():
        try:
            model: Any = get_peft_model(module, settings)
        except (TypeError, ValueError) as error:
            raise ConfigError(f"adapter: {' '.join(str(error).split())}") from error
    setattr(module, _HOLDER, (model,))
    return module


def base_weights(module: nn.Module) -> dict[str, Tensor]:
    """Return the weights under an adapter by the names that they have without it, a tied one once."""
    weights = {
        name.replace(".base_layer.", ".").replace(".original_module.", "."): tensor
        for name, tensor in module.state_dict().items()
        if "modules_to_save" not in name.split(".") and ".lora_" not in name
    }
    first = {(tensor.data_ptr(), tensor.shape): name for name, tensor in reversed(weights.items())}
    return {name: weights[name] for name in weights if first[weights[name].data_ptr(), weights[name].shape] == name}


def save_adapted(module: nn.Module, folder: Path) -> None:
    """Write the adapter into `folder` as peft does, and the weights under it as `model.safetensors`."""
    with atomic_path(folder / WEIGHTS_FILE) as aside:
        save_file({name: each.contiguous() for name, each in base_weights(module).items()}, aside, {"format": "pt"})
    write_adapter(getattr(module, _HOLDER)[0], folder)


def write_adapter(model: Any, folder: Path) -> None:
    """Write the adapter of a peft model into `folder`, its settings in one order whatever the process."""
    with _quiet():
        model.save_pretrained(folder, save_embedding_layers=False)
    (folder / "README.md").unlink(missing_ok=True)  # a form that nobody has filled in
    path = folder / ADAPTER
    settings = json.loads(path.read_text(encoding="utf-8"))
    targets = settings["target_modules"]
    if isinstance(targets, list):  # peft holds them as a set
        settings["target_modules"] = sorted(targets)
    path.write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def load_adapter(module: nn.Module, folder: Path) -> nn.Module:
    """Put the peft adapter in `folder` on `module`, in place, ready for more training, and return it.

    Raises CheckpointError where they do not fit, and for values that are not finite.
    """
    load_optional("peft", "hf", f"the adapter {folder}")
    from peft import PeftModel, get_peft_model_state_dict
    from safetensors import safe_open

    try:
        with _quiet():
            model: Any = PeftModel.from_pretrained(module, str(folder), is_trainable=True)
        wanted = set(get_peft_model_state_dict(model, save_embedding_layers=False))
        with safe_open(folder / "adapter_model.safetensors", framework="pt") as file:
            stored = set(file.keys())
    except Exception as error:  # a damaged file surfaces as OSError, KeyError, SafetensorError, RuntimeError …
        raise CheckpointError(
            f"the adapter {folder} cannot be put on its base: {' '.join(str(error).split())}"
        ) from None
    if wanted != stored:
        odd = sorted(wanted ^ stored)
        raise CheckpointError(f"the adapter {folder} does not fit its base: {', '.join(odd[:3])} of {len(odd)} differ")
    refuse_not_finite(folder, module)
    setattr(module, _HOLDER, (model,))
    return module


def merged(module: nn.Module) -> nn.Module:
    """Return the module with its adapter added into the weights: W + (alpha / rank) B A (Hu et al., 2021).

    Raises Unsupported where it has none.
    """
    if not is_adapted(module):
        raise Unsupported("the checkpoint has no adapter to merge; its weights are whole as they are")
    plain: nn.Module = getattr(module, _HOLDER)[0].merge_and_unload()
    delattr(plain, _HOLDER)
    return plain


@contextmanager
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():  # peft expects a Transformers config, and warns where there is none
        warnings.filterwarnings("ignore", module=r"peft\.")
        yield

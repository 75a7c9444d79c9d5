"""Loads weights, and refuses those that do not fit their config: Transformers itself would only warn."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from tilbench.checkpoints.folder import read_json
from tilbench.checkpoints.optional import load_optional
from tilbench.checkpoints.unsupported import unsupported
from tilbench.checkpoints.weights import refuse_not_finite
from tilbench.errors import CheckpointError, Unsupported
from tilbench_huggingface.examine import examine_weights
from tilbench_huggingface.library import library_errors, quiet, unbothered
from tilbench_huggingface.source import CONFIG

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PretrainedConfig, PreTrainedModel

__all__ = ["adapter_shapes", "count", "load_adapter", "load_model", "meta_model"]


_PLAIN_NAMES = {r"(^|\.)_orig_mod\.": r"\1"}
"""What torch.compile puts before the names of a saved model's weights is taken off."""


def count(module: nn.Module) -> int:
    """Return the number of parameters, tied ones once."""
    return sum(parameter.numel() for parameter in module.parameters())


def meta_model(folder: Path, *, trust_remote_code: bool = False) -> PreTrainedModel:
    """Build the model of a folder's config without allocating its weights."""
    from transformers import AutoConfig, AutoModelForCausalLM

    with quiet(), library_errors(f"{folder}: no causal language model can be built from its {CONFIG}"):
        config: PretrainedConfig = AutoConfig.from_pretrained(
            folder, local_files_only=True, trust_remote_code=trust_remote_code
        )
        if getattr(config, "quantization_config", None) is not None:
            del config.quantization_config  # the count is that of the weights, however they are stored
        with torch.device("meta"):
            make: Callable[..., PreTrainedModel] = AutoModelForCausalLM.from_config
            return make(config, trust_remote_code=trust_remote_code)


def load_model(
    folder: Path,
    *,
    dtype: torch.dtype | None = None,
    device: str | torch.device = "cpu",
    trust_remote_code: bool = False,
    quantization: str = "none",
) -> PreTrainedModel:
    """Load the causal language model in `folder`, in evaluation mode. dtype: None keeps what is stored.

    quantization: nf4 puts the linear layers into 4 bits with doubly quantised scales (Dettmers et al., QLoRA, 2023),
    computed with in `dtype`; one that is stored quantised stays as it is.
    Raises CheckpointError that names missing, extra or misshapen weights, MissingDependency where the
    weights are quantised and bitsandbytes is not here.
    """
    from transformers import AutoModelForCausalLM

    options: dict[str, Any] = {}
    quantised = read_json(folder / CONFIG).get("quantization_config")
    if quantised:
        if quantised.get("quant_method", "bitsandbytes") == "bitsandbytes":
            load_optional("bitsandbytes", "train", f"the quantised checkpoint {folder}")
        options["device_map"] = {"": str(device)}
    elif quantization == "nf4":
        load_optional("bitsandbytes", "train", "a base in 4 bits")
        from transformers import BitsAndBytesConfig

        make: Any = BitsAndBytesConfig
        options["quantization_config"] = make(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=dtype or torch.float32,
        )
        options["device_map"] = {"": str(device)}
    with quiet(), library_errors(f"{folder} cannot be loaded"):
        load: Any = AutoModelForCausalLM.from_pretrained
        model, info = load(
            folder,
            local_files_only=True,
            dtype=dtype or "auto",
            trust_remote_code=trust_remote_code,
            output_loading_info=True,
            key_mapping=_PLAIN_NAMES,
            ignore_mismatched_sizes=True,  # they come back in `info`, all of them
            **options,
        )
    misshapen = [f"{name} {_shape(stored)} for {_shape(wanted)}" for name, stored, wanted in info["mismatched_keys"]]
    _refuse(folder, info["missing_keys"], info["unexpected_keys"], misshapen)
    refuse_not_finite(folder, model)
    if getattr(model, "is_quantized", False):
        _keep_layout(model)
        kept: PreTrainedModel = model
        return kept
    examine_weights(folder, model)
    moved: PreTrainedModel = model.to(device)
    return moved


def _keep_layout(model: nn.Module) -> None:
    """Keep bitsandbytes from reordering 4-bit weights for its inference kernel on a CPU.

    It would do so in the first pass in evaluation mode and never undo it, and that kernel has no gradient: a training
    that validates would go on with wrong gradients, without an error.
    """
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.__dict__["support_avx512bf16_for_cpu"] = False


def adapter_shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    """Return the shapes of an adapter's stored tensors by name, read from the file's header."""
    from safetensors import safe_open

    path = folder / "adapter_model.safetensors"
    if not path.is_file():
        raise CheckpointError(f"{folder} has no {path.name}; save the adapter with peft as safetensors")
    with library_errors(f"{path} cannot be read"), safe_open(path, framework="pt") as file:
        return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118 it is no dict


def load_adapter(base: PreTrainedModel, folder: Path, *, trainable: bool = False) -> PeftModel:
    """Put the peft adapter in `folder` on a loaded `base`. Raises CheckpointError where they do not fit."""
    load_optional("peft", "hf", f"the adapter {folder}")
    from peft import PeftModel, get_peft_model_state_dict

    stored = adapter_shapes(folder)
    with quiet(), library_errors(f"the adapter {folder} cannot be put on its base"), unbothered():
        model = PeftModel.from_pretrained(base, str(folder), is_trainable=trainable)
        if model.active_peft_config.is_prompt_learning:
            raise Unsupported(
                f"{folder}: an adapter of type {model.active_peft_config.peft_type} adds tokens; use LoRA"
            )
        wanted = get_peft_model_state_dict(model, save_embedding_layers=False)
    _refuse(folder, wanted.keys() - stored.keys(), stored.keys() - wanted.keys(), [])
    refuse_not_finite(folder, model)
    model.eval()
    return model


def _refuse(folder: Path, missing: Collection[str], extra: Collection[str], misshapen: Collection[str]) -> None:
    if why := unsupported([*missing, *extra]):
        raise Unsupported(f"{folder}: {why}")
    parts = [
        f"{what} {_names(names)}"
        for what, names in (("missing", missing), ("extra", extra), ("misshapen", misshapen))
        if list(names)
    ]
    if parts:
        raise CheckpointError(f"{folder}: weights and {CONFIG} do not fit together: {'; '.join(parts)}")


def _names(names: Iterable[str]) -> str:
    ordered = sorted(names)
    return ", ".join(ordered[:4]) + (f" and {len(ordered) - 4} more" if len(ordered) > 4 else "")


def _shape(shape: Iterable[int]) -> str:
    return "×".join(map(str, shape))

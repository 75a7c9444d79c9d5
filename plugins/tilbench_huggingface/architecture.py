"""The architecture that stands for every causal class of Transformers: built, saved, loaded and adapted."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from tilbench.config.base import Schema
from tilbench.config.references import split_hub
from tilbench.errors import CheckpointError, ConfigError, TilbenchError, Unsupported, suggest
from tilbench.kinds.architecture import ParameterCount
from tilbench.kinds.trainer import Start
from tilbench_huggingface.source import ADAPTER, CONFIG, one_line, resolve, resolve_base

if TYPE_CHECKING:
    import torch
    from torch import nn

    from tilbench.config.model import Adapter

__all__ = ["HuggingFaceArchitecture", "HuggingFaceConfig"]

_SPECIAL = ("bos_token_id", "eos_token_id", "pad_token_id")
"""A class's defaults are those of another tokenizer, and the row of a padding id would never be trained."""


class HuggingFaceConfig(Schema):
    """A class of Transformers by its `model_type`, with the fields of its config."""

    model_type: str
    """Such as llama, gemma3_text or mamba."""
    vocab_size: int = Field(ge=1)
    max_length: int = Field(ge=1)
    """Tokens it attends over (`max_position_embeddings`, where the class has one)."""
    config: dict[str, Any] = Field(default_factory=dict)
    """Every other field, by the names of Transformers; one that the class does not have is an error."""


class HuggingFaceArchitecture:
    """Any causal language model of Transformers."""

    Config: ClassVar[type[Any]] = HuggingFaceConfig

    def parameters(self, config: HuggingFaceConfig) -> int:
        """Return the number of parameters, counted on a model without memory; tied ones once."""
        import torch

        from tilbench_huggingface.weights import count

        with torch.device("meta"):
            return count(self.build(config))

    def budget(self, config: HuggingFaceConfig) -> Mapping[str, ParameterCount]:
        """Return where the parameters are; they sum to `parameters(config)`."""
        import torch

        from tilbench.checkpoints.budget import parameter_budget

        with torch.device("meta"):
            return parameter_budget(self.build(config), config.vocab_size)

    def build(self, config: HuggingFaceConfig) -> nn.Module:
        """Return a new `HuggingFaceDecoder`. Raises ConfigError for a config that no class takes."""
        import torch

        from tilbench_huggingface.library import quiet, require

        require("transformers", "architecture 'huggingface'")
        from transformers import AutoModelForCausalLM

        from tilbench_huggingface.decoder import HuggingFaceDecoder

        with quiet():
            make: Any = AutoModelForCausalLM.from_config
            try:
                settings = _settings(config)
                model = make(settings, dtype=torch.float32)
            except (TilbenchError, torch.OutOfMemoryError):
                raise
            except Exception as error:  # what a class makes of a config that it was not written for
                raise ConfigError(
                    f"architecture huggingface: no {config.model_type} can be built: {one_line(error)}"
                ) from error
            return HuggingFaceDecoder(model, config.max_length)

    def save(self, module: nn.Module, folder: Path) -> None:
        """Write weights and config as Transformers does; an adapter is written with its base in `base`."""
        from tilbench_huggingface.adapters import save_adapted
        from tilbench_huggingface.library import quiet

        model: Any = module.model
        with quiet():
            if hasattr(model, "peft_config"):
                save_adapted(module, folder)  # type: ignore[arg-type]
            else:
                model.save_pretrained(folder)

    def load(self, config: HuggingFaceConfig, folder: Path, *, dtype: torch.dtype | None = None) -> nn.Module:
        """Return the decoder saved in `folder`; an adapter is ready for more training."""
        from tilbench_huggingface.library import require

        require("transformers", f"the checkpoint {folder}")
        from tilbench_huggingface.decoder import HuggingFaceDecoder
        from tilbench_huggingface.weights import load_adapter, load_model

        adapted = (folder / ADAPTER).is_file()
        base = load_model(resolve_base(folder) if adapted else folder, dtype=dtype)
        _same(config, base.config.model_type, None, str(folder))
        model = load_adapter(base, folder, trainable=True) if adapted else base
        decoder = HuggingFaceDecoder(model, config.max_length)
        _same(config, model.config.model_type, decoder.vocab_size, str(folder))
        return decoder

    def origin(self, reference: str) -> Start:
        """Return what a Transformers folder or `hf:org/name@revision` says of itself, to train on.

        Raises Unsupported for an adapter's.
        """
        from tilbench_huggingface.library import require
        from tilbench_huggingface.prefix import read_prefix
        from tilbench_huggingface.weights import count, meta_model

        require("transformers", reference)
        source = resolve(reference)
        if source.adapter is not None:
            raise Unsupported(f"{reference} is an adapter; merge it first with 'tilbench merge', and start from that")
        prefix = read_prefix(source.tokenizer, source.config)
        parameters = count(meta_model(source.base))
        return Start(reference, prefix.id, prefix.contexts, (source.fingerprint(),), parameters=parameters)

    def start(self, config: HuggingFaceConfig, reference: str, *, dtype: torch.dtype, quantization: str) -> nn.Module:
        """Return the decoder of a Transformers folder or `hf:org/name@revision`, to train on.

        Raises CheckpointError where it is another model than the config says.
        """
        from tilbench_huggingface.decoder import HuggingFaceDecoder
        from tilbench_huggingface.weights import load_model

        folder = resolve(reference).base
        model = load_model(folder, dtype=dtype, quantization=quantization)
        base = split_hub(reference) or (str(folder.resolve()), None)
        decoder = HuggingFaceDecoder(model, config.max_length, base=base)
        _same(config, model.config.model_type, decoder.vocab_size, reference)
        return decoder

    def merge(self, config: HuggingFaceConfig, folder: Path, out: Path, *, dtype: torch.dtype) -> None:
        """Write the decoder saved in `folder` into `out`, its adapter added into its weights."""
        from tilbench_huggingface.adapters import save_merged

        save_merged(folder, out, dtype)

    def save_transformers(self, module: nn.Module, folder: Path) -> None:
        """Write the folder that Transformers loads: the one that a checkpoint without an adapter is."""
        self.save(module, folder)

    def adapt(self, module: nn.Module, adapter: Adapter) -> nn.Module:
        """Return the decoder with a low-rank adapter to train on its frozen weights."""
        from tilbench_huggingface.adapters import with_adapter

        return with_adapter(module, adapter)


def _same(config: HuggingFaceConfig, model_type: str, vocab_size: int | None, where: str) -> None:
    """Raise CheckpointError where what is `where` is another model than the config says."""
    if model_type != config.model_type:
        raise CheckpointError(f"{where}: its {CONFIG} says {model_type}, the model spec {config.model_type}")
    if vocab_size is not None and vocab_size != config.vocab_size:
        raise CheckpointError(
            f"{where}: its vocabulary has {vocab_size:,} entries, that of the model spec {config.vocab_size:,}"
        )


def _settings(config: HuggingFaceConfig) -> Any:
    """Return the Transformers config. Raises ConfigError for a model type or field that does not exist."""
    from transformers import CONFIG_MAPPING, AutoConfig

    name = config.model_type
    if name not in CONFIG_MAPPING:
        fault = f"architecture huggingface: Transformers has no model_type {name!r}"
        raise ConfigError(suggest(fault, name, CONFIG_MAPPING))
    default = CONFIG_MAPPING[name]()
    for field in config.config:
        if field in {"vocab_size", "model_type"} or not hasattr(default, field):
            why = "is a field of the architecture itself" if hasattr(config, field) else "does not exist"
            fault = f"architecture huggingface: config.{field} of {name} {why}"
            raise ConfigError(suggest(fault, field, vars(default)))
    length = {"max_position_embeddings": config.max_length} if hasattr(default, "max_position_embeddings") else {}
    special = {role: None for role in _SPECIAL if hasattr(default, role)}
    return AutoConfig.for_model(name, vocab_size=config.vocab_size, **{**length, **special, **config.config})

"""Llama (Touvron et al. 2023) with grouped queries: rotary positions, RMSNorm, SwiGLU."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

from pydantic import Field, model_validator
from torch import Tensor

from tilbench.kinds.weight_layout import Slot
from tilbench_decoders.config import GroupedConfig
from tilbench_decoders.decoder import Decoder
from tilbench_decoders.family import DecoderFamily
from tilbench_decoders.grouped import grouped_blocks, grouped_norm, grouped_parameters
from tilbench_decoders.layers.positions import Rotary
from tilbench_decoders.transformers_config import llama_config
from tilbench_decoders.transformers_map import from_transformers, llama_links, rotary_fields, to_transformers
from tilbench_decoders.weight_layout import grouped

__all__ = ["Llama", "LlamaConfig"]


class LlamaConfig(GroupedConfig):
    """Sizes of a Llama. `max_length` is the trained context, not a limit."""

    rope_theta: float = Field(default=10_000.0, gt=1.0, description="base of the rotary wavelengths")

    @model_validator(mode="after")
    def _even(self) -> Self:
        if self.head_width % 2:
            raise ValueError(f"rotary positions turn pairs of dimensions: head_dim {self.head_width} must be even")
        return self


class Llama(DecoderFamily[LlamaConfig]):
    """The architecture `llama`."""

    Config = LlamaConfig
    transformers_type: ClassVar[str] = "llama"

    def parameters(self, config: LlamaConfig) -> int:
        """Return the number of parameters by formula, tied weights counted once."""
        return grouped_parameters(config)

    def parts(self, config: LlamaConfig) -> list[Slot]:
        """Return what its weights are made of."""
        return grouped(config, rotary=True)

    def assemble(self, config: LlamaConfig) -> Decoder:
        """Return the decoder put together from its parts."""
        rotary = Rotary(config.head_width, config.rope_theta)
        return Decoder(config, grouped_blocks(config), grouped_norm(config), rotary=rotary)

    def to_transformers(self, config: LlamaConfig, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the weights of the equal LlamaForCausalLM."""
        return to_transformers(llama_links(config), state)

    def from_transformers(self, config: LlamaConfig, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return our weights from those of a LlamaForCausalLM. Raises CheckpointError for missing ones."""
        return from_transformers(llama_links(config), state)

    def read_transformers(
        self, fields: Mapping[str, Any], state: Mapping[str, Tensor]
    ) -> tuple[LlamaConfig, dict[str, Tensor]]:
        """Return config and weights from those of a Transformers folder.

        Raises Unsupported by the name of a field that is not ours to honour, CheckpointError for missing weights.
        """
        config = LlamaConfig(**llama_config(fields))
        return config, self.from_transformers(config, state)

    def transformers_config(self, config: LlamaConfig) -> dict[str, Any]:
        """Return the fields of the equal LlamaConfig of Transformers."""
        return {
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            **rotary_fields(config, config.rope_theta),
            "num_key_value_heads": config.kv_heads,
            "head_dim": config.head_width,
            "attention_bias": config.bias,
            "mlp_bias": config.bias,
        }

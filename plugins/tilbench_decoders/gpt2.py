"""GPT-2 (Radford et al. 2019): learned positions, pre-LayerNorm, GELU."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from tilbench.kinds.weight_layout import Slot
from tilbench_decoders.config import DecoderConfig
from tilbench_decoders.decoder import Block, Decoder
from tilbench_decoders.family import DecoderFamily
from tilbench_decoders.layers.attention import GroupedAttention
from tilbench_decoders.layers.feed_forward import GeluFeedForward
from tilbench_decoders.layers.positions import LearnedPositions
from tilbench_decoders.transformers_config import gpt2_config
from tilbench_decoders.transformers_map import Link, from_transformers, gpt2_links, to_transformers
from tilbench_decoders.weight_layout import grouped_attention, outside, single

__all__ = ["GPT2", "GPT2Config"]


class GPT2Config(DecoderConfig):
    """Sizes of a GPT-2. `max_length` is the number of learned positions, a hard limit."""

    norm_eps: float = Field(default=1e-5, gt=0.0, description="added to the variance inside every LayerNorm")
    bias: bool = Field(default=True, description="biases in the linear layers and the norms")
    activation: Literal["gelu_new", "gelu"] = Field(
        default="gelu_new", description="GPT-2's tanh approximation of GELU, or GELU itself, as in nanoGPT"
    )

    @model_validator(mode="after")
    def _heads_fit(self) -> Self:
        if self.hidden_size % self.num_heads:
            raise ValueError(f"hidden_size {self.hidden_size} is not a multiple of num_heads {self.num_heads}")
        return self


class GPT2(DecoderFamily[GPT2Config]):
    """The architecture `gpt2`."""

    Config = GPT2Config
    transformers_type: ClassVar[str] = "gpt2"

    def parameters(self, config: GPT2Config) -> int:
        """Return the number of parameters by formula, tied weights counted once."""
        d, inner = config.hidden_size, config.intermediate_size
        matrices = 4 * d * d + 2 * d * inner
        biases = 4 * d + inner + d if config.bias else 0
        norm = 2 * d if config.bias else d
        embeddings = config.vocab_size * d * (1 if config.tie_embeddings else 2) + config.max_length * d
        return embeddings + config.num_layers * (matrices + biases + 2 * norm) + norm

    def parts(self, config: GPT2Config) -> list[Slot]:
        """Return what its weights are made of."""
        d, inner, bias = config.hidden_size, config.intermediate_size, config.bias
        heads, width = config.num_heads, config.hidden_size // config.num_heads
        attention = grouped_attention(d, heads=heads, kv_heads=heads, head_dim=width, bias=bias, rotary=False)
        up = single("blocks.*.feed_forward.up_proj", "up", inner, d, bias=bias)
        down = single("blocks.*.feed_forward.down_proj", "down", d, inner, bias=bias)
        return outside(config, positions=True, bias=bias) + attention + up + down

    def assemble(self, config: GPT2Config) -> Decoder:
        """Return the decoder put together from its parts."""
        d = config.hidden_size

        def norm() -> nn.Module:
            return nn.LayerNorm(d, eps=config.norm_eps, bias=config.bias)

        blocks = [
            Block(
                norm(),
                GroupedAttention(
                    d,
                    heads=config.num_heads,
                    kv_heads=config.num_heads,
                    head_dim=d // config.num_heads,
                    bias=config.bias,
                    dropout=config.dropout,
                    layer=layer,
                ),
                norm(),
                GeluFeedForward(d, config.intermediate_size, bias=config.bias, exact=config.activation == "gelu"),
                dropout=config.dropout,
            )
            for layer in range(config.num_layers)
        ]
        learned = LearnedPositions.from_pretrained(  # type: ignore[no-untyped-call]
            torch.empty(config.max_length, d), freeze=False
        )
        return Decoder(config, blocks, norm(), learned=learned)

    def to_transformers(self, config: GPT2Config, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the weights of the equal GPT2LMHeadModel. Raises Unsupported for a model without biases."""
        return to_transformers(self._links(config), state)

    def from_transformers(self, config: GPT2Config, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return our weights from those of a GPT2LMHeadModel. Raises CheckpointError for missing ones."""
        return from_transformers(self._links(config), state)

    def read_transformers(
        self, fields: Mapping[str, Any], state: Mapping[str, Tensor]
    ) -> tuple[GPT2Config, dict[str, Tensor]]:
        """Return config and weights from those of a Transformers folder.

        Raises Unsupported by the name of a field that is not ours to honour, CheckpointError for missing weights.
        """
        config = GPT2Config(**gpt2_config(fields))
        return config, self.from_transformers(config, state)

    def transformers_config(self, config: GPT2Config) -> dict[str, Any]:
        """Return the fields of the equal GPT2Config of Transformers."""
        return {
            "architectures": ["GPT2LMHeadModel"],
            "model_type": "gpt2",
            "vocab_size": config.vocab_size,
            "n_positions": config.max_length,
            "n_embd": config.hidden_size,
            "n_layer": config.num_layers,
            "n_head": config.num_heads,
            "n_inner": config.intermediate_size,
            "activation_function": config.activation,
            "resid_pdrop": config.dropout,
            "embd_pdrop": config.dropout,
            "attn_pdrop": config.dropout,
            "layer_norm_epsilon": config.norm_eps,
            "initializer_range": config.initializer_range,
            "tie_word_embeddings": config.tie_embeddings,
        }

    def _links(self, config: GPT2Config) -> list[Link]:
        return gpt2_links(config, bias=config.bias)

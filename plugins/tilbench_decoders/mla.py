"""Dense DeepSeek-V3 (DeepSeek-AI 2024): multi-head latent attention, RMSNorm, SwiGLU, no experts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

from pydantic import Field, model_validator
from torch import Tensor, nn

from tilbench.errors import Unsupported
from tilbench.kinds.weight_layout import Slot
from tilbench_decoders.config import DecoderConfig
from tilbench_decoders.decoder import Block, Decoder
from tilbench_decoders.family import DecoderFamily
from tilbench_decoders.layers.feed_forward import SwiGLU
from tilbench_decoders.layers.latent import LatentAttention, LatentShape
from tilbench_decoders.layers.norms import RMSNorm
from tilbench_decoders.layers.positions import Rotary
from tilbench_decoders.transformers_config import mla_config
from tilbench_decoders.transformers_map import (
    Link,
    from_transformers,
    mla_links,
    rotary_fields,
    to_transformers,
)
from tilbench_decoders.weight_layout import latent_attention, outside, swiglu

__all__ = ["MLA", "MLAConfig"]

_LATENT_EPS = 1e-6


class MLAConfig(DecoderConfig):
    """Sizes of a dense DeepSeek-V3. `max_length` is the trained context, not a limit."""

    q_lora_rank: int | None = Field(default=None, gt=0, description="width of the query latent; none projects directly")
    kv_lora_rank: int = Field(gt=0, description="width of the key and value latent, which the cache keeps")
    qk_rope_head_dim: int = Field(gt=0, description="rotated width of a query and of the key all heads share")
    qk_nope_head_dim: int = Field(gt=0, description="width of a head's query and key without position")
    v_head_dim: int = Field(gt=0, description="width of a head's value")
    rope_theta: float = Field(default=10_000.0, gt=1.0, description="base of the rotary wavelengths")
    latent_norm_eps: float = Field(
        default=_LATENT_EPS,
        gt=0.0,
        description="norm_eps of the two latent norms, which DeepSeek's code fixes",
    )

    @model_validator(mode="after")
    def _even(self) -> Self:
        if self.qk_rope_head_dim % 2:
            raise ValueError(f"rotary positions turn pairs: qk_rope_head_dim {self.qk_rope_head_dim} must be even")
        return self


class MLA(DecoderFamily[MLAConfig]):
    """The architecture `mla`."""

    Config = MLAConfig
    transformers_type: ClassVar[str] = "deepseek_v3"

    def parameters(self, config: MLAConfig) -> int:
        """Return the number of parameters by formula, tied weights counted once."""
        d, heads, q_rank, kv_rank = (
            config.hidden_size,
            config.num_heads,
            config.q_lora_rank,
            config.kv_lora_rank,
        )
        rope, nope, v = config.qk_rope_head_dim, config.qk_nope_head_dim, config.v_head_dim
        q_width = heads * (nope + rope)
        queries = d * q_width if q_rank is None else d * q_rank + q_rank + q_rank * q_width
        keys = d * (kv_rank + rope) + kv_rank + kv_rank * heads * (nope + v)
        block = queries + keys + heads * v * d + 3 * d * config.intermediate_size + 2 * d
        embeddings = config.vocab_size * d * (1 if config.tie_embeddings else 2)
        return embeddings + config.num_layers * block + d

    def parts(self, config: MLAConfig) -> list[Slot]:
        """Return what its weights are made of."""
        attention = latent_attention(
            config.hidden_size,
            heads=config.num_heads,
            q_rank=config.q_lora_rank,
            kv_rank=config.kv_lora_rank,
            rope_dim=config.qk_rope_head_dim,
            nope_dim=config.qk_nope_head_dim,
            v_dim=config.v_head_dim,
        )
        return outside(config) + attention + swiglu(config.hidden_size, config.intermediate_size, bias=False)

    def assemble(self, config: MLAConfig) -> Decoder:
        """Return the decoder put together from its parts."""
        d = config.hidden_size

        def norm() -> nn.Module:
            return RMSNorm(d, eps=config.norm_eps)

        shape = LatentShape(
            heads=config.num_heads,
            q_rank=config.q_lora_rank,
            kv_rank=config.kv_lora_rank,
            rope_dim=config.qk_rope_head_dim,
            nope_dim=config.qk_nope_head_dim,
            v_dim=config.v_head_dim,
        )
        blocks = [
            Block(
                norm(),
                LatentAttention(
                    d,
                    shape,
                    norm_eps=config.latent_norm_eps,
                    dropout=config.dropout,
                    layer=layer,
                ),
                norm(),
                SwiGLU(d, config.intermediate_size, bias=False),
                dropout=config.dropout,
            )
            for layer in range(config.num_layers)
        ]
        return Decoder(config, blocks, norm(), rotary=Rotary(config.qk_rope_head_dim, config.rope_theta))

    def to_transformers(self, config: MLAConfig, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the weights of the equal DeepseekV3ForCausalLM (Unsupported for another latent epsilon)."""
        return to_transformers(self._links(config), state)

    def from_transformers(
        self, config: MLAConfig, state: Mapping[str, Tensor], *, interleaved: bool = True
    ) -> dict[str, Tensor]:
        """Return our weights from those of a dense DeepseekV3ForCausalLM.

        interleaved: the `rope_interleave` of their config. Raises CheckpointError for missing weights.
        """
        return from_transformers(self._links(config, interleaved), state)

    def read_transformers(
        self, fields: Mapping[str, Any], state: Mapping[str, Tensor]
    ) -> tuple[MLAConfig, dict[str, Tensor]]:
        """Return config and weights from those of a Transformers folder.

        Raises Unsupported by the name of a field that is not ours to honour, CheckpointError for missing weights.
        """
        config = MLAConfig(**mla_config(fields))
        return config, self.from_transformers(config, state, interleaved=fields.get("rope_interleave") is not False)

    def transformers_config(self, config: MLAConfig) -> dict[str, Any]:
        """Return the fields of the equal DeepseekV3Config of Transformers, every layer dense."""
        return {
            "architectures": ["DeepseekV3ForCausalLM"],
            "model_type": "deepseek_v3",
            **rotary_fields(config, config.rope_theta),
            "num_key_value_heads": config.num_heads,
            "q_lora_rank": config.q_lora_rank,
            "kv_lora_rank": config.kv_lora_rank,
            "qk_rope_head_dim": config.qk_rope_head_dim,
            "qk_nope_head_dim": config.qk_nope_head_dim,
            "v_head_dim": config.v_head_dim,
            "first_k_dense_replace": config.num_layers,
            "rope_interleave": True,
            "attention_bias": False,
        }

    def _links(self, config: MLAConfig, interleaved: bool = True) -> list[Link]:
        if config.latent_norm_eps != _LATENT_EPS:
            raise Unsupported(f"Transformers fixes latent_norm_eps at {_LATENT_EPS}, not {config.latent_norm_eps}")
        return mla_links(
            config,
            q_rank=config.q_lora_rank,
            kv_rank=config.kv_lora_rank,
            rope_dim=config.qk_rope_head_dim,
            nope_dim=config.qk_nope_head_dim,
            interleaved=interleaved,
        )

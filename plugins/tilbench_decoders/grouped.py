"""Blocks of grouped-query attention, RMSNorm and SwiGLU: what Llama and ALiBi decoders share."""

from __future__ import annotations

from tilbench_decoders.config import GroupedConfig
from tilbench_decoders.decoder import Block
from tilbench_decoders.layers.attention import GroupedAttention
from tilbench_decoders.layers.feed_forward import SwiGLU
from tilbench_decoders.layers.norms import RMSNorm

__all__ = ["grouped_blocks", "grouped_norm", "grouped_parameters"]


def grouped_norm(config: GroupedConfig) -> RMSNorm:
    """Return a norm of the residual stream: RMSNorm (Zhang and Sennrich 2019), scale only."""
    return RMSNorm(config.hidden_size, eps=config.norm_eps)


def grouped_blocks(config: GroupedConfig) -> list[Block]:
    """Return the blocks of a decoder."""
    return [
        Block(
            grouped_norm(config),
            GroupedAttention(
                config.hidden_size,
                heads=config.num_heads,
                kv_heads=config.kv_heads,
                head_dim=config.head_width,
                bias=config.bias,
                dropout=config.dropout,
                layer=layer,
            ),
            grouped_norm(config),
            SwiGLU(config.hidden_size, config.intermediate_size, bias=config.bias),
            dropout=config.dropout,
        )
        for layer in range(config.num_layers)
    ]


def grouped_parameters(config: GroupedConfig) -> int:
    """Return the number of parameters of a decoder of such blocks, tied weights counted once."""
    d, inner, width = config.hidden_size, config.intermediate_size, config.head_width
    heads, qkv = config.num_heads, config.num_heads + 2 * config.kv_heads
    matrices = d * qkv * width + heads * width * d + 3 * d * inner
    biases = qkv * width + d + 2 * inner + d if config.bias else 0
    embeddings = config.vocab_size * d * (1 if config.tie_embeddings else 2)
    return embeddings + config.num_layers * (matrices + biases + 2 * d) + d

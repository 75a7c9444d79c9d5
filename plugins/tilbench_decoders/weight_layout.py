"""What the weights of each decoder are made of (`tilbench.kinds.weight_layout`). Nothing here imports torch."""

from __future__ import annotations

from tilbench.kinds.weight_layout import Slot, WeightSlice
from tilbench_decoders.config import DecoderConfig, GroupedConfig

__all__ = ["grouped", "grouped_attention", "latent_attention", "outside", "single", "swiglu"]

_ATTENTION, _FEED_FORWARD = "blocks.*.attention", "blocks.*.feed_forward"


def single(name: str, role: str, rows: int, columns: int, *, bias: bool = False) -> list[Slot]:
    """Return the slot of a matrix or norm that is one part, and of its bias."""
    return _with_bias(name, (WeightSlice(role, rows),), columns, bias)


def outside(config: DecoderConfig, *, positions: bool = False, bias: bool = False) -> list[Slot]:
    """Return the embeddings, the output layer and every norm of the residual stream."""
    d = config.hidden_size
    slots = single("embedding", "embedding", config.vocab_size, d)
    if positions:
        slots += single("learned", "positions", config.max_length, d)
    for name, role in (
        ("blocks.*.attention_norm", "attention_norm"),
        ("blocks.*.feed_forward_norm", "feed_forward_norm"),
        ("norm", "norm"),
    ):
        slots += single(name, role, d, 0, bias=bias)
    head = (WeightSlice("lm_head", config.vocab_size),)
    tied = config.tie_embeddings
    return [*slots, Slot("embedding.weight" if tied else "lm_head.weight", head, d, copy=tied)]


def grouped_attention(hidden: int, *, heads: int, kv_heads: int, head_dim: int, bias: bool, rotary: bool) -> list[Slot]:
    """Return the slots of `GroupedAttention`."""
    turned = head_dim if rotary else 0
    qkv = (
        WeightSlice("q", heads * head_dim, heads, turned),
        WeightSlice("k", kv_heads * head_dim, kv_heads, turned),
        WeightSlice("v", kv_heads * head_dim, kv_heads),
    )
    fused = _with_bias(f"{_ATTENTION}.qkv_proj", qkv, hidden, bias)
    return fused + single(f"{_ATTENTION}.o_proj", "o", hidden, heads * head_dim, bias=bias)


def latent_attention(
    hidden: int, *, heads: int, q_rank: int | None, kv_rank: int, rope_dim: int, nope_dim: int, v_dim: int
) -> list[Slot]:
    """Return the slots of `LatentAttention`."""
    width = heads * (nope_dim + rope_dim)
    first = WeightSlice("q", width, heads, rope_dim) if q_rank is None else WeightSlice("q_a", q_rank)
    compress = (first, WeightSlice("kv_a", kv_rank), WeightSlice("k_rope", rope_dim, 1, rope_dim))
    slots = [Slot(f"{_ATTENTION}.compress.weight", compress, hidden)]
    if q_rank is not None:
        slots += single(f"{_ATTENTION}.q_expand.0", "q_a_norm", q_rank, 0)
        slots.append(Slot(f"{_ATTENTION}.q_expand.1.weight", (WeightSlice("q_b", width, heads, rope_dim),), q_rank))
    slots += single(f"{_ATTENTION}.kv_norm", "kv_a_norm", kv_rank, 0)
    expand = (WeightSlice("k_b", heads * nope_dim, heads), WeightSlice("v_b", heads * v_dim, heads))
    slots.append(Slot(f"{_ATTENTION}.kv_expand.weight", expand, kv_rank, by_head=True))
    return slots + single(f"{_ATTENTION}.o_proj", "o", hidden, heads * v_dim)


def swiglu(hidden: int, inner: int, *, bias: bool) -> list[Slot]:
    """Return the slots of `SwiGLU`."""
    fused = _with_bias(
        f"{_FEED_FORWARD}.gate_up_proj", (WeightSlice("gate", inner), WeightSlice("up", inner)), hidden, bias
    )
    return fused + single(f"{_FEED_FORWARD}.down_proj", "down", hidden, inner, bias=bias)


def grouped(config: GroupedConfig, *, rotary: bool) -> list[Slot]:
    """Return the slots of a decoder of `grouped_blocks`."""
    attention = grouped_attention(
        config.hidden_size,
        heads=config.num_heads,
        kv_heads=config.kv_heads,
        head_dim=config.head_width,
        bias=config.bias,
        rotary=rotary,
    )
    return outside(config) + attention + swiglu(config.hidden_size, config.intermediate_size, bias=config.bias)


def _with_bias(name: str, parts: tuple[WeightSlice, ...], columns: int, bias: bool) -> list[Slot]:
    slots = [Slot(f"{name}.weight", parts, columns)]
    if bias:
        vectors = tuple(WeightSlice(f"{part.role}.bias", part.rows, part.heads, part.rotated) for part in parts)
        slots.append(Slot(f"{name}.bias", vectors))
    return slots

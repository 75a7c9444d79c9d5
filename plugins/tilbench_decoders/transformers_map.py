"""Weights and configs of the equal Transformers models, both ways: GPT-2, Llama, DeepSeek-V3.

A map is a list of links from one of our tensors to theirs. Ours are fused (queries, keys and values; gate and
up), theirs are separate; Conv1D stores GPT-2's matrices transposed; DeepSeek's rotary rows are interleaved.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from tilbench.errors import CheckpointError, Unsupported
from tilbench_decoders.config import DecoderConfig, GroupedConfig

__all__ = [
    "Link",
    "from_transformers",
    "gpt2_links",
    "half_split_order",
    "llama_links",
    "mla_links",
    "to_transformers",
]


@dataclass(frozen=True)
class Link:
    """One tensor of ours and the tensors of theirs that it is made of.

    sizes: rows each of theirs contributes. transposed: theirs are [in, out].
    order: our rows are theirs, joined, in this order; None leaves them.
    """

    ours: str
    theirs: tuple[str, ...]
    sizes: tuple[int, ...] = ()
    transposed: bool = False
    order: Tensor | None = None

    def join(self, state: Mapping[str, Tensor]) -> Tensor:
        """Return our tensor from theirs."""
        parts = [state[name].t() if self.transposed else state[name] for name in self.theirs]
        tensor = torch.cat(parts) if len(parts) > 1 else parts[0]
        return (tensor if self.order is None else tensor[self.order]).contiguous()

    def split(self, tensor: Tensor) -> Iterator[tuple[str, Tensor]]:
        """Return their names and tensors from ours."""
        if self.order is not None:
            tensor = tensor[self.order.argsort()]
        parts: Sequence[Tensor] = torch.split(tensor, list(self.sizes)) if self.sizes else (tensor,)
        for name, part in zip(self.theirs, parts, strict=True):
            yield name, (part.t() if self.transposed else part).contiguous()


def from_transformers(links: Sequence[Link], state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return our state dict from theirs; tensors no link names (such as a tied lm_head) are left out.

    Weights saved without the head's class around them lack its prefix (`transformer.`, `model.`).
    Raises CheckpointError that names what is missing.
    """
    prefix = links[0].theirs[0].partition(".")[0] + "."
    if links[0].theirs[0] not in state and links[0].theirs[0].removeprefix(prefix) in state:
        links = [replace(link, theirs=tuple(name.removeprefix(prefix) for name in link.theirs)) for link in links]
    missing = [name for link in links for name in link.theirs if name not in state]
    if missing:
        raise CheckpointError(f"{len(missing)} weights are missing, among them {', '.join(missing[:3])}")
    return {link.ours: link.join(state) for link in links}


def to_transformers(links: Sequence[Link], state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return their state dict from ours, without a tied lm_head.

    Raises CheckpointError that names what is missing.
    """
    missing = [link.ours for link in links if link.ours not in state]
    if missing:
        raise CheckpointError(f"{len(missing)} weights are missing, among them {', '.join(missing[:3])}")
    return {name: tensor for link in links for name, tensor in link.split(state[link.ours])}


def half_split_order(kept: int, rotated: int, repeats: int = 1, *, before: int = 0) -> Tensor:
    """Return the row order that turns DeepSeek's interleaved rotary pairs into half-split ones.

    After `before` rows that stay come `repeats` groups of `kept` rows that stay and `rotated` rows whose
    pairs (2i, 2i + 1) become (i, i + rotated / 2).
    """
    group = [*range(kept), *range(kept, kept + rotated, 2), *range(kept + 1, kept + rotated, 2)]
    rows = [before + index * (kept + rotated) + row for index in range(repeats) for row in group]
    return torch.tensor([*range(before), *rows])


def gpt2_links(config: DecoderConfig, *, bias: bool) -> list[Link]:
    """Return the map to GPT2LMHeadModel. Raises Unsupported without biases, which that class always has."""
    if not bias:
        raise Unsupported("Transformers' GPT-2 has biases: a model built with bias: false has no equal there")
    pairs = {"qkv_proj": "attn.c_attn", "o_proj": "attn.c_proj"}
    inner = {"up_proj": "mlp.c_fc", "down_proj": "mlp.c_proj"}
    links = [
        Link("embedding.weight", ("transformer.wte.weight",)),
        Link("learned.weight", ("transformer.wpe.weight",)),
    ]
    for layer in range(config.num_layers):
        ours, theirs = f"blocks.{layer}.", f"transformer.h.{layer}."
        for kind in ("weight", "bias"):
            for name, other in {"attention_norm": "ln_1", "feed_forward_norm": "ln_2"}.items():
                links.append(Link(f"{ours}{name}.{kind}", (f"{theirs}{other}.{kind}",)))
            for part, names in {"attention": pairs, "feed_forward": inner}.items():
                for name, other in names.items():
                    matrix = kind == "weight"
                    links.append(Link(f"{ours}{part}.{name}.{kind}", (f"{theirs}{other}.{kind}",), transposed=matrix))
    links += [Link(f"norm.{kind}", (f"transformer.ln_f.{kind}",)) for kind in ("weight", "bias")]
    return links + _head(config)


def llama_links(config: GroupedConfig) -> list[Link]:
    """Return the map to LlamaForCausalLM."""
    width = config.head_width
    sizes = (config.num_heads * width, config.kv_heads * width, config.kv_heads * width)
    links = _outside(config)
    for layer in range(config.num_layers):
        ours, theirs = f"blocks.{layer}.attention.", f"model.layers.{layer}.self_attn."
        for kind in ("weight", "bias") if config.bias else ("weight",):
            fused = tuple(f"{theirs}{name}_proj.{kind}" for name in "qkv")
            links.append(Link(f"{ours}qkv_proj.{kind}", fused, sizes))
            links.append(Link(f"{ours}o_proj.{kind}", (f"{theirs}o_proj.{kind}",)))
            links += _swiglu(config, layer, kind)
    return links


def mla_links(
    config: DecoderConfig,
    *,
    q_rank: int | None,
    kv_rank: int,
    rope_dim: int,
    nope_dim: int,
    interleaved: bool = True,
) -> list[Link]:
    """Return the map to DeepseekV3ForCausalLM with every layer dense.

    interleaved: whether their config has `rope_interleave`, as it has by default.
    """
    q_width = config.num_heads * (nope_dim + rope_dim)
    per_head = half_split_order(nope_dim, rope_dim, config.num_heads) if interleaved else torch.arange(q_width)
    q_first = q_width if q_rank is None else q_rank
    last = half_split_order(kv_rank, rope_dim, before=q_first) if interleaved else None
    if last is not None and q_rank is None:
        last = torch.cat((per_head, last[q_width:]))
    links = _outside(config)
    for layer in range(config.num_layers):
        ours, theirs = f"blocks.{layer}.attention.", f"model.layers.{layer}.self_attn."
        first = "q_proj" if q_rank is None else "q_a_proj"
        fused = (f"{theirs}{first}.weight", f"{theirs}kv_a_proj_with_mqa.weight")
        links.append(Link(f"{ours}compress.weight", fused, (q_first, kv_rank + rope_dim), order=last))
        if q_rank is not None:
            links.append(Link(f"{ours}q_expand.0.weight", (f"{theirs}q_a_layernorm.weight",)))
            links.append(Link(f"{ours}q_expand.1.weight", (f"{theirs}q_b_proj.weight",), order=per_head))
        links.append(Link(f"{ours}kv_norm.weight", (f"{theirs}kv_a_layernorm.weight",)))
        links.append(Link(f"{ours}kv_expand.weight", (f"{theirs}kv_b_proj.weight",)))
        links.append(Link(f"{ours}o_proj.weight", (f"{theirs}o_proj.weight",)))
        links += _swiglu(config, layer, "weight")
    return links


def rotary_fields(config: DecoderConfig, theta: float) -> dict[str, object]:
    """Return the config fields that Llama and DeepSeek share in Transformers ."""
    return {
        "vocab_size": config.vocab_size,
        "hidden_size": config.hidden_size,
        "intermediate_size": config.intermediate_size,
        "num_hidden_layers": config.num_layers,
        "num_attention_heads": config.num_heads,
        "max_position_embeddings": config.max_length,
        "tie_word_embeddings": config.tie_embeddings,
        "attention_dropout": config.dropout,
        "initializer_range": config.initializer_range,
        "rms_norm_eps": config.norm_eps,
        "hidden_act": "silu",
        "rope_theta": theta,  # Transformers 4
        "rope_parameters": {"rope_type": "default", "rope_theta": theta},  # and 5
    }


def _head(config: DecoderConfig) -> list[Link]:
    return [] if config.tie_embeddings else [Link("lm_head.weight", ("lm_head.weight",))]


def _outside(config: DecoderConfig) -> list[Link]:
    links = [
        Link("embedding.weight", ("model.embed_tokens.weight",)),
        Link("norm.weight", ("model.norm.weight",)),
    ]
    for layer in range(config.num_layers):
        ours, theirs = f"blocks.{layer}.", f"model.layers.{layer}."
        links.append(Link(f"{ours}attention_norm.weight", (f"{theirs}input_layernorm.weight",)))
        links.append(Link(f"{ours}feed_forward_norm.weight", (f"{theirs}post_attention_layernorm.weight",)))
    return links + _head(config)


def _swiglu(config: DecoderConfig, layer: int, kind: str) -> list[Link]:
    ours, theirs = f"blocks.{layer}.feed_forward.", f"model.layers.{layer}.mlp."
    inner = config.intermediate_size
    return [
        Link(
            f"{ours}gate_up_proj.{kind}",
            (f"{theirs}gate_proj.{kind}", f"{theirs}up_proj.{kind}"),
            (inner, inner),
        ),
        Link(f"{ours}down_proj.{kind}", (f"{theirs}down_proj.{kind}",)),
    ]

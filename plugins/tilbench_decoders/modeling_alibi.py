"""An ALiBi decoder for Transformers: this one file, torch and transformers are all it needs.

Pre-norm blocks of grouped-query attention (Ainslie et al. 2023) and SwiGLU (Shazeer 2020), RMSNorm, and a linear
distance penalty on the attention scores (Press et al. 2022). Load it with
`AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=True)`.

Part of tilbench, Apache-2.0; written beside exported weights. Nothing of tilbench is imported.
"""

# mypy: disable-error-code="no-untyped-call, misc"
from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import GenerationMixin, PretrainedConfig, PreTrainedModel
from transformers.cache_utils import DynamicCache
from transformers.modeling_outputs import BaseModelOutputWithPast, CausalLMOutputWithPast

__all__ = ["AlibiConfig", "AlibiForCausalLM", "AlibiModel"]

_CACHE = "cache" if "cache" in BaseModelOutputWithPast.__dataclass_fields__ else "past_key_values"
"""What this version of Transformers calls the cache in an output; an input may have either name."""


class AlibiConfig(PretrainedConfig):
    """Sizes of the decoder. `max_position_embeddings` is the trained context, not a limit."""

    model_type = "tilbench_alibi"
    keys_to_ignore_at_inference = ["cache", "past_key_values"]

    def __init__(
        self,
        vocab_size: int = 32_000,
        hidden_size: int = 256,
        intermediate_size: int = 688,
        num_hidden_layers: int = 12,
        num_attention_heads: int = 8,
        num_key_value_heads: int | None = None,
        head_dim: int | None = None,
        max_position_embeddings: int = 512,
        rms_norm_eps: float = 1e-6,
        bias: bool = False,
        dropout: float = 0.0,
        initializer_range: float = 0.02,
        use_cache: bool = True,
        tie_word_embeddings: bool = True,
        **more: Any,
    ) -> None:
        self.vocab_size = vocab_size
        self.hidden_size = hidden_size
        self.intermediate_size = intermediate_size
        self.num_hidden_layers = num_hidden_layers
        self.num_attention_heads = num_attention_heads
        self.num_key_value_heads = num_key_value_heads or num_attention_heads
        self.head_dim = head_dim or hidden_size // num_attention_heads
        self.max_position_embeddings = max_position_embeddings
        self.rms_norm_eps = rms_norm_eps
        self.bias = bias
        self.dropout = dropout
        self.initializer_range = initializer_range
        self.use_cache = use_cache
        super().__init__(**{"tie_word_embeddings": tie_word_embeddings, **more})


def _slopes(heads: int, device: torch.device) -> Tensor:
    """Return the slope of each head, fp32 [heads], as Press et al. released them.

    A power of two n gives 2^(-8/n), 2^(-16/n), … 2^-8. Otherwise the slopes of the next lower power of two n are
    followed by every other slope, from the first, of 2n.
    """
    power = 1 << (heads.bit_length() - 1)
    exponents = torch.arange(1, power + 1, device=device, dtype=torch.float32) * (8 / power)
    between = torch.arange(1, 2 * (heads - power) + 1, 2, device=device, dtype=torch.float32) * (4 / power)
    return torch.cat((exponents, between)).neg().exp2()


def _bias(heads: int, tokens: int, held: int, mask: Tensor | None, x: Tensor) -> Tensor:
    """Return what is added to the scores of T new tokens over S = held + T keys, [1 or B, heads, T, S].

    mask: [B, S], 0 where a key is padding. The penalty is by the distance of places, which padding on either side does
    not change. What may not be seen is -inf, whatever the penalty is; a token always sees itself, so that padding
    stays finite.
    """
    keys = torch.arange(held + tokens, device=x.device)
    distance = keys[held:, None] - keys  # [T, S]
    allowed = (distance >= 0)[None, None]
    if mask is not None:
        allowed = allowed & (mask.bool()[:, None, None] | (distance == 0))
    bias = -_slopes(heads, x.device)[:, None, None] * distance.abs().float()
    return bias[None].masked_fill(~allowed, -torch.inf).to(x.dtype)


class AlibiAttention(nn.Module):
    """Grouped-query attention under a bias that every layer shares."""

    def __init__(self, config: AlibiConfig, layer: int) -> None:
        super().__init__()
        self.heads, self.kv_heads, self.head_dim = (
            config.num_attention_heads,
            config.num_key_value_heads,
            config.head_dim,
        )
        self.dropout, self.layer = config.dropout, layer
        hidden, width, kv_width = config.hidden_size, self.heads * self.head_dim, self.kv_heads * self.head_dim
        self.q_proj = nn.Linear(hidden, width, bias=config.bias)
        self.k_proj = nn.Linear(hidden, kv_width, bias=config.bias)
        self.v_proj = nn.Linear(hidden, kv_width, bias=config.bias)
        self.o_proj = nn.Linear(width, hidden, bias=config.bias)

    def forward(self, x: Tensor, bias: Tensor, cache: Any | None) -> Tensor:
        """Return the attention's output [B, T, hidden]."""
        rows, tokens, _ = x.shape
        q = self.q_proj(x).view(rows, tokens, self.heads, self.head_dim).transpose(1, 2)
        k = self.k_proj(x).view(rows, tokens, self.kv_heads, self.head_dim).transpose(1, 2)
        v = self.v_proj(x).view(rows, tokens, self.kv_heads, self.head_dim).transpose(1, 2)
        if cache is not None:
            k, v = cache.update(k, v, self.layer)
        groups = self.heads // self.kv_heads
        k, v = k.repeat_interleave(groups, 1), v.repeat_interleave(groups, 1)
        dropout = self.dropout if self.training else 0.0
        out = F.scaled_dot_product_attention(q, k, v, bias, dropout, scale=self.head_dim**-0.5)
        return self.o_proj(out.transpose(1, 2).reshape(rows, tokens, self.heads * self.head_dim))  # type: ignore[no-any-return]


class AlibiMLP(nn.Module):
    """down(silu(gate(x)) · up(x))."""

    def __init__(self, config: AlibiConfig) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=config.bias)
        self.up_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=config.bias)
        self.down_proj = nn.Linear(config.intermediate_size, config.hidden_size, bias=config.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return the output [..., hidden]."""
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))  # type: ignore[no-any-return]


class AlibiLayer(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x)), with dropout on both branches."""

    def __init__(self, config: AlibiConfig, layer: int) -> None:
        super().__init__()
        self.input_layernorm = nn.RMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.self_attn = AlibiAttention(config, layer)
        self.post_attention_layernorm = nn.RMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.mlp = AlibiMLP(config)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor, bias: Tensor, cache: Any | None) -> Tensor:
        """Return the residual stream [B, T, hidden]."""
        x = x + self.dropout(self.self_attn(self.input_layernorm(x), bias, cache))
        return x + self.dropout(self.mlp(self.post_attention_layernorm(x)))  # type: ignore[no-any-return]


class AlibiPreTrainedModel(PreTrainedModel):
    """What both models share."""

    config_class = AlibiConfig
    base_model_prefix = "model"
    _no_split_modules = ["AlibiLayer"]
    _skip_keys_device_placement = ["cache", "past_key_values"]
    _supports_sdpa = True


class AlibiModel(AlibiPreTrainedModel):
    """The decoder without its output projection."""

    def __init__(self, config: AlibiConfig) -> None:
        super().__init__(config)
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.dropout = nn.Dropout(config.dropout)
        self.layers = nn.ModuleList(AlibiLayer(config, layer) for layer in range(config.num_hidden_layers))
        self.norm = nn.RMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.post_init()

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        past_key_values: Any | None = None,
        inputs_embeds: Tensor | None = None,
        use_cache: bool | None = None,
        cache: Any | None = None,
        **more: Any,
    ) -> BaseModelOutputWithPast:
        """Return the final normalised states [B, T, hidden], and the cache, which may be given by either of its names.

        attention_mask: [B, held + T], 0 where a key is padding. Raises ValueError for one of another form.
        """
        x = self.embed_tokens(input_ids) if inputs_embeds is None else inputs_embeds
        rows, tokens, _ = x.shape
        cache = past_key_values if cache is None else cache
        if cache is None and (self.config.use_cache if use_cache is None else use_cache):
            cache = DynamicCache()
        held = 0 if cache is None else int(cache.get_seq_length())
        if attention_mask is not None and attention_mask.shape != (rows, held + tokens):
            shape = list(attention_mask.shape)
            raise ValueError(f"attention_mask must be [batch, keys] = [{rows}, {held + tokens}], not {shape}")
        bias = _bias(self.config.num_attention_heads, tokens, held, attention_mask, x)
        x = self.dropout(x)
        for layer in self.layers:
            x = layer(x, bias, cache)
        found: dict[str, Any] = {"last_hidden_state": self.norm(x), _CACHE: cache}
        return BaseModelOutputWithPast(**found)


class AlibiForCausalLM(AlibiPreTrainedModel, GenerationMixin):
    """The decoder with its output projection."""

    _tied_weights_keys = {"lm_head.weight": "model.embed_tokens.weight"}

    def __init__(self, config: AlibiConfig) -> None:
        super().__init__(config)
        self.model = AlibiModel(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        past_key_values: Any | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int | Tensor = 0,
        cache: Any | None = None,
        **more: Any,
    ) -> CausalLMOutputWithPast:
        """Return logits [B, T, V], of the last `logits_to_keep` tokens where that is not 0, and the cache.

        labels: ids [B, T], -100 where nothing is learnt; the loss is that of each next token.
        """
        out = self.model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            cache=past_key_values if cache is None else cache,
            inputs_embeds=inputs_embeds,
            use_cache=use_cache,
        )
        kept = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        logits = self.lm_head(out.last_hidden_state[:, kept])  # slice(0, None) keeps all
        loss = None
        if labels is not None:
            loss = F.cross_entropy(logits[:, :-1].float().flatten(0, 1), labels[:, 1:].flatten(), ignore_index=-100)
        found: dict[str, Any] = {"loss": loss, "logits": logits, _CACHE: out.get(_CACHE)}
        return CausalLMOutputWithPast(**found)

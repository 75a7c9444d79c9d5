"""The decoder: pre-norm blocks of attention and feed-forward around one residual stream."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tilbench_decoders.config import DecoderConfig
from tilbench_decoders.layers.attention import Context, GroupedAttention, allowed_keys
from tilbench_decoders.layers.cache import KVCache
from tilbench_decoders.layers.fused import fused_bias, worth_fusing
from tilbench_decoders.layers.latent import LatentAttention
from tilbench_decoders.layers.positions import LearnedPositions, LinearBias, Rotary

__all__ = ["Block", "Decoder"]


class Block(nn.Module):
    """x + attention(norm(x)), then x + feed_forward(norm(x)), with dropout on both branches."""

    def __init__(
        self,
        attention_norm: nn.Module,
        attention: GroupedAttention | LatentAttention,
        feed_forward_norm: nn.Module,
        feed_forward: nn.Module,
        *,
        dropout: float,
    ) -> None:
        super().__init__()
        self.attention_norm = attention_norm
        self.attention = attention
        self.feed_forward_norm = feed_forward_norm
        self.feed_forward = feed_forward
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, context: Context) -> Tensor:
        """Return the residual stream [B, T, D] after this block."""
        x = x + self.dropout(self.attention(self.attention_norm(x), context))
        return x + self.dropout(self.feed_forward(self.feed_forward_norm(x)))  # type: ignore[no-any-return]


class Decoder(nn.Module):
    """A causal language model; see `tilbench.kinds.architecture.Decoder` for its interface.

    Give it one of `learned` (positions added to the embedding), `rotary` (angles for queries and keys) and
    `linear` (a distance penalty on the scores). Its blocks know nothing of which it is.
    """

    def __init__(
        self,
        config: DecoderConfig,
        blocks: Sequence[Block],
        norm: nn.Module,
        *,
        learned: LearnedPositions | None = None,
        rotary: Rotary | None = None,
        linear: LinearBias | None = None,
    ) -> None:
        super().__init__()
        self.vocab_size = config.vocab_size
        self.max_length = config.max_length
        # Without torch's own initialisation, which on the meta device imports its compiler: that takes seconds.
        empty = torch.empty(config.vocab_size, config.hidden_size)
        self.embedding: nn.Embedding = nn.Embedding.from_pretrained(empty, freeze=False)  # type: ignore[no-untyped-call]
        self.learned = learned
        self.rotary = rotary
        self.linear = linear
        self.dropout = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(blocks)
        self._cache_shapes = [block.attention.cache_shapes() for block in blocks]
        self.norm = norm
        # Tied embeddings are the same parameter by having no other: nothing to tie again after loading.
        self.lm_head = None if config.tie_embeddings else nn.Linear(config.hidden_size, config.vocab_size, bias=False)

    def hidden(
        self,
        ids: Tensor,
        *,
        positions: Tensor | None = None,
        mask: Tensor | None = None,
        cache: KVCache | None = None,
    ) -> Tensor:
        """Return the final normalised states [B, T, D] of `ids` [B, T].

        positions: int64 [B, T] or [T]; None counts from 0, or from `cache.length`.
        mask: bool, True = may attend, [T, S] or [B, 1, T, S] with S = cache.length + T, used as given (a mask
        that is not causal lets a token see the future); None is causal in the order of the tokens.
        Raises Unsupported for positions a model has not learned and for tokens that do not fit the cache.
        """
        rows, tokens = ids.shape
        held = 0 if cache is None else cache.length
        span = None
        if positions is None:
            span = (held, held + tokens - 1)
            positions = torch.arange(held, held + tokens, device=ids.device)
        positions = positions.view(-1, tokens)  # [1 or B, T]
        x = self.embedding(ids)
        if self.learned is not None:
            x = x + self.learned(positions, span)
        keys = positions if cache is None else cache.begin(rows, positions)  # [1 or B, S]
        context = self._context(x, positions, keys, mask, cache)
        x = self.dropout(x)
        for block in self.blocks:
            x = block(x, context)
        if cache is not None:
            cache.advance(tokens)
        return self.norm(x)  # type: ignore[no-any-return]

    @property
    def output_weight(self) -> Tensor | None:
        """The matrix [V, D] that `project` multiplies by; None where it does more than that."""
        if self.lm_head is None:
            return self.embedding.weight if type(self.embedding) is nn.Embedding else None
        return self.lm_head.weight if type(self.lm_head) is nn.Linear else None

    def project(self, hidden: Tensor) -> Tensor:
        """Return the logits [..., V] of states [..., D]."""
        return F.linear(hidden, self.embedding.weight) if self.lm_head is None else self.lm_head(hidden)

    def new_cache(self, batch: int, length: int) -> KVCache:
        """Return an empty cache for `batch` rows of at most `length` tokens, of the weights' dtype."""
        weight = self.embedding.weight
        return KVCache(self._cache_shapes, batch=batch, capacity=length, device=weight.device, dtype=weight.dtype)

    def forward(self, ids: Tensor) -> Tensor:
        """Return logits [B, T, V] of causal `ids` [B, T]; for small inputs and for comparisons."""
        return self.project(self.hidden(ids))

    def _context(
        self, x: Tensor, positions: Tensor, keys: Tensor, mask: Tensor | None, cache: KVCache | None
    ) -> Context:
        rows, tokens, _ = x.shape
        held = keys.shape[1] - tokens
        angles = None if self.rotary is None else self.rotary.angles(positions)
        dropped = self.training and self.dropout.p > 0
        if self.linear is not None and cache is None and worth_fusing(x, dropout=dropped):
            allowed = None if mask is None else allowed_keys(mask, rows, tokens, tokens, x.device)
            return Context(None, False, angles, None, fused_bias(self.linear.heads, positions, allowed, rows))
        # Without a mask tensor the fused kernels skip the upper triangle instead of reading it.
        causal = mask is None and held == 0 and tokens > 1 and self.linear is None
        attention: Tensor | None = None
        if not causal:
            attention = allowed_keys(mask, rows, tokens, held + tokens, positions.device)
        if self.linear is not None:
            device, dtype = positions.device.type, x.dtype
            if device != "meta" and torch.is_autocast_enabled(device):
                dtype = torch.get_autocast_dtype(device)
            attention = self.linear.bias(positions, keys, attention, dtype)
        return Context(attention, causal, angles, cache)

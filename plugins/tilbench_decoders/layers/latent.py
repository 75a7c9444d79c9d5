"""Multi-head latent attention (MLA), DeepSeek-V2 section 2.1, as used dense in DeepSeek-V3."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tilbench_decoders.layers.attention import Context, attend
from tilbench_decoders.layers.norms import RMSNorm
from tilbench_decoders.layers.positions import rotate

__all__ = ["LatentAttention", "LatentShape"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LatentShape:
    """Sizes of latent attention. Widths are per head, but for the ranks, which all heads share.

    q_rank: None projects the queries directly.
    """

    heads: int
    q_rank: int | None
    kv_rank: int
    rope_dim: int
    nope_dim: int
    v_dim: int


class LatentAttention(nn.Module):
    """Attention whose keys and values are expanded from one small latent vector per token.

    Per head, a query and a key have a part without position (nope) and a rotated part (rope); the rotated key
    is shared by all heads. The cache keeps only the latent and the rotated key: kv_rank + rope_dim numbers
    per token. `compress` stacks the first projections of queries,
    latent and rotated key, in this order.
    """

    def __init__(self, hidden: int, shape: LatentShape, *, norm_eps: float, dropout: float, layer: int) -> None:
        super().__init__()
        heads, q_rank, kv_rank = shape.heads, shape.q_rank, shape.kv_rank
        rope_dim, nope_dim, v_dim = shape.rope_dim, shape.nope_dim, shape.v_dim
        self.heads, self.kv_rank = heads, kv_rank
        self.rope_dim, self.nope_dim, self.v_dim = rope_dim, nope_dim, v_dim
        self.dropout = dropout
        self.layer = layer
        q_width = heads * (nope_dim + rope_dim)
        self.q_first = q_width if q_rank is None else q_rank
        self.compress = nn.Linear(hidden, self.q_first + kv_rank + rope_dim, bias=False)
        self.q_expand = (
            None
            if q_rank is None
            else nn.Sequential(RMSNorm(q_rank, eps=norm_eps), nn.Linear(q_rank, q_width, bias=False))
        )
        self.kv_norm = RMSNorm(kv_rank, eps=norm_eps)
        self.kv_expand = nn.Linear(kv_rank, heads * (nope_dim + v_dim), bias=False)
        self.o_proj = nn.Linear(heads * v_dim, hidden, bias=False)

    def cache_shapes(self) -> tuple[tuple[int, int], ...]:
        """Return (heads, width) of the one tensor this layer keeps per token: latent and rotated key."""
        return ((1, self.kv_rank + self.rope_dim),)

    def forward(self, x: Tensor, context: Context) -> Tensor:
        """Return the attention's output [B, T, hidden] for x [B, T, hidden]."""
        rows, tokens, _ = x.shape
        assert context.angles is not None
        q, latent, k_rope = self.compress(x).split((self.q_first, self.kv_rank, self.rope_dim), dim=-1)
        if self.q_expand is not None:
            q = self.q_expand(q)
        q_nope, q_rope = q.view(rows, tokens, self.heads, -1).split((self.nope_dim, self.rope_dim), dim=-1)
        q_rope = rotate(q_rope, context.angles)  # [B, T, H, rope]
        k_rope = rotate(k_rope.unsqueeze(2), context.angles).squeeze(2)  # [B, T, rope]
        memory = torch.cat((self.kv_norm(latent), k_rope), dim=-1)  # [B, T, rank + rope]
        if context.cache is not None:
            memory = context.cache.append(self.layer, memory.unsqueeze(1))[0].squeeze(1)  # [B, S, rank + rope]
        absorb = context.cache is not None and not context.causal and self._absorbing(tokens, memory.shape[1])
        out = (self._absorbed if absorb else self._expanded)(q_nope, q_rope, memory, context)  # [B, T, H, v]
        return self.o_proj(out.reshape(rows, tokens, self.heads * self.v_dim))  # type: ignore[no-any-return]

    def _absorbing(self, tokens: int, keys: int) -> bool:
        """Return whether attending over latents multiplies less than expanding every key first."""
        # An adapter or a quantised layer in its place does more than multiply by `weight`.
        if type(self.kv_expand) is not nn.Linear:
            return False
        expansion = self.kv_rank * (self.nope_dim + self.v_dim)
        expanded = keys * expansion + tokens * keys * (self.nope_dim + self.rope_dim + self.v_dim)
        absorbed = tokens * expansion + tokens * keys * 2 * (self.kv_rank + self.rope_dim)
        return absorbed < expanded

    def _expanded(self, q_nope: Tensor, q_rope: Tensor, memory: Tensor, context: Context) -> Tensor:
        """Attend with every head's own keys and values: best for many queries."""
        latent, k_rope = torch.split(memory, [self.kv_rank, self.rope_dim], dim=-1)
        kv = self.kv_expand(latent).unflatten(-1, (self.heads, self.nope_dim + self.v_dim))  # [B, S, H, nope + v]
        k_nope, v = kv.split((self.nope_dim, self.v_dim), dim=-1)
        q = torch.cat((q_nope, q_rope), dim=-1)
        k = torch.cat((k_nope, k_rope.unsqueeze(2).expand(-1, -1, self.heads, -1)), dim=-1)
        # Fused kernels want one width for keys and values: zero columns halve the time of a forward on CPU.
        v = F.pad(v, (0, max(0, q.shape[-1] - self.v_dim)))
        out = self._attend(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), context)
        return out[..., : self.v_dim].transpose(1, 2)

    def _absorbed(self, q_nope: Tensor, q_rope: Tensor, memory: Tensor, context: Context) -> Tensor:
        """Attend over the latents themselves, kv_expand moved into query and output: best for few queries.

        All heads share the memory, so they become H·T queries of one head.
        """
        weight = self.kv_expand.weight.view(self.heads, self.nope_dim + self.v_dim, self.kv_rank)
        k_weight, v_weight = torch.split(weight, [self.nope_dim, self.v_dim], dim=1)
        q_latent = torch.einsum("bthd,hdr->bhtr", q_nope, k_weight)
        q = torch.cat((q_latent, q_rope.transpose(1, 2)), dim=-1).flatten(1, 2).unsqueeze(1)  # [B, 1, H·T, rank + rope]
        mask = context.mask
        if mask is not None:
            mask = mask.expand(-1, self.heads, -1, -1).flatten(1, 2).unsqueeze(1)  # [b, 1, H·T, S]
        # The memory serves as values too: its rotated columns are computed and dropped, which saves a copy.
        keys = memory.unsqueeze(1)
        out = self._attend(q, keys, keys, Context(mask, False, None, None))
        out = out.view(len(memory), self.heads, -1, memory.shape[-1])[..., : self.kv_rank]  # [B, H, T, rank]
        return torch.einsum("bhtr,hvr->bthv", out, v_weight)

    def _attend(self, q: Tensor, k: Tensor, v: Tensor, context: Context) -> Tensor:
        dropout = self.dropout if self.training else 0.0
        return attend(q, k, v, context, scale=(self.nope_dim + self.rope_dim) ** -0.5, dropout=dropout)

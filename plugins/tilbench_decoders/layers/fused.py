"""Attention whose penalty and mask are made inside the kernel and never stored (FlexAttention, Dong et al. 2024)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention

from tilbench_decoders.layers.positions import alibi_slopes

__all__ = ["FusedBias", "fused_bias", "worth_fusing"]

_BLOCK = 128
"""Queries and keys that the kernel takes together."""


@dataclass(frozen=True)
class FusedBias:
    """A distance penalty and, apart from it, who may attend to whom.

    slopes: fp32 [H]. positions: int64 [B, T], of queries and keys alike. blocks: which blocks of the scores are left
    out, kept whole, or masked one by one.
    """

    slopes: Tensor
    positions: Tensor
    blocks: BlockMask

    def attend(self, q: Tensor, k: Tensor, v: Tensor, *, scale: float) -> Tensor:
        """Return softmax(scale q kᵀ - penalty, masked) v: q [B, H, T, D], k and v [B, K, T, D] → [B, H, T, D]."""
        slopes, positions = self.slopes, self.positions

        def penalised(score: Tensor, row: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
            return score - slopes[head] * (positions[row, query] - positions[row, key]).abs()

        return flex_attention(
            q, k, v, score_mod=penalised, block_mask=self.blocks, scale=scale, enable_gqa=q.shape[1] > k.shape[1]
        )


def worth_fusing(x: Tensor, *, dropout: bool) -> bool:
    """Return whether a pass over states x [B, T, D] without a cache should compute its bias inside the kernel.

    Only a compiled graph on CUDA has the kernel: elsewhere FlexAttention stores every score, more than the bias that
    it spares. It drops no attention weights, and scoring is left alone, where each new length would be compiled.
    """
    return (
        x.is_cuda and torch.compiler.is_compiling() and torch.is_grad_enabled() and not dropout and x.shape[1] >= _BLOCK
    )


def fused_bias(heads: int, positions: Tensor, allowed: Tensor | None, rows: int) -> FusedBias:
    """Return the bias of ALiBi over positions [1 or B, T] of `rows` rows.

    allowed: bool [1 or B, 1, T, T]; None is causal in the order of the tokens, and then no mask is stored either.
    """
    tokens, device = positions.shape[1], positions.device

    def causal(row: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return query >= key

    def given(row: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        assert allowed is not None
        return allowed[row, 0, query, key]

    blocks = create_block_mask(
        causal if allowed is None else given,
        None if allowed is None else len(allowed),
        None,
        tokens,
        tokens,
        device=device,
        BLOCK_SIZE=_BLOCK,
    )
    return FusedBias(alibi_slopes(heads, device), positions.expand(rows, -1), blocks)

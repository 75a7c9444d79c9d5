"""RMSNorm that also fits inside mixed precision."""

from __future__ import annotations

from torch import Tensor, nn

__all__ = ["RMSNorm"]


class RMSNorm(nn.RMSNorm):
    """x / √(mean(x²) + eps) · weight over the last dimension (Zhang and Sennrich 2019).

    Computed in the weight's dtype: under autocast a projection gives half precision where the weight is fp32,
    and torch then leaves its fused kernel.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Return the normalised x [..., D], in the weight's dtype."""
        return super().forward(x.to(self.weight.dtype))

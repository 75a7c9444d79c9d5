"""The two feed-forwards: GELU, as in GPT-2, and SwiGLU."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["GeluFeedForward", "SwiGLU"]


class GeluFeedForward(nn.Module):
    """down(gelu(up(x))) (Hendrycks and Gimpel 2016). exact: GELU itself, and not the tanh approximation of GPT-2."""

    def __init__(self, hidden: int, inner: int, *, bias: bool, exact: bool = False) -> None:
        super().__init__()
        self.approximate = "none" if exact else "tanh"
        self.up_proj = nn.Linear(hidden, inner, bias=bias)
        self.down_proj = nn.Linear(inner, hidden, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return the output [..., hidden] for x [..., hidden]."""
        return self.down_proj(F.gelu(self.up_proj(x), approximate=self.approximate))  # type: ignore[no-any-return]


class SwiGLU(nn.Module):
    """down(silu(gate(x)) · up(x)) (Shazeer 2020). The rows of gate and up are one matrix, gate first."""

    def __init__(self, hidden: int, inner: int, *, bias: bool) -> None:
        super().__init__()
        self.gate_up_proj = nn.Linear(hidden, 2 * inner, bias=bias)
        self.down_proj = nn.Linear(inner, hidden, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return the output [..., hidden] for x [..., hidden]."""
        gate, up = self.gate_up_proj(x).chunk(2, dim=-1)
        return self.down_proj(F.silu(gate) * up)  # type: ignore[no-any-return]

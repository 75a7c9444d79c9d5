"""The three ways a decoder knows order: learned embeddings, rotary angles, a linear distance penalty.

Rotary angles and the penalty are computed from explicit positions once per forward pass and shared by all
layers. They keep no buffers, so nothing is lost on the meta device, rounded in bfloat16 or outgrown.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tilbench.errors import Unsupported

__all__ = ["LearnedPositions", "LinearBias", "Rotary", "alibi_slopes", "rotate"]


class LearnedPositions(nn.Embedding):
    """One learned vector per position, added to the token embedding (Radford et al. 2019)."""

    def forward(self, positions: Tensor, span: tuple[int, int] | None = None) -> Tensor:
        """Return the vectors [..., D] of int64 positions [...].

        span: the lowest and highest of them, where known; finding them waits for the device.
        Raises Unsupported for a position outside 0 … max_length - 1.
        """
        # A compiled graph cannot raise on values; there the embedding's own bounds check remains.
        if span is None and not positions.is_meta and not torch.compiler.is_compiling():
            span = (int(positions.min()), int(positions.max()))
        if span is not None:
            low, high = span
            if low < 0 or high >= self.num_embeddings:
                raise Unsupported(
                    f"position {low if low < 0 else high} is outside the {self.num_embeddings} positions "
                    f"this model has learned; use sequences of at most {self.num_embeddings} tokens"
                )
        return super().forward(positions)


@dataclass(frozen=True)
class Rotary:
    """Rotary position embedding (Su et al. 2021): pairs of dimensions turn by angles that grow with position.

    dim: rotated width of a head, even. theta: base of the geometric series of wavelengths.
    """

    dim: int
    theta: float

    def angles(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Return cosine and sine, fp32 [b, T, 1, dim / 2], for positions [b, T]."""
        pairs = torch.arange(0, self.dim, 2, device=positions.device, dtype=torch.float32)
        frequencies = 1.0 / self.theta ** (pairs / self.dim)  # [dim / 2], radians per token
        angles = (positions[..., None].float() * frequencies).unsqueeze(2)
        return angles.cos(), angles.sin()


def rotate(x: Tensor, angles: tuple[Tensor, Tensor]) -> Tensor:
    """Turn the pairs (i, i + dim / 2) of x [B, T, heads, dim] by cosine and sine [b, T, 1, dim / 2].

    The half-split pairing is Llama's. DeepSeek pairs neighbours (2i, 2i + 1): the same map after a fixed
    permutation of weight rows, which `transformers_map` applies.
    """
    cos, sin = angles[0].to(x.dtype), angles[1].to(x.dtype)
    first, second = x.chunk(2, dim=-1)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)


def alibi_slopes(heads: int, device: torch.device | None = None) -> Tensor:
    """Return the slopes m_h, fp32 [heads], of ALiBi (Press et al. 2022, section 3 and its released code).

    A power of two n gives 2^(-8/n), 2^(-16/n), … 2^-8. Otherwise the slopes of the next lower power of two n
    are followed by every other slope, from the first, of 2n.
    """
    power = 1 << (heads.bit_length() - 1)
    exponents = torch.arange(1, power + 1, device=device, dtype=torch.float32) * (8 / power)
    between = torch.arange(1, 2 * (heads - power) + 1, 2, device=device, dtype=torch.float32) * (4 / power)
    return torch.cat((exponents, between)).neg().exp2()


@dataclass(frozen=True)
class LinearBias:
    """ALiBi: a penalty -m_h |i - j| on the attention score of positions i and j (Press et al. 2022)."""

    heads: int

    def bias(self, queries: Tensor, keys: Tensor, allowed: Tensor | None, dtype: torch.dtype) -> Tensor:
        """Return the additive bias [b, heads, T, S] of query positions [b, T] and key positions [b, S].

        allowed: bool [b, 1, T, S], None for everything. It is a hard -inf of its own, never part of the
        penalty: a fault in the distances can make a model worse, not let it see the future.
        """
        distance = (queries[:, None, :, None] - keys[:, None, None, :]).abs().float()  # [b, 1, T, S]
        bias = distance * -alibi_slopes(self.heads, queries.device)[:, None, None]
        if allowed is not None:
            bias = bias.masked_fill(~allowed, -torch.inf)
        return bias.to(dtype)

"""A decoder of a few thousand parameters that conforms: linear biases, pre-norm, tied embeddings, a cache.

A new architecture can be compared with it. The project's own tests vary it, one fault at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from tilbench.checkpoints.weights import load_weights, save_weights
from tilbench.config.base import Schema

__all__ = ["ToyArchitecture", "ToyCache", "ToyConfig", "ToyDecoder"]


class ToyConfig(Schema):
    """Sizes of the toy decoder."""

    vocab_size: int = Field(default=61, ge=2)
    max_length: int = Field(default=24, ge=1)
    width: int = Field(default=16, ge=2, multiple_of=2)
    layers: int = Field(default=2, ge=1)


class ToyCache:
    """Keys, values and positions of the tokens seen so far."""

    def __init__(self) -> None:
        self.length = 0
        self.positions: Tensor | None = None  # [1 or B, length]
        self.layers: dict[int, tuple[Tensor, Tensor]] = {}

    def keep(self, slots: Tensor) -> None:
        """Keep these slots of every row."""
        self.layers = {layer: (k[:, :, slots], v[:, :, slots]) for layer, (k, v) in self.layers.items()}
        self.positions = None if self.positions is None else self.positions[:, slots]
        self.length = len(slots)

    @property
    def bytes(self) -> int:
        """Size of keys and values."""
        return sum(each.nbytes for pair in self.layers.values() for each in pair)

    def select(self, rows: Tensor) -> None:
        """Keep these rows."""
        self.layers = {layer: (k[rows], v[rows]) for layer, (k, v) in self.layers.items()}
        if self.positions is not None and len(self.positions) > 1:
            self.positions = self.positions[rows]

    def join(self, others: Sequence[ToyCache]) -> None:
        """Put the rows of others below its own; what a shorter one lacks is 0."""
        caches = [self, *others]
        length = max(cache.length for cache in caches)
        places = []
        for cache in caches:
            assert cache.positions is not None
            places.append(F.pad(cache.positions.expand(len(cache.layers[0][0]), -1), (0, length - cache.length)))
        self.positions = torch.cat(places)
        for layer in self.layers:
            pairs = [cache.layers[layer] for cache in caches]
            k, v = (
                torch.cat([F.pad(each, (0, 0, 0, length - each.shape[2])) for each in tensors])
                for tensors in zip(*pairs, strict=True)
            )
            self.layers[layer] = (k, v)
        self.length = length


class ToyBlock(nn.Module):
    """Two-headed attention, then a feed-forward, each on a normalised copy of the residual stream."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, x: Tensor, bias: Tensor, cache: ToyCache | None, layer: int) -> Tensor:
        """Return the stream [B, T, D] after this block; bias is [b, 2, T, S]."""
        q, k, v = (part.unflatten(-1, (2, -1)).transpose(1, 2) for part in self.qkv(self.first(x)).chunk(3, -1))
        if cache is not None:
            if layer in cache.layers:
                held = cache.layers[layer]
                k, v = torch.cat((held[0], k), 2), torch.cat((held[1], v), 2)
            cache.layers[layer] = (k, v)
        scores = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5 + bias.to(q.dtype)
        x = x + self.out((scores.softmax(-1) @ v).transpose(1, 2).flatten(2))
        return x + self.down(F.gelu(self.up(self.second(x))))  # type: ignore[no-any-return]


class ToyDecoder(nn.Module):
    """A `tilbench.kinds.architecture.Decoder` whose methods are small enough to be broken one at a time."""

    def __init__(self, config: ToyConfig) -> None:
        super().__init__()
        self.vocab_size, self.max_length = config.vocab_size, config.max_length
        self.embedding = nn.Embedding(config.vocab_size, config.width)
        self.blocks = nn.ModuleList(ToyBlock(config.width) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.width)
        for parameter in self.parameters():
            if parameter.ndim > 1:
                nn.init.normal_(parameter, std=0.02)

    def hidden(
        self, ids: Tensor, *, positions: Tensor | None = None, mask: Tensor | None = None, cache: Any | None = None
    ) -> Tensor:
        """Return the final normalised states [B, T, D]."""
        tokens, held = ids.shape[1], 0 if cache is None else cache.length
        if positions is None:
            start = self.start(cache)
            positions = torch.arange(start, start + tokens, device=ids.device)
        queries = keys = positions.view(-1, tokens)
        if cache is not None:
            keys = queries
            if cache.positions is not None:
                held_at = cache.positions.expand(max(len(cache.positions), len(queries)), -1)
                keys = torch.cat((held_at, queries.expand(len(held_at), -1)), -1)
            cache.positions = keys
        allowed = torch.ones(tokens, held + tokens, dtype=torch.bool, device=ids.device).tril(held)
        bias = self.bias(queries, keys, allowed if mask is None else mask)
        x = self.embed(ids)
        for layer, block in enumerate(self.blocks):
            x = block(x, bias, cache, layer)
        if cache is not None:
            cache.length += tokens
        return self.norm(x)  # type: ignore[no-any-return]

    def start(self, cache: Any | None) -> int:
        """Return the position of the next token."""
        return 0 if cache is None else int(cache.length)

    def embed(self, ids: Tensor) -> Tensor:
        """Return the stream [B, T, D] before the first block."""
        return self.embedding(ids)  # type: ignore[no-any-return]

    def bias(self, queries: Tensor, keys: Tensor, allowed: Tensor) -> Tensor:
        """Return the additive bias [b, 2, T, S] of positions [b, T] and [b, S]: distance, and a hard −inf."""
        distance = (queries[:, None, :, None] - keys[:, None, None, :]).abs().float()
        slopes = torch.tensor([0.5, 0.125], device=queries.device)[:, None, None]
        return (-slopes * distance).masked_fill(~allowed, -torch.inf)

    def project(self, hidden: Tensor) -> Tensor:
        """Return the logits [..., V] of states [..., D]."""
        return F.linear(hidden, self.embedding.weight)

    def new_cache(self, batch: int, length: int) -> ToyCache:
        """Return an empty cache, which grows as it is used."""
        return ToyCache()

    def forward(self, ids: Tensor) -> Tensor:
        """Return logits [B, T, V]."""
        return self.project(self.hidden(ids))


class ToyArchitecture:
    """The toy decoder as an architecture; `module` is the class it builds."""

    Config: ClassVar[type[Any]] = ToyConfig
    example: ClassVar[dict[str, Any]] = {}
    module: ClassVar[type[ToyDecoder]] = ToyDecoder

    def parameters(self, config: ToyConfig) -> int:
        """Return the number of parameters by formula."""
        width = config.width
        block = 8 * width * width + 7 * width + 4 * width  # matrices, biases, norms
        return config.vocab_size * width + config.layers * block + 2 * width

    def build(self, config: ToyConfig) -> nn.Module:
        """Return a freshly initialised decoder."""
        return self.module(config)

    def save(self, module: nn.Module, folder: Path) -> None:
        """Write `model.safetensors`."""
        save_weights(module, folder)

    def load(self, config: ToyConfig, folder: Path, *, dtype: torch.dtype | None = None) -> nn.Module:
        """Return the decoder saved in `folder`."""
        with torch.device("meta"):
            module = self.module(config)
        load_weights(module, folder, dtype=dtype)
        return module

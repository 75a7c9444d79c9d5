"""Toy decoders with one fault each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tilbench.testing.toy_decoder import ToyArchitecture, ToyCache, ToyConfig, ToyDecoder

__all__ = ["ARCHITECTURES"]


class TransposedMask(ToyDecoder):
    """Linear biases whose mask is transposed: the future is seen, and training looks better than normal."""

    def bias(self, queries: Tensor, keys: Tensor, allowed: Tensor) -> Tensor:
        """Return the bias of key and query in each other's place."""
        bias = super().bias(queries, keys, allowed)
        return bias.transpose(-1, -2) if bias.shape[-1] == bias.shape[-2] else bias


class SoftMask(ToyDecoder):
    """Linear biases without a mask: the future is only farther away."""

    def bias(self, queries: Tensor, keys: Tensor, allowed: Tensor) -> Tensor:
        """Return the distances alone."""
        return super().bias(queries, keys, torch.ones_like(allowed))


class Leak(ToyDecoder):
    """A hundredth of the next token's embedding is mixed into each."""

    def embed(self, ids: Tensor) -> Tensor:
        """Return embeddings that look one token ahead."""
        x = super().embed(ids)
        return x + 0.01 * torch.cat((x[:, 1:], torch.zeros_like(x[:, :1])), 1)


class DeadParameter(ToyDecoder):
    """A weight that nothing uses. The formula counts it."""

    def __init__(self, config: ToyConfig) -> None:
        super().__init__(config)
        self.unused = nn.Parameter(torch.zeros(7))


class CacheOffByOne(ToyDecoder):
    """The first token after a cache is put one position too far."""

    def start(self, cache: Any | None) -> int:
        """Return one too many where something is cached."""
        return super().start(cache) + (cache is not None and cache.length > 0)


class ForgetfulCache(ToyCache):
    """Keeps the first rows, whichever are asked for."""

    def select(self, rows: Tensor) -> None:
        """Keep as many rows."""
        super().select(torch.arange(len(rows)))


class ShuffledCache(ToyCache):
    """Gives the rows of joined caches to one another."""

    def join(self, others: Sequence[ToyCache]) -> None:
        """Join, then turn the rows round."""
        super().join(others)
        self.layers = {layer: (k.roll(1, 0), v.roll(1, 0)) for layer, (k, v) in self.layers.items()}


class SelectsWrongRows(ToyDecoder):
    """Its cache gives up rows that are to be kept."""

    def new_cache(self, batch: int, length: int) -> ToyCache:
        """Return a forgetful cache."""
        return ForgetfulCache()


class JoinsWrongRows(ToyDecoder):
    """Its caches mix up whose row is whose when they are joined."""

    def new_cache(self, batch: int, length: int) -> ToyCache:
        """Return a cache that shuffles."""
        return ShuffledCache()


class IgnoresMask(ToyDecoder):
    """Takes a mask and is causal all the same."""

    def bias(self, queries: Tensor, keys: Tensor, allowed: Tensor) -> Tensor:
        """Return the bias of a causal mask."""
        tokens, held = allowed.shape[-2], allowed.shape[-1] - allowed.shape[-2]
        causal = torch.ones(tokens, held + tokens, dtype=torch.bool).tril(held)
        return super().bias(queries, keys, causal)


class RowsMix(ToyDecoder):
    """The mean over the batch is taken off, so that what a row gives depends on its neighbours."""

    def embed(self, ids: Tensor) -> Tensor:
        """Return embeddings less a share of their mean over rows."""
        x = super().embed(ids)
        return x - 0.1 * x.mean(0, keepdim=True)


class LoudStart(ToyDecoder):
    """First weights so large that a fresh model is sure of itself."""

    def __init__(self, config: ToyConfig) -> None:
        super().__init__(config)
        nn.init.normal_(self.embedding.weight, std=2.0)


class FixedPrecision(ToyDecoder):
    """Computes in fp32 whatever its weights are."""

    def hidden(
        self, ids: Tensor, *, positions: Tensor | None = None, mask: Tensor | None = None, cache: Any | None = None
    ) -> Tensor:
        """Return fp32 states."""
        return super().hidden(ids, positions=positions, mask=mask, cache=cache).float()

    def project(self, hidden: Tensor) -> Tensor:
        """Return logits in the weights' dtype."""
        return super().project(hidden.to(self.embedding.weight.dtype))


class WrongFormula(ToyArchitecture):
    """Forgets the last norm."""

    def parameters(self, config: ToyConfig) -> int:
        """Return too few."""
        return super().parameters(config) - 2 * config.width


class RightByChance(ToyArchitecture):
    """A formula that holds at one size: it takes the layers for two, whatever the config says."""

    def parameters(self, config: ToyConfig) -> int:
        """Return the parameters of two layers."""
        return super().parameters(config.model_copy(update={"layers": 2}))


class KeepsPrefix(ToyArchitecture):
    """Loads names as they are."""

    def load(self, config: ToyConfig, folder: Path, *, dtype: torch.dtype | None = None) -> nn.Module:
        """Load strictly, without stripping anything."""
        from safetensors.torch import load_file

        from tilbench.errors import CheckpointError

        file = folder / "model.safetensors"
        if not file.is_file():
            raise CheckpointError(f"no weights at {file}")
        module = self.build(config)
        module.load_state_dict(load_file(file))
        return module.to(dtype) if dtype else module


class RoundsWeights(ToyArchitecture):
    """Saves in bfloat16."""

    def save(self, module: nn.Module, folder: Path) -> None:
        """Write rounded weights."""
        copy = self.module(ToyConfig())
        copy.load_state_dict({name.removeprefix("_orig_mod."): t for name, t in module.state_dict().items()})
        super().save(copy.to(torch.bfloat16).float(), folder)


def _architecture(built: type[ToyDecoder], extra: int = 0) -> ToyArchitecture:
    class Made(ToyArchitecture):
        module = built

        def parameters(self, config: ToyConfig) -> int:
            return super().parameters(config) + extra

    return Made()


_SEES_AHEAD = {"causal_by_perturbation", "causal_by_gradient"}
_PACKED = {"packed_documents_equal_separate", "prefix_trees_equal_separate", "prefix_trees_on_a_cached_trunk"}

ARCHITECTURES: Mapping[str, tuple[object, set[str]]] = {
    "transposed mask": (_architecture(TransposedMask), _SEES_AHEAD),
    "soft mask": (_architecture(SoftMask), _SEES_AHEAD),
    "leak": (_architecture(Leak), _SEES_AHEAD),
    "dead parameter": (_architecture(DeadParameter, 7), {"gradient_in_every_parameter"}),
    "cache off by one": (_architecture(CacheOffByOne), {"cached_token_by_token", "cached_in_chunks"}),
    "selects wrong rows": (_architecture(SelectsWrongRows), {"cache_select"}),
    "joins wrong rows": (_architecture(JoinsWrongRows), {"cache_join"}),
    "ignores its mask": (_architecture(IgnoresMask), _PACKED),
    "rows mix": (_architecture(RowsMix), {"accumulation_equals_large_batch", "cache_select", "cache_join"}),
    "loud start": (_architecture(LoudStart), {"initial_loss"}),
    "fixed precision": (_architecture(FixedPrecision), {"dtype_moves"}),
    "wrong formula": (WrongFormula(), {"parameter_count"}),
    "formula right by chance": (RightByChance(), {"parameter_count"}),
    "keeps the prefix": (KeepsPrefix(), {"wrapper_prefix_is_stripped"}),
    "rounds its weights": (RoundsWeights(), {"save_and_load"}),
}
"""What is wrong → a broken architecture, and the checks that must fail."""

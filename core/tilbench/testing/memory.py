"""Architecture checks of what a token may see: caches, packed documents, prefix trees."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from tilbench.kinds.architecture import Architecture, DecoderConfig
from tilbench.testing.base import Conformance, declining, require
from tilbench.testing.modules import example_config, lively, require_equal, token_ids

__all__ = ["MemoryChecks"]


class MemoryChecks(Conformance):
    """The base of `ArchitectureConformance`: its attributes, and the ways to compute one sequence in parts.

    An architecture that cannot take masks, positions or caches says so by raising Unsupported.
    """

    settable: ClassVar[tuple[str, ...]] = ("config", "tolerance")
    subject: Architecture
    config: DecoderConfig | Mapping[str, object] | None = None
    tolerance: float = 1e-5

    def ready(self) -> None:
        """Raise ConfigError where there is no tiny config."""
        self.sizes()

    def sizes(self) -> DecoderConfig:
        """Return the validated tiny config."""
        return example_config(self.subject, self.config)

    def fresh(self) -> nn.Module:
        """Return a fresh module in fp32 on the CPU, the same at every call."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return self.subject.build(self.sizes())

    def decoder(self) -> Any:
        """Return a module in eval mode whose weights make every part of it matter."""
        return lively(self.fresh())

    def test_cached_token_by_token(self) -> None:
        """Decoding with a cache, one token at a time, gives the states of one pass over all."""
        self._cached([1] * 24)

    def test_cached_in_chunks(self) -> None:
        """Decoding with a cache, several tokens at a time, gives the states of one pass over all."""
        self._cached([5, 1, 3, 2, 24])

    def _cached(self, sizes: list[int]) -> None:
        module, ids = self.decoder(), token_ids(self.sizes(), length=12)
        with torch.no_grad(), declining():
            wanted = module.hidden(ids)
            cache, done = module.new_cache(len(ids), ids.shape[1]), 0
            for size in sizes:
                part = ids[:, done : done + size]
                if not part.numel():
                    break
                states = module.hidden(part, cache=cache)
                length = part.shape[1]
                what = f"cached and full states of tokens {done} to {done + length - 1}"
                require_equal(states, wanted[:, done : done + length], self.tolerance, what)
                done += length
                require(cache.length == done, f"the cache says it holds {cache.length} tokens after {done}")

    def test_packed_documents_equal_separate(self) -> None:
        """Documents in one row, with a block mask and restarted positions, have the states they have alone."""
        module, ids = self.decoder(), token_ids(self.sizes())
        length = ids.shape[1]
        parts = [length // 3, length // 4, length - length // 3 - length // 4]
        owner = torch.arange(len(parts)).repeat_interleave(torch.tensor(parts))
        mask = (owner[:, None] == owner[None, :]).tril()
        positions = torch.cat([torch.arange(part) for part in parts])
        with torch.no_grad(), declining():
            packed = module.hidden(ids, positions=positions, mask=mask)
            start = 0
            for part in parts:
                alone = module.hidden(ids[:, start : start + part])
                what = f"the document at {start} packed and alone"
                require_equal(packed[:, start : start + part], alone, self.tolerance, what)
                start += part
            batched = mask.expand(len(ids), 1, length, length)
            again = module.hidden(ids, positions=positions.expand(len(ids), length), mask=batched)
            require_equal(again, packed, self.tolerance, "masks [B, 1, T, S] and [T, S]")

    def test_prefix_trees_equal_separate(self) -> None:
        """Branches after a shared trunk, in one row with an ancestor mask, have the states they have alone."""
        module, ids = self.decoder(), token_ids(self.sizes())
        parents = _tree(ids.shape[1])
        mask, positions = _ancestors(parents)
        with torch.no_grad(), declining():
            packed = module.hidden(ids, positions=positions, mask=mask)
            for leaf in sorted(set(range(len(parents))) - set(parents)):
                path = mask[leaf].nonzero()[:, 0]
                alone = module.hidden(ids[:, path])
                require_equal(packed[:, path], alone, self.tolerance, f"the branch to {leaf} in a tree and alone")

    def test_prefix_trees_on_a_cached_trunk(self) -> None:
        """The same where the trunk is in a cache and the branches follow in one pass."""
        module, ids = self.decoder(), token_ids(self.sizes())
        parents = _tree(ids.shape[1])
        trunk = len(parents) // 3
        mask, positions = _ancestors(parents)
        with torch.no_grad(), declining():
            cache = module.new_cache(len(ids), len(parents))
            module.hidden(ids[:, :trunk], cache=cache)
            branches = module.hidden(ids[:, trunk:], positions=positions[trunk:], mask=mask[trunk:], cache=cache)
            for leaf in sorted(set(range(len(parents))) - set(parents)):
                path = mask[leaf].nonzero()[:, 0]
                alone = module.hidden(ids[:, path])[:, trunk:]
                what = f"the branch to {leaf} after a cached trunk and alone"
                require_equal(branches[:, path[trunk:] - trunk], alone, self.tolerance, what)

    def test_cache_keep(self) -> None:
        """Once the slots of one branch are forgotten, another goes on from the trunk as it would have alone."""
        module, ids = self.decoder(), token_ids(self.sizes())
        trunk, branch = ids.shape[1] // 2, ids.shape[1] // 4
        left, right = ids[:, : trunk + branch], torch.cat([ids[:, :trunk], ids[:, trunk + branch :]], dim=1)
        kept = torch.arange(trunk)
        with torch.no_grad(), declining():
            wanted = module.hidden(right)[:, trunk:]
            cache = module.new_cache(len(ids), ids.shape[1])
            module.hidden(left, cache=cache)
            cache.keep(kept)
            require(cache.length == trunk, f"after keeping {trunk} slots, a cache holds {cache.length}")
            found = module.hidden(right[:, trunk:], cache=cache)
            require_equal(found, wanted, self.tolerance, "a second branch from a trunk that was kept and alone")

    def test_cache_select(self) -> None:
        """Rows that are kept in a cache, in another order or twice, go on as they would have."""
        module, ids = self.decoder(), token_ids(self.sizes(), rows=3)
        half, rows = ids.shape[1] // 2, torch.tensor([2, 0, 2])
        with torch.no_grad(), declining():
            whole, chosen = (module.new_cache(len(ids), ids.shape[1]) for _ in range(2))
            for cache in (whole, chosen):
                module.hidden(ids[:, :half], cache=cache)
            wanted = module.hidden(ids[:, half:], cache=whole)[rows]
            chosen.select(rows)
            found = module.hidden(ids[rows, half:], cache=chosen)
            require_equal(found, wanted, self.tolerance, "states after a choice of rows and without it")

    def test_cache_join(self) -> None:
        """Caches of different lengths that are joined go on, with positions and a mask, as they would have alone."""
        module, ids = self.decoder(), token_ids(self.sizes(), rows=3)
        total = ids.shape[1]
        lengths, width = torch.tensor([total // 2, total // 3, total // 3]), total // 2
        with torch.no_grad(), declining():
            wanted = module.hidden(ids)
            cache, other = module.new_cache(1, total), module.new_cache(2, total // 3)
            module.hidden(ids[:1, :width], cache=cache)
            module.hidden(ids[1:, : total // 3], cache=other)
            cache.join([other])
            require(cache.length == width, f"joined of {width} and {total // 3}, a cache holds {cache.length}")
            for step in range(total - width):
                place = (lengths + step)[:, None]  # [3, 1]
                slots = torch.arange(width + step + 1)
                mask = ((slots < lengths[:, None]) | (slots >= width))[:, None, None]  # [3, 1, 1, S]
                states = module.hidden(ids.gather(1, place), positions=place, mask=mask, cache=cache)[:, 0]
                what = f"states {step + 1} after joined caches and alone"
                require_equal(states, wanted[torch.arange(3), place[:, 0]], self.tolerance, what)


def _tree(length: int) -> list[int]:
    """Return the parent of each token: a trunk of a third, two branches on it, the second forking in two."""
    trunk, half = length // 3, length // 3 + (length - length // 3) // 2
    parents = [place - 1 for place in range(length)]
    parents[half] = trunk - 1
    fork = half + (length - half) // 2
    if half < fork < length - 1:
        parents[-1] = fork - 1
    return parents


def _ancestors(parents: list[int]) -> tuple[Tensor, Tensor]:
    """Return the mask [T, T] by which a token sees its ancestors and itself, and depths as positions [T]."""
    mask = torch.zeros(len(parents), len(parents), dtype=torch.bool)
    for place, parent in enumerate(parents):
        if parent >= 0:
            mask[place] |= mask[parent]
        mask[place, place] = True
    return mask, mask.sum(1) - 1

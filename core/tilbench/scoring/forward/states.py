"""Final states of the tokens of a trie, each computed once, in pieces that fit into memory.

Two ways give the same numbers. `tree_states` walks the trie depth first in chunks of one row: a mask lets each token
see its ancestors, and a cache keeps the path to the next chunk, so a few-shot prefix is computed once for all the
questions after it. `row_states` gives each leaf a row of its own, for decoders that take no mask and for texts that
share nothing.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from tilbench.errors import TilbenchError
from tilbench.kinds.architecture import Decoder
from tilbench.kinds.capabilities.decoder import DependsOnLength
from tilbench.scoring.forward.trie import Ids, Trie

__all__ = ["Budget", "alone_above", "must_be_alone", "row_states", "tree_states"]

_TREE_TOKENS = {"cpu": 384}
_TREE_TOKENS_ELSEWHERE = 2048
"""Tokens of a chunk attend to each other whether they are related or not, so chunks are no longer than keeps the
processor busy. Measured on CPU cores with 20M parameters: 256 to 512 are within 5%, 128 and 1024 are 10% slower."""


def alone_above(decoder: Decoder) -> int | None:
    """Return the length of the longest text that may be computed beside others; None where every text may."""
    return decoder.alone_above if isinstance(decoder, DependsOnLength) else None


def must_be_alone(decoder: Decoder, tokens: int) -> bool:
    """Say whether a text of this length must be computed alone, since its states depend on those beside it; warn so."""
    longest = alone_above(decoder)
    if longest is None or tokens <= longest:
        return False
    warnings.warn(
        f"above {longest:,} tokens, this model's numbers depend on the longest text of a forward pass; each longer "
        "text is computed alone",
        stacklevel=3,
    )
    return True


@dataclass(slots=True)
class Budget:
    """Tokens per forward pass; halved when memory runs out."""

    tokens: int

    def halve(self, used: int, name: str) -> None:
        """Go on with half of the tokens just `used`. Raises TilbenchError where they were a single one."""
        if used <= 1:
            raise TilbenchError(f"{name}: one token does not fit into memory; use a machine with more")
        self.tokens = used // 2
        warnings.warn(f"out of memory: going on with {self.tokens} tokens a batch", stacklevel=2)


def tree_states(
    decoder: Decoder, trie: Trie, wanted: Ids, budget: Budget, device: torch.device, name: str
) -> Iterator[tuple[Ids, Tensor]]:
    """Yield `(places, states [len(places), D])` until every place in `wanted` (ascending) was given.

    Raises Unsupported where the decoder takes no mask, or cannot be given one as long as this trie needs.
    """
    longest = _TREE_TOKENS.get(device.type, _TREE_TOKENS_ELSEWHERE)
    cache = decoder.new_cache(1, int(trie.depth.max(initial=0)) + min(longest, len(trie)) + 1)
    held = np.empty(0, np.int64)  # the place in the trie of each slot of the cache
    start = 0
    while start < len(trie):
        stop = _cut(trie, start, min(longest, budget.tokens))
        path = np.nonzero(trie.end[held] > start)[0]
        if len(path) < len(held):
            cache.keep(torch.from_numpy(path).to(device))
            held = held[path]
        try:
            states = _chunk(decoder, trie, held, start, stop, cache, device)
        except torch.OutOfMemoryError:
            cache.keep(torch.arange(len(held), device=device))  # layers that were done have new slots
            budget.halve(stop - start, name)
            continue
        places = wanted[slice(*np.searchsorted(wanted, [start, stop]))]
        if len(places):
            yield places, states[torch.from_numpy(places - start).to(device)]
        held = np.concatenate([held, np.arange(start, stop)])
        start = stop


def _cut(trie: Trie, start: int, tokens: int) -> int:
    """Return where a chunk from `start` of at most `tokens` ends: near its end, where the path is shortest."""
    stop = min(start + tokens, len(trie))
    if stop == len(trie):
        return stop
    first = start + 1 + 3 * tokens // 4
    return first + int(np.argmin(trie.depth[first : stop + 1])) if first < stop else stop


def _chunk(
    decoder: Decoder, trie: Trie, held: Ids, start: int, stop: int, cache: object, device: torch.device
) -> Tensor:
    """Return the states [stop - start, D] of one chunk, after the `held` places of the cache."""
    ids = torch.from_numpy(trie.ids[None, start:stop]).to(device)
    queries = np.arange(start, stop)
    keys = np.concatenate([held, queries])
    if (trie.end[keys] >= stop).all():  # one path without branches: the decoder's own causal order
        return decoder.hidden(ids, cache=cache)[0]
    mask = torch.from_numpy((keys <= queries[:, None]) & (queries[:, None] < trie.end[keys]))
    positions = torch.from_numpy(trie.depth[None, start:stop])
    return decoder.hidden(ids, positions=positions.to(device), mask=mask.to(device), cache=cache)[0]


def row_states(
    decoder: Decoder, trie: Trie, wanted: Ids, budget: Budget, device: torch.device, name: str
) -> Iterator[tuple[Ids, Tensor]]:
    """Yield `(places, states [len(places), D])` until every place in `wanted` (ascending) was given.

    Rows are padded on the right, which changes nothing to the left of it in a causal decoder. Longest first.
    """
    leaves = trie.leaves()
    asked = np.zeros(len(trie), bool)
    asked[wanted] = True
    start = 0
    while start < len(leaves):
        width = len(leaves[start])
        rows = leaves[start : start + max(1, budget.tokens // width)]
        ids = torch.zeros(len(rows), width, dtype=torch.long)
        for row, path in enumerate(rows):
            ids[row, : len(path)] = torch.from_numpy(trie.ids[path])
        try:
            hidden = decoder.hidden(ids.to(device))
        except torch.OutOfMemoryError:
            if len(rows) == 1:
                raise TilbenchError(f"{name}: one sequence of {width} tokens does not fit into memory") from None
            budget.halve(len(rows) * width, name)
            continue
        places: list[Ids] = []
        columns: list[Ids] = []
        for path in rows:
            columns.append(np.nonzero(asked[path])[0])
            places.append(path[columns[-1]])
            asked[places[-1]] = False  # what two rows share is given by the first
        row_of = np.repeat(np.arange(len(rows)), [len(each) for each in columns])
        picked = np.stack([row_of, np.concatenate(columns)])
        if picked.size:
            yield np.concatenate(places), hidden[tuple(torch.from_numpy(picked).to(device))]
        start += len(rows)

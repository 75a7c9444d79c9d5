"""Log-probabilities of tokens after the tokens before them, each distinct token computed once."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from tilbench.errors import Unsupported
from tilbench.kinds.architecture import Decoder
from tilbench.scoring.forward.chunked import target_ranks, token_logprobs
from tilbench.scoring.forward.states import Budget, must_be_alone, row_states, tree_states
from tilbench.scoring.forward.trie import Ids, Trie

__all__ = ["Scored", "Segment", "SegmentScorer"]

_WORTH_SHARING = 0.9
"""Share of the tokens that must be distinct for rows to be faster than a tree: a row needs no mask, which measured 15%
faster on a CPU for documents that share nothing."""

StatesOf = Callable[[Decoder, Trie, Ids, Budget, torch.device, str], Iterator[tuple[Ids, Tensor]]]


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of tokens to be predicted in one go.

    ids: the input, [T]. first: place of the state that predicts `targets[0]`; the next predicts the next. ranked: the
    rank of `targets[0]` is wanted too.
    """

    ids: Ids
    first: int
    targets: Ids
    ranked: bool = False

    @classmethod
    def of(cls, context: Ids, targets: Ids, *, ranked: bool = False) -> Segment:
        """Make a segment from a context, which is not empty, and the targets after it."""
        return cls(np.concatenate([context, targets[:-1]]), len(context) - 1, targets, ranked)


@dataclass(slots=True)
class Scored:
    """Of one segment: the sum of log-probabilities in nats, whether all are greedy, the rank of the first (or 0).

    tied: how many other tokens are as likely as the first.
    """

    logprob: float
    greedy: bool
    rank: int = 0
    tied: int = 0


@dataclass(frozen=True, slots=True)
class _Asked:
    """What is asked of states: `targets` [N] at `places` [N] of a trie, ascending, for the segments `owners` [N]."""

    places: Ids
    targets: Ids
    owners: Ids

    @classmethod
    def of(cls, asked: Sequence[tuple[Ids, Ids, int]]) -> _Asked:
        """Put together the `(places, targets, owner)` of many segments."""
        empty = np.empty(0, np.int64)
        places = np.concatenate([empty, *(places for places, _, _ in asked)])
        targets = np.concatenate([empty, *(targets for _, targets, _ in asked)])
        owners = np.repeat([owner for _, _, owner in asked], [len(places) for places, _, _ in asked])
        order = np.argsort(places, kind="stable")
        return cls(places[order], targets[order], owners.astype(np.int64)[order])

    def at(self, places: Ids) -> tuple[Ids, Ids]:
        """Return what is asked at `places`, as indices into this, and for each the index of its place."""
        low, high = np.searchsorted(self.places, places, "left"), np.searchsorted(self.places, places, "right")
        rows = np.repeat(np.arange(len(places)), high - low)
        within = np.arange(len(rows)) - np.repeat(np.cumsum(high - low) - (high - low), high - low)
        return low[rows] + within, rows


@dataclass(frozen=True, slots=True)
class SegmentScorer:
    """A decoder that scores segments. budget: how much it computes at a time; shrinks when memory runs out."""

    decoder: Decoder
    device: torch.device
    budget: Budget
    name: str

    def score(self, segments: Sequence[Segment]) -> list[Scored]:
        """Score segments; each distinct token is computed once where that is faster and the decoder takes a mask.

        Which segments are scored together changes the numbers by rounding only. Warns where nothing can be shared, and
        where a segment is computed alone, since its states would depend on those beside it.
        """
        alone = [must_be_alone(self.decoder, len(segment.ids)) for segment in segments]
        shared = iter(self._score([each for each, single in zip(segments, alone, strict=True) if not single]))
        return [
            self._score([segment])[0] if single else next(shared)
            for segment, single in zip(segments, alone, strict=True)
        ]

    def _score(self, segments: Sequence[Segment]) -> list[Scored]:
        """Score segments that may be computed together."""
        if not segments:
            return []
        trie = Trie.of([segment.ids for segment in segments])
        if len(trie) > _WORTH_SHARING * sum(map(len, trie.leaves())):
            return self.score_by(row_states, segments, trie)
        try:
            return self.score_by(tree_states, segments, trie)
        except Unsupported:
            message = f"{self.name} takes no mask over packed texts: what they share at the beginning is not shared"
            warnings.warn(message, stacklevel=2)
        return self.score_by(row_states, segments, trie)

    def score_by(self, states_of: StatesOf, segments: Sequence[Segment], trie: Trie) -> list[Scored]:
        """Score segments, whose inputs make up `trie`, from the states that `states_of` computes."""
        asks = [
            (path[each.first : each.first + len(each.targets)], each.targets, owner)
            for owner, (path, each) in enumerate(zip(trie.paths, segments, strict=True))
        ]
        tokens = _Asked.of(asks)
        firsts = _Asked.of([(path[:1], targets[:1], owner) for path, targets, owner in asks if segments[owner].ranked])
        scored = [Scored(0.0, True) for _ in segments]
        project = self.decoder.project
        for places, states in states_of(
            self.decoder, trie, np.unique(tokens.places), self.budget, self.device, self.name
        ):
            asked, rows = tokens.at(places)
            targets = self._tensor(tokens.targets[asked])
            logprobs, greedy = token_logprobs(project, states, targets, rows=self._tensor(rows))
            found = zip(tokens.owners[asked], logprobs.tolist(), greedy.tolist(), strict=True)
            for owner, logprob, best in found:
                scored[owner].logprob += logprob
                scored[owner].greedy &= best
            asked, rows = firsts.at(places)
            ranks, equals = target_ranks(project, states[self._tensor(rows)], self._tensor(firsts.targets[asked]))
            for owner, rank, tied in zip(firsts.owners[asked], ranks.tolist(), equals.tolist(), strict=True):
                scored[owner].rank, scored[owner].tied = rank, tied
        return scored

    def _tensor(self, array: Ids) -> Tensor:
        return torch.from_numpy(array).to(self.device)

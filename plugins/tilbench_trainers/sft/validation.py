"""The loss of answers that were held out, measured as they are learned: after everything said before them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch

from tilbench.kinds.architecture import Decoder
from tilbench.scoring.forward.chunked import cross_entropy
from tilbench_trainers.sft.examples import Example

__all__ = ["TOKENS", "ChatValidator"]

TOKENS = 32 * 1024
"""Tokens of each source that are read: its first examples."""


class ChatValidator:
    """Measures a module on held-out examples, one at a time, in the weights' own dtype."""

    def __init__(
        self,
        module: torch.nn.Module,
        device: torch.device,
        heldout: Mapping[str, Sequence[Example]],
        lost: Mapping[str, float],
    ) -> None:
        """Measure `module` on held-out examples. lost: by source, the share of answers that tokens do not reproduce."""
        self._lost = lost
        self._module, self._device = module, device
        self._heldout = {name: _first(examples) for name, examples in heldout.items()}

    def __bool__(self) -> bool:
        """Say whether any source has held-out examples."""
        return any(self._heldout.values())

    def measure(self) -> dict[str, dict[str, float]]:
        """Return by source `loss`, in nats per token of the answers, ends included; the module is left as it was.

        `lost` is there where the tokens do not reproduce all of the answers: the share of their bytes that is lost.
        """
        training = self._module.training
        self._module.eval()
        try:
            return {
                name: {"loss": self._loss(examples), **({"lost": self._lost[name]} if self._lost.get(name) else {})}
                for name, examples in self._heldout.items()
                if examples
            }
        finally:
            self._module.train(training)

    @torch.no_grad()
    def _loss(self, examples: Sequence[Example]) -> float:
        decoder: Any = cast("Decoder", self._module)
        nats = []
        for example in examples:
            ids, targets = (torch.from_numpy(each).to(self._device) for each in (example.inputs, example.targets))
            nats.append(float(cross_entropy(decoder.project, decoder.hidden(ids[None])[0], targets, reduction="sum")))
        return math.fsum(nats) / max(sum(int(example.learned[1:].sum()) for example in examples), 1)


def _first(examples: Sequence[Example]) -> list[Example]:
    kept, left = [], TOKENS
    for example in examples:
        if left <= 0:
            break
        kept.append(example)
        left -= len(example.ids)
    return kept

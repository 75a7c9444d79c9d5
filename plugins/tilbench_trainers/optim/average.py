"""The exponential moving average of the weights, which is what is validated and saved where a recipe asks for it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from tilbench_trainers.parallel import local_part

__all__ = ["Average"]


class Average:
    """average ← d · average + (1 - d) · weights after update t, with d = min(decay, (1 + t) / (10 + t)).

    The average begins with the weights before the first update, and with the decay alone it would stay near them: after
    60 updates, a decay of 0.999 leaves 94% of it random weights. So the decay is warmed up as in TensorFlow
    (`tf.train.ExponentialMovingAverage`, num_updates). A decay of 0 keeps no average.
    """

    def __init__(self, parameters: Sequence[nn.Parameter], decay: float) -> None:
        self._decay = decay
        self._parameters = [local_part(each.detach()) for each in parameters]
        """On the parameters' memory; of parameters in shards, this process's."""
        self._values = [each.clone() for each in self._parameters] if decay else []

    def __bool__(self) -> bool:
        """Say whether an average is kept."""
        return bool(self._decay)

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights as they are after update `step`, counted from 1."""
        if self:
            decay = min(self._decay, (1 + step) / (10 + step))
            torch._foreach_lerp_(self._values, self._parameters, 1 - decay)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """While entered, the module has the averaged weights."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def weights(self) -> list[Tensor]:
        """Return the module's own weights, in the order of the parameters; call it while `in_place` is entered.

        Of parameters in shards, this process's.
        """
        return self._values

    def restore(self, weights: Sequence[Tensor]) -> None:
        """Take the module's weights as the average, and give the module `weights`, in the form of `weights()`."""
        for value, parameter, weight in zip(self._values, self._parameters, weights, strict=True):
            value.copy_(parameter)
            parameter.copy_(weight)

    @torch.no_grad()
    def _swap(self) -> None:
        for value, parameter in zip(self._values, self._parameters, strict=bool(self)):
            held = parameter.clone()
            parameter.copy_(value)
            value.copy_(held)

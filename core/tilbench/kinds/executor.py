"""An executor runs each model's share of a plan somewhere: in this process, under torchrun, on Ray."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, TypeVar, runtime_checkable

__all__ = ["Executor"]

Share = TypeVar("Share")
Result = TypeVar("Result")


@runtime_checkable
class Executor(Protocol):
    """Maps work over shares, yielding results as they are done."""

    def map(self, work: Callable[[Share], Result], shares: Sequence[Share]) -> Iterator[Result]:
        """Yield `work(share)` for each share, in any order."""

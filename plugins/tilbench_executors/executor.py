"""Runs shares one after another in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

__all__ = ["LocalExecutor"]

Share = TypeVar("Share")
Result = TypeVar("Result")


class LocalExecutor:
    """Maps work over shares in order."""

    def map(self, work: Callable[[Share], Result], shares: Sequence[Share]) -> Iterator[Result]:
        """Yield `work(share)` for each share, in order."""
        for share in shares:
            yield work(share)

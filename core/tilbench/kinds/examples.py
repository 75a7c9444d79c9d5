"""Few-shot examples: which solved rows of a pool stand before a row, the same for nearly all of them."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Generic, TypeVar

from tilbench.data.rows import Row
from tilbench.errors import DataError
from tilbench.text.sameness import asked

__all__ = ["ExamplePool"]

R = TypeVar("R", bound=Row)


class ExamplePool(Generic[R]):
    """Solved rows in the one order that a seed gives them, whatever order they came in.

    A row is shown the first that may be shown with it, so nearly all rows share the beginning of their prompt, and a
    model reads it once. Never shown are the row itself, under whatever id, spelling or order of options, and rows on
    the same passage (`tilbench.text.sameness`).
    """

    def __init__(self, rows: Sequence[R], seed: int | str) -> None:
        ordered = sorted(rows, key=lambda row: row.id)
        random.Random(seed).shuffle(ordered)
        self._examples = [(row, asked(row)) for row in ordered]

    def pick(self, row: R, shots: int, *, prefer: Callable[[R], bool] | None = None) -> list[R]:
        """Return `shots` examples for `row`; only preferred ones where there are enough of them.

        Raises DataError where the pool has too few that may be shown.
        """
        if not shots:
            return []
        if prefer and len(preferred := list(islice(self._allowed(row, prefer), shots))) == shots:
            return preferred
        if len(picked := list(islice(self._allowed(row), shots))) < shots:
            raise DataError(
                f"row {row.id!r} wants {shots} solved examples and {len(picked)} of {len(self._examples)} can be shown "
                "with it; lower 'shots' or name a larger dataset in 'examples'"
            )
        return picked

    def _allowed(self, row: R, wanted: Callable[[R], bool] = lambda _: True) -> Iterator[R]:
        own = asked(row)
        return (each for each, theirs in self._examples if wanted(each) and not theirs.gives_away(own))

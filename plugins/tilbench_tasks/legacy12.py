"""The question protocol of an old fork of lm-evaluation-harness, faults and all, so that its scores can be had again.

Scores of Kazakh models were published under it. It is wrong in ways that a score does not show; each is marked where
it is made. Only the numbers of a table that used it should be compared with what comes out here.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tilbench.errors import DataError

__all__ = ["Legacy12"]

_LABELS = {"A": 0, "B": 1, "C": 2, "D": 3, "А": 0, "Б": 1, "С": 2, "Д": 3}
"""Latin letters, then the Cyrillic ones that some rows have in their place."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Legacy12:
    """Makes the fork's questions of 12 options out of all rows of a split, in their order.

    question, options, answer: columns of the source. seed: of the shuffles; the fork had none, so its own order of
    options is lost, and its scores come back only up to that.

    Where descriptions of the fork say nothing, this is what is done: the row before the first is the last, and the row
    after the last the first; neighbours are those of the split as published, before rows are dropped; an option that is
    null or empty is the text `None`, as a template prints a null; an answer counts only where it is exactly one of the
    letters; each row is shuffled on its own, by the seed and its id.

    Raises DataError for rows without these columns.
    """

    question: str
    options: tuple[str, ...]
    answer: str
    seed: int = 0

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
        """Return rows with id, question, choices and answer."""
        # Fault: options E to H are never read.
        offered = [[str(self._column(row, option) or None) for option in self.options] for row in rows]
        prepared: list[Mapping[str, Any]] = []
        for number, row in enumerate(rows):
            label = _LABELS.get(str(self._column(row, self.answer)))
            # Fault: the label of A is 0, which is false, so every question whose answer is A is dropped. Here too go,
            # without a word, those whose answer is E to H or no letter.
            if not label:
                continue
            # Fault: the options of the neighbours are added as wrong ones, so that chance is 1/12 and most options
            # have nothing to do with the question.
            before, after = offered[number - 1], offered[(number + 1) % len(rows)]
            choices = [*offered[number], *before, *after]
            random.Random(f"legacy12 {self.seed}\x00{row['id']}").shuffle(choices)
            prepared.append(
                {
                    "id": row["id"],
                    "question": self._column(row, self.question),
                    "choices": choices,
                    # Fault: the right option is found by its text, so where a neighbour has the same text, the first
                    # of them is right and the others are wrong.
                    "answer": choices.index(offered[number][label]),
                }
            )
        return prepared

    def _column(self, row: Mapping[str, Any], column: str) -> Any:
        if column not in row:
            raise DataError(f"row {row.get('id')!r} has no column {column!r}; has {', '.join(row)}")
        return row[column]

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

_LABELS = {
    label: place
    for place, letters in enumerate(("AА", "BБ", "CС", "DД"))
    for label in (*letters, f"answer{letters[0]}")
}
"""Latin letters, the Cyrillic ones that some rows have in their place, and `answerA` to `answerD`."""
_FEWEST = 3
"""Rows that a split must have: the first and the last take the options of two others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Legacy12:
    """Makes the fork's questions of 12 options out of all rows of a split, in their order.

    question, options, answer: columns of the source. seed: of the shuffles; the fork had none, so its own order of
    options is lost, and its scores come back only up to that.

    The rules are those of `process_docs` in the fork's `lm_eval/tasks/kazakh_and_literature_unt_mc/utils.py` at commit
    a00f2f2. Neighbours are those of the split as published, before rows are dropped. An option that is null or empty is
    the text `None`, as a template prints a null. Each row is shuffled on its own, by the seed and its id.

    Raises DataError for rows without these columns, and for fewer than three rows, on which the fork fails.
    """

    question: str
    options: tuple[str, ...]
    answer: str
    seed: int = 0

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
        """Return rows with id, question, choices and answer."""
        if len(rows) < _FEWEST:
            raise DataError(f"the old protocol needs {_FEWEST} rows, whose options it mixes; there are {len(rows)}")
        # Fault: options E to H are never read.
        offered = [[self._column(row, option) for option in self.options] for row in rows]
        prepared: list[Mapping[str, Any]] = []
        for number, row in enumerate(rows):
            label = self._label(row)
            # Fault: the label of A is 0, which is false, so every question whose answer is A is dropped. Here too go,
            # without a word, those whose answer is none of the four.
            if not label:
                continue
            # Fault: the options of two other rows are added as wrong ones, so that chance is 1/12 and most options
            # have nothing to do with the question.
            choices = [option for near in (number, *_neighbours(number, len(rows))) for option in offered[near]]
            random.Random(f"legacy12 {self.seed}\x00{row['id']}").shuffle(choices)
            prepared.append(
                {
                    "id": row["id"],
                    "question": self._column(row, self.question),
                    "choices": [str(choice or None) for choice in choices],
                    # Fault: the right option is found by its text, so where another row has the same text, the first
                    # of them is right and the others are wrong.
                    "answer": choices.index(offered[number][label]),
                }
            )
        return prepared

    def _label(self, row: Mapping[str, Any]) -> int | None:
        """Return the place of the right option: by its letter, else by its text.

        Fault: a text is looked for in every column but the first and the last, and the last column that holds it
        counts, by its place. So where the key itself stands among these columns, no text is ever found, and a text
        that is no letter is an answer only where the key is the last column.
        """
        key = self._column(row, self.answer)
        if isinstance(key, str) and key in _LABELS:
            return _LABELS[key]
        columns = [
            name for name in row if name != "id"
        ]  # the published sets have none; rows are given theirs on reading
        places = [place for place, name in enumerate(columns[1:-1]) if row[name] == key]
        return places[-1] if places and places[-1] < len(self.options) else None

    def _column(self, row: Mapping[str, Any], column: str) -> Any:
        if column not in row:
            raise DataError(f"row {row.get('id')!r} has no column {column!r}; has {', '.join(row)}")
        return row[column]


def _neighbours(number: int, rows: int) -> tuple[int, int]:
    """Return the rows whose options are added: the one before and the one after; at an end, the nearest two."""
    if number == 0:
        return 1, 2
    if number == rows - 1:
        return number - 1, number - 2
    return number - 1, number + 1

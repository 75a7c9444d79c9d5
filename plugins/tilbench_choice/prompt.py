"""The prompts of multiple-choice questions: one template, in the cue words of the task's language.

A *block* is one question as a model sees it, from its passage (where it has one) to the answer cue. A prompt
is the instruction (where the task has one), a solved block for each example, and the block of the question,
with a blank line between any two. It never ends in white space: the space belongs to the continuation,
which is what is scored.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from tilbench.data.rows import Question
from tilbench.errors import DataError
from tilbench.kinds.language import Cues

__all__ = ["Form", "Prompts", "pick_examples"]

Form = Literal["letter", "cloze"]


@dataclass(frozen=True, slots=True)
class Prompts:
    """Writes prompts of one form.

    >>> cues = Cues(passage="Мәтін", question="Сұрақ", options="Нұсқалар", answer="Жауап")
    >>> row = Question("q", "Қазақстанның астанасы?", ("Алматы", "Астана"), 1)
    >>> print(Prompts("letter", cues).block(row), *Prompts("letter", cues).continuations(row), sep="|")
    Сұрақ: Қазақстанның астанасы?
    A) Алматы
    B) Астана
    Жауап:| A| B
    >>> print(Prompts("cloze", cues).block(row), *Prompts("cloze", cues).continuations(row), sep="|")
    Сұрақ: Қазақстанның астанасы?
    Жауап:| Алматы| Астана

    A passage is a line of its own before the question: `Мәтін: …`.
    """

    form: Form
    cues: Cues
    instruction: str = ""

    def block(self, row: Question) -> str:
        """Return the unsolved block of a question."""
        lines = [f"{self.cues.passage}: {row.passage.strip()}"] if row.passage.strip() else []
        lines.append(f"{self.cues.question}: {row.question.strip()}")
        if self.form == "letter":
            letters = self._letters(row)
            lines += [f"{letter}) {choice.strip()}" for letter, choice in zip(letters, row.choices, strict=True)]
        return "\n".join([*lines, f"{self.cues.answer}:"])

    def continuations(self, row: Question) -> list[str]:
        """Return what may follow the block, one for each choice, with its leading space."""
        texts = self._letters(row) if self.form == "letter" else [choice.strip() for choice in row.choices]
        return [f" {text}" for text in texts]

    def context(self, row: Question, examples: Sequence[Question] = ()) -> str:
        """Return everything before the continuation: instruction, solved examples, the question's block."""
        solved = [self.block(example) + self.continuations(example)[example.answer] for example in examples]
        return "\n\n".join([*filter(None, [self.instruction.strip()]), *solved, self.block(row)])

    def _letters(self, row: Question) -> Sequence[str]:
        if len(row.choices) > len(self.cues.letters):
            raise DataError(
                f"question {row.id!r} has {len(row.choices)} choices and the task's cues have "
                f"{len(self.cues.letters)} option letters; set 'cues: letters:' or use 'form: cloze'"
            )
        return self.cues.letters[: len(row.choices)]


def pick_examples(row: Question, pool: Sequence[Question], shots: int, seed: int) -> list[Question]:
    """Return the solved examples shown before `row`: a function of the seed, the row's id and the pool.

    pool: sorted by id. Left out are the row itself, under whatever id, and questions about its passage.
    """
    if not shots:
        return []
    allowed = [
        example
        for example in pool
        if example.cluster != row.cluster
        and example.id != row.id
        and not (row.passage and example.passage == row.passage)
        and (example.question, example.choices) != (row.question, row.choices)
    ]
    if len(allowed) < shots:
        raise DataError(
            f"question {row.id!r} wants {shots} solved examples and {len(allowed)} of {len(pool)} can be "
            "shown with it; lower 'shots' or name a larger dataset in 'examples'"
        )
    return random.Random(f"{seed}\x00{row.id}").sample(allowed, shots)

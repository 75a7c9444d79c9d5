"""The prompts of multiple-choice questions: one template, in the cue words of the task's language.

A *block* is one question as a model sees it, from its passage (where it has one) to the answer cue. A prompt
is the instruction (where the task has one), a solved block for each example, and the block of the question,
with a blank line between any two. It never ends in white space: the space belongs to the continuation,
which is what is scored. A cue that is empty is not printed, and neither is its colon.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from tilbench.data.rows import Question
from tilbench.errors import DataError
from tilbench.kinds.language import Cues

__all__ = ["Form", "OptionMark", "Prompts", "ordered_pool", "pick_examples"]

Form = Literal["letter", "cloze"]
OptionMark = Literal[")", ".", ":"]


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

    A passage is a line of its own before the question: `Мәтін: …`. Without cues, question and choice make one text:

    >>> row = Question("q", "Жаңбыр жауды, сондықтан", ("жер құрғады.", "жер су болды."), 1)
    >>> bare = Cues(passage="", question="", options="", answer="")
    >>> print(Prompts("cloze", bare).block(row), *Prompts("cloze", bare).continuations(row), sep="|")
    Жаңбыр жауды, сондықтан| жер құрғады.| жер су болды.
    """

    form: Form
    cues: Cues
    instruction: str = ""
    option_mark: OptionMark = ")"

    def block(self, row: Question) -> str:
        """Return the unsolved block of a question."""
        lines = [_cued(self.cues.passage, row.passage.strip())] if row.passage.strip() else []
        lines.append(_cued(self.cues.question, row.question.strip()))
        if self.form == "letter":
            options = zip(self._letters(row), row.choices, strict=True)
            lines += [f"{letter}{self.option_mark} {choice.strip()}" for letter, choice in options]
        if self.cues.answer:
            lines.append(f"{self.cues.answer}:")
        return "\n".join(lines)

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


def _cued(cue: str, text: str) -> str:
    return f"{cue}: {text}" if cue else text


def ordered_pool(pool: Sequence[Question], seed: int) -> list[Question]:
    """Return the pool in the one order that `seed` gives it, whatever order it came in."""
    ordered = sorted(pool, key=lambda example: example.id)
    random.Random(f"tilbench examples {seed}").shuffle(ordered)
    return ordered


def pick_examples(row: Question, pool: Sequence[Question], shots: int, *, same_subject: bool = True) -> list[Question]:
    """Return the solved examples shown before `row`: the first `shots` of the pool that may be shown with it.

    So nearly all rows have the same ones, and a model reads them once. Left out are the row itself, under whatever
    id, and questions about its passage. same_subject: where the pool has enough of the row's subject, only these, as
    in MMLU (Hendrycks et al., 2021). Raises DataError where the pool has too few.
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
    own = [example for example in allowed if row.subject and example.subject == row.subject]
    return (own if same_subject and len(own) >= shots else allowed)[:shots]

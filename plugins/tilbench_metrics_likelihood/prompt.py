"""The prompts of multiple-choice questions: one template, in the cue words of the task's language.

A *block* is one question as a model sees it, from its passage (where it has one) to the answer cue. A prompt
is the instruction (where the task has one), a solved block for each example, and the block of the question,
with a blank line between any two. It never ends in white space: the space belongs to the continuation,
which is what is scored. A cue that is empty is not printed, and neither is its colon.

Three forms, as lighteval names them: *letter* (MCF) lists the options and scores their letters, *hybrid* lists them
and scores their texts, *cloze* (CF) scores the texts and lists nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from tilbench.data.rows import Question
from tilbench.errors import DataError
from tilbench.kinds.language import Cues
from tilbench.kinds.prompt import Prompt

__all__ = ["Form", "OptionMark", "Prompts", "TEMPLATE_FIELDS"]

Form = Literal["letter", "hybrid", "cloze"]
OptionMark = Literal[")", ".", ":"]
TEMPLATE_FIELDS = ("passage", "question", "options")
"""What a template of a block may name; `options` are the lines of the listed options."""


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
    >>> print(Prompts("hybrid", cues).block(row), *Prompts("hybrid", cues).continuations(row), sep="|")
    Сұрақ: Қазақстанның астанасы?
    A) Алматы
    B) Астана
    Жауап:| Алматы| Астана

    A passage is a line of its own before the question: `Мәтін: …`. Without cues, question and choice make one text:

    >>> row = Question("q", "Жаңбыр жауды, сондықтан", ("жер құрғады.", "жер су болды."), 1)
    >>> bare = Cues(passage="", question="", options="", answer="")
    >>> print(Prompts("cloze", bare).block(row), *Prompts("cloze", bare).continuations(row), sep="|")
    Жаңбыр жауды, сондықтан| жер құрғады.| жер су болды.

    template: the block, where a protocol has another layout; cues are not printed then. option_space: a space stands
    before each listed letter, as in lighteval, so that it is the same token there as after the answer cue.
    """

    form: Form
    cues: Cues
    instruction: str = ""
    option_mark: OptionMark = ")"
    template: str = ""
    option_space: bool = False

    def block(self, row: Question) -> str:
        """Return the unsolved block of a question."""
        if self.template:
            options = "\n".join(self._options(row)) if self.form != "cloze" else ""
            return self.template.format(passage=row.passage.strip(), question=row.question.strip(), options=options)
        lines = [_cued(self.cues.passage, row.passage.strip())] if row.passage.strip() else []
        lines.append(_cued(self.cues.question, row.question.strip()))
        if self.form != "cloze":
            lines += self._options(row)
        if self.cues.answer:
            lines.append(f"{self.cues.answer}:")
        return "\n".join(lines)

    def continuations(self, row: Question) -> list[str]:
        """Return what may follow the block, one for each choice, with its leading space."""
        texts = self._letters(row) if self.form == "letter" else [choice.strip() for choice in row.choices]
        return [f" {text}" for text in texts]

    def context(self, row: Question, examples: Sequence[Question] = ()) -> Prompt:
        """Return everything before the continuation: instruction, solved examples, the question's block."""
        solved = [self.block(example) + self.continuations(example)[example.answer] for example in examples]
        return Prompt.of(self.instruction, solved, self.block(row))

    def _options(self, row: Question) -> list[str]:
        space = " " if self.option_space else ""
        options = zip(self._letters(row), row.choices, strict=True)
        return [f"{space}{letter}{self.option_mark} {choice.strip()}" for letter, choice in options]

    def _letters(self, row: Question) -> Sequence[str]:
        if len(row.choices) > len(self.cues.letters):
            raise DataError(
                f"question {row.id!r} has {len(row.choices)} choices and the task's cues have "
                f"{len(self.cues.letters)} option letters; set 'cues: letters:' or use 'form: cloze'"
            )
        return self.cues.letters[: len(row.choices)]


def _cued(cue: str, text: str) -> str:
    return f"{cue}: {text}" if cue else text

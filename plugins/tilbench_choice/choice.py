"""Accuracy on multiple-choice questions, beside what a model that knows nothing would score."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import ClassVar

from pydantic import Field, field_validator

from tilbench.config.base import Schema
from tilbench.data.rows import Question, Row
from tilbench.errors import ConfigError, DataError
from tilbench.kinds.language import Cues
from tilbench.kinds.metric import ItemScore, TaskContext, Value
from tilbench.kinds.requests import Answer, Continuation, Request
from tilbench_choice.prompt import Form, OptionMark, Prompts, ordered_pool, pick_examples
from tilbench_choice.scores import NORMALISED, accuracy, centred, counted, likelihoods, normalised

__all__ = ["Choice", "ChoiceSettings", "CueOverrides"]


class CueOverrides(Schema):
    """Words that replace the language's own in this task's prompts. An empty one is not printed."""

    passage: str | None = None
    question: str | None = None
    answer: str | None = None
    letters: str | None = Field(default=None, min_length=2)
    """The option letters in order, such as `ABCD`."""

    @field_validator("passage", "question", "answer")
    @classmethod
    def _no_colon(cls, cue: str | None) -> str | None:
        if cue is not None and (cue != cue.strip() or cue.endswith(":")):
            raise ValueError(f"write the cue {cue!r} without its colon and without space around it")
        return cue

    @field_validator("letters")
    @classmethod
    def _letters_differ(cls, letters: str | None) -> str | None:
        if letters is not None and len(set(letters)) < len(letters):
            raise ValueError(f"a letter is twice in {letters!r}")
        return letters


class ChoiceSettings(Schema):
    """How questions are put; part of the task's fingerprint."""

    form: Form = "letter"
    """letter: options are listed and a letter answers. cloze: the text of an option answers."""
    instruction: str = ""
    """Text before the first question, in the task's language."""
    cues: CueOverrides = CueOverrides()
    option_mark: OptionMark = ")"
    """What stands between an option's letter and its text."""
    same_subject: bool = True
    """Examples of the question's own subject, where the pool has enough of them."""


class Choice:
    """Accuracy: the share of questions whose right choice is the one the model finds likeliest.

    In the *letter* form the continuation is a letter, and `acc` compares log-probabilities. In the *cloze*
    form it is the text of a choice, and log-probabilities are compared raw (`acc`) and divided by the length
    of that text without its leading space in Unicode characters (`acc_char`), in UTF-8 bytes (`acc_byte`), or
    by the model's own tokens of the continuation (`acc_token`, absent where the model has none). `acc`,
    `acc_char` and `acc_byte` are lm-evaluation-harness's acc, acc_norm and acc_bytes.

    The right choice is an index, as there: picking another choice of equal text is wrong. `equal_options`
    counts questions with such choices, `tied` those where the best two share the headline's score (the
    first is taken). `chance` is the mean of 1/choices. `centred` is (headline − chance) / (1 − chance): 0 is
    to know nothing, 1 everything. `majority` is what always answering the commonest index would score.
    Intervals are Wilson's; where questions share a passage, with clustered standard errors.

    Solved examples are the first of one order of the pool, drawn by the seed, so that questions share their prompt's
    beginning; see `tilbench_choice.prompt.pick_examples`.
    """

    rows: ClassVar[frozenset[str]] = frozenset({"questions"})
    version: ClassVar[int] = 2
    Settings: ClassVar[type[ChoiceSettings]] = ChoiceSettings

    def __init__(self, settings: ChoiceSettings, context: TaskContext) -> None:
        if context.language is None:
            raise ConfigError(
                "a task of multiple-choice questions needs a language for the words of its prompt; "
                "set 'language' in the task or in its dataset"
            )
        letter = settings.form == "letter"
        self.headline = "acc" if letter else "acc_char"
        self._accuracies = ("acc",) if letter else NORMALISED
        overrides = settings.cues.model_dump(exclude_none=True)
        cues = Cues(**{**asdict(context.language.cues), **overrides})
        self._prompts = Prompts(settings.form, cues, settings.instruction, settings.option_mark)
        pool = [_question(example) for example in context.examples] if context.shots else []
        self._pool = ordered_pool(pool, context.seed)
        self._shots, self._same_subject = context.shots, settings.same_subject

    def requests(self, row: Row) -> Sequence[Request]:
        """Ask for the likelihood of every choice."""
        question = _question(row)
        examples = pick_examples(question, self._pool, self._shots, same_subject=self._same_subject)
        prompt = self._prompts.context(question, examples)
        return [Continuation(prompt, continuation) for continuation in self._prompts.continuations(question)]

    def score(self, row: Row, answers: Sequence[Answer]) -> ItemScore:
        """Pick a choice under every normalisation."""
        question = _question(row)
        texts = [choice.strip() for choice in question.choices]
        given = likelihoods(row.id, texts, answers)
        values = {
            "answer": float(question.answer),
            "options": float(len(texts)),
            "equal_options": float(len(set(texts)) < len(texts)),
        }
        for name in self._accuracies:
            if (scores := normalised(name, texts, given)) is None:
                continue
            picked = scores.index(max(scores))
            values[f"picked_{name}"] = float(picked)
            values[name] = float(picked == question.answer)
            if name == self.headline:
                values["tied"] = float(scores.count(max(scores)) > 1)
        return ItemScore(row.id, row.cluster, values)

    def aggregate(self, scores: Sequence[ItemScore]) -> Mapping[str, Value]:
        """Return accuracies with their intervals and chance level, and what to read them against."""
        if not scores:
            return {}
        n = len(scores)
        chance = math.fsum(1 / score.values["options"] for score in scores) / n
        there = [name for name in self._accuracies if all(name in score.values for score in scores)]
        values = {name: accuracy(name, scores, chance) for name in there}
        values["centred"] = centred(values[self.headline])
        ((_, commonest),) = Counter(score.values["answer"] for score in scores).most_common(1)
        values["majority"] = Value(value=commonest / n, n=n, unit="fraction", direction="none")
        for name in ("equal_options", "tied"):
            values[name] = counted(name, scores, "questions")
        return values


def _question(row: Row) -> Question:
    if not isinstance(row, Question):
        raise DataError(f"row {row.id!r}: choice scores questions, not {row.kind}")
    return row

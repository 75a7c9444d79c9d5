"""Accuracy on multiple-choice questions, beside what a model that knows nothing would score."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import ClassVar

from pydantic import Field, field_validator, model_validator

from tilbench.config.base import Schema
from tilbench.data.rows import Question, Row, row_of
from tilbench.errors import ConfigError
from tilbench.kinds.examples import ExamplePool
from tilbench.kinds.generation import check_template
from tilbench.kinds.language import Cues
from tilbench.kinds.metric import ItemScore, TaskContext, Value
from tilbench.kinds.requests import Answer, Continuation, Request
from tilbench.results.statistics import Ratio, ratio_values
from tilbench_metrics_likelihood.prompt import TEMPLATE_FIELDS, Form, OptionMark, Prompts
from tilbench_metrics_likelihood.scores import (
    NORMALISED,
    accuracy,
    best,
    centred,
    counted,
    credit,
    likelihoods,
    normalised,
)

__all__ = ["Choice", "ChoiceSettings", "CueOverrides"]

_RATIOS = {"gold_bpb": Ratio("gold_bits", "gold_bytes", "bits/byte", "lower")}


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
    """letter: options are listed and a letter answers. hybrid: they are listed and the text of one answers. cloze:
    nothing is listed and the text of an option answers."""
    instruction: str = ""
    """Text before the first question, in the task's language."""
    cues: CueOverrides = CueOverrides()
    option_mark: OptionMark = ")"
    """What stands between an option's letter and its text."""
    option_space: bool = False
    """A space before each listed letter, as lighteval prints it."""
    template: str = ""
    """The block of a question, for a protocol with another layout, with {question}, {options} and {passage}. Cue words
    are not printed then. It ends where the answer begins, without the space."""
    same_subject: bool = True
    """Examples of the question's own subject, where the pool has enough of them."""

    @model_validator(mode="after")
    def _template_is_whole(self) -> ChoiceSettings:
        if self.template:
            needed = ["question"] if self.form == "cloze" else ["question", "options"]
            check_template(self.template, TEMPLATE_FIELDS, needed)
            if self.form == "cloze" and "{options}" in self.template:
                raise ValueError("the cloze form lists no options; take {options} out or use 'form: hybrid'")
        return self


class Choice:
    """Accuracy: the share of questions whose right choice is the one the model finds likeliest.

    In the *letter* form the continuation is a letter, and `acc` compares log-probabilities. In the *cloze* and
    *hybrid* forms it is the text of a choice, and log-probabilities are compared raw (`acc`) and divided by the length
    of that text without its leading space in Unicode characters (`acc_char`), in UTF-8 bytes (`acc_byte`), or
    by the model's own tokens of the continuation (`acc_token`, absent where the model has none). `acc`,
    `acc_char` and `acc_byte` are lm-evaluation-harness's acc, acc_norm and acc_bytes, but for ties.

    Where k choices share the best score and the right one is among them, a question counts 1/k: what taking one of
    them at random scores on average. `tied` counts questions where the headline's best score is shared.
    `equal_options` counts questions with two choices of equal text, which tie in the cloze form.

    `gold_bpb` is Σ bits / Σ UTF-8 bytes of the right continuations, the leading space included. It tells small models
    apart where their accuracies are all at chance. In the letter form these are the bits of a letter.

    `chance` is the mean of 1/choices. `centred` is (headline − chance) / (1 − chance): 0 is
    to know nothing, 1 everything. `majority` is what always answering the commonest index would score. Where questions
    have subjects, `HEADLINE:SUBJECT` is the headline over those of one subject.
    Intervals: docs/statistics.md; questions on one passage are a cluster. An item keeps the log-probability of every
    choice (`logprob_0`, …), and its tokens.

    Solved examples are the first of one order of the pool, drawn by the seed, so that questions share their prompt's
    beginning; see `tilbench.kinds.examples`.
    """

    rows: ClassVar[frozenset[str]] = frozenset({"questions"})
    version: ClassVar[int] = 3
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
        self._prompts = Prompts(
            settings.form, cues, settings.instruction, settings.option_mark, settings.template, settings.option_space
        )
        pool = [row_of(example, Question, "choice") for example in context.examples]
        self._pool = ExamplePool(pool, f"tilbench examples {context.seed}")
        self._shots, self._same_subject = context.shots, settings.same_subject

    def requests(self, row: Row) -> Sequence[Request]:
        """Ask for the likelihood of every choice."""
        question = row_of(row, Question, "choice")
        subject = question.subject if self._same_subject else ""
        examples = self._pool.pick(
            question, self._shots, prefer=(lambda example: example.subject == subject) if subject else None
        )
        prompt = self._prompts.context(question, examples)
        options = tuple(self._prompts.continuations(question))
        return [Continuation(prompt.text, each, prompt.optional, prompt.keep, options) for each in options]

    def score(self, row: Row, answers: Sequence[Answer]) -> ItemScore:
        """Pick a choice under every normalisation."""
        question = row_of(row, Question, "choice")
        texts = [choice.strip() for choice in question.choices]
        given = likelihoods(row.id, texts, answers)
        gold = self._prompts.continuations(question)[question.answer]
        values = {
            "answer": float(question.answer),
            "options": float(len(texts)),
            "equal_options": float(len(set(texts)) < len(texts)),
            "gold_bits": -given[question.answer].logprob / math.log(2),
            "gold_bytes": float(len(gold.encode())),
        }
        for place, answer in enumerate(given):
            values[f"logprob_{place}"] = answer.logprob
            if answer.tokens is not None:
                values[f"tokens_{place}"] = float(answer.tokens)
        for name in self._accuracies:
            if (scores := normalised(name, texts, given)) is None:
                continue
            picked = best(scores)
            values[f"picked_{name}"] = float(picked[0])
            values[name] = credit(picked, question.answer)
            if name == self.headline:
                values["tied"] = float(len(picked) > 1)
        return ItemScore(row.id, row.cluster, values, {"subject": question.subject} if question.subject else {})

    def aggregate(self, scores: Sequence[ItemScore]) -> Mapping[str, Value]:
        """Return accuracies with their intervals and chance level, and what to read them against."""
        if not scores:
            return {}
        there = [name for name in self._accuracies if all(name in score.values for score in scores)]
        values = {name: accuracy(name, scores, _chance(scores)) for name in there}
        values["centred"] = centred(values[self.headline])
        values |= ratio_values(scores, _RATIOS)
        ((_, commonest),) = Counter(score.values["answer"] for score in scores).most_common(1)
        n = len(scores)
        values["majority"] = Value(value=commonest / n, n=n, unit="fraction", direction="none")
        for name in ("equal_options", "tied"):
            values[name] = counted(name, scores, "questions")
        return {**values, **self._by_subject(scores)}

    def _by_subject(self, scores: Sequence[ItemScore]) -> Mapping[str, Value]:
        """Return the headline of each subject, where there are several. These are no ratios over all items."""
        subjects: dict[str, list[ItemScore]] = {}
        for score in scores:
            subjects.setdefault(score.texts.get("subject", ""), []).append(score)
        if len(subjects) < 2:
            return {}
        return {
            f"{self.headline}:{subject}": replace(accuracy(self.headline, some, _chance(some)), of=None)
            for subject, some in sorted(subjects.items())
            if subject
        }


def _chance(scores: Sequence[ItemScore]) -> float:
    return math.fsum(1 / score.values["options"] for score in scores) / len(scores)

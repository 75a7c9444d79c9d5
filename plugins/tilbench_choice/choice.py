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
from tilbench.errors import ConfigError, DataError, PluginError
from tilbench.kinds.language import Cues
from tilbench.kinds.metric import ItemScore, TaskContext, Value
from tilbench.kinds.requests import Answer, Continuation, Likelihood, Request
from tilbench.results.statistics import proportion_interval
from tilbench_choice.prompt import Form, Prompts, pick_examples

__all__ = ["Choice", "ChoiceSettings", "CueOverrides"]


class CueOverrides(Schema):
    """Words that replace the language's own in this task's prompts."""

    passage: str | None = Field(default=None, min_length=1)
    question: str | None = Field(default=None, min_length=1)
    answer: str | None = Field(default=None, min_length=1)
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
    """

    rows: ClassVar[frozenset[str]] = frozenset({"questions"})
    version: ClassVar[int] = 1
    Settings: ClassVar[type[ChoiceSettings]] = ChoiceSettings

    def __init__(self, settings: ChoiceSettings, context: TaskContext) -> None:
        if context.language is None:
            raise ConfigError(
                "a task of multiple-choice questions needs a language for the words of its prompt; "
                "set 'language' in the task or in its dataset"
            )
        letter = settings.form == "letter"
        self.headline = "acc" if letter else "acc_char"
        self._accuracies = ("acc",) if letter else ("acc", "acc_char", "acc_byte", "acc_token")
        overrides = settings.cues.model_dump(exclude_none=True)
        cues = Cues(**{**asdict(context.language.cues), **overrides})
        self._prompts = Prompts(settings.form, cues, settings.instruction)
        pool = [_question(example) for example in context.examples] if context.shots else []
        self._pool = sorted(pool, key=lambda example: example.id)
        self._context = context

    def requests(self, row: Row) -> Sequence[Request]:
        """Ask for the likelihood of every choice."""
        question = _question(row)
        examples = pick_examples(question, self._pool, self._context.shots, self._context.seed)
        prompt = self._prompts.context(question, examples)
        return [Continuation(prompt, continuation) for continuation in self._prompts.continuations(question)]

    def score(self, row: Row, answers: Sequence[Answer]) -> ItemScore:
        """Pick a choice under every normalisation."""
        question = _question(row)
        texts = [choice.strip() for choice in question.choices]
        if len(answers) != len(texts) or not all(isinstance(answer, Likelihood) for answer in answers):
            raise PluginError(f"question {row.id!r}: {len(texts)} choices were not answered by one Likelihood each")
        likelihoods = [answer for answer in answers if isinstance(answer, Likelihood)]
        values = {
            "answer": float(question.answer),
            "options": float(len(texts)),
            "equal_options": float(len(set(texts)) < len(texts)),
        }
        for name in self._accuracies:
            lengths = _lengths(name, texts, likelihoods)
            if lengths is None:
                continue
            scores = [answer.logprob / length for answer, length in zip(likelihoods, lengths, strict=True)]
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
        values = {
            name: _accuracy(name, scores, chance)
            for name in self._accuracies
            if all(name in score.values for score in scores)
        }
        values["centred"] = _centred(values[self.headline])
        ((_, commonest),) = Counter(score.values["answer"] for score in scores).most_common(1)
        values["majority"] = Value(value=commonest / n, n=n, unit="fraction", direction="none")
        for name in ("equal_options", "tied"):
            count = math.fsum(score.values[name] for score in scores)
            values[name] = Value(value=count, n=n, unit="questions", direction="none")
        return values


def _lengths(name: str, texts: Sequence[str], answers: Sequence[Likelihood]) -> list[int] | None:
    """Return what each choice's log-probability is divided by; None where the model has no tokens."""
    if name == "acc_char":
        return [len(text) for text in texts]
    if name == "acc_byte":
        return [len(text.encode()) for text in texts]
    if name == "acc_token":
        tokens = [answer.tokens for answer in answers if answer.tokens]
        return tokens if len(tokens) == len(answers) else None
    return [1] * len(texts)


def _accuracy(name: str, scores: Sequence[ItemScore], chance: float) -> Value:
    right = [score.values[name] for score in scores]
    interval = proportion_interval(right, [score.cluster for score in scores])
    return Value(
        value=math.fsum(right) / len(right),
        n=len(right),
        unit="fraction",
        direction="higher",
        stderr=interval.stderr if interval else None,
        low=interval.low if interval else None,
        high=interval.high if interval else None,
        chance=chance,
        of=(name, ""),
    )


def _centred(accuracy: Value) -> Value:
    """Return an accuracy on the scale from chance (0) to perfect (1)."""
    chance = accuracy.chance or 0.0
    room = 1 - chance
    return Value(
        value=(accuracy.value - chance) / room,
        n=accuracy.n,
        unit="fraction",
        direction="higher",
        stderr=None if accuracy.stderr is None else accuracy.stderr / room,
        low=None if accuracy.low is None else (accuracy.low - chance) / room,
        high=None if accuracy.high is None else (accuracy.high - chance) / room,
        chance=0.0,
    )


def _question(row: Row) -> Question:
    if not isinstance(row, Question):
        raise DataError(f"row {row.id!r}: choice scores questions, not {row.kind}")
    return row

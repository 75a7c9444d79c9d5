"""Answers to questions on a text: a text is asked for, and compared with the accepted ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from pydantic import Field, field_validator

from tilbench.data.rows import Reading as ReadingRow
from tilbench.data.rows import Row
from tilbench.errors import ConfigError, DataError, PluginError
from tilbench.kinds.examples import ExamplePool
from tilbench.kinds.generation import GenerativeSettings, check_template, few_shot
from tilbench.kinds.metric import ItemScore, TaskContext, Value
from tilbench.kinds.requests import Answer, Generated, Request
from tilbench.results.values import mean_value, share_value
from tilbench_metrics_generation.answers import compare

__all__ = ["Reading", "ReadingSettings"]

_FIELDS = ("context", "question", "passage_cue", "question_cue", "answer_cue")


class ReadingSettings(GenerativeSettings):
    """How answers are asked for; part of the task's fingerprint."""

    template: str = "{passage_cue}: {context}\n{question_cue}: {question}\n{answer_cue}:"
    """The prompt of one question, in the language's own cue words."""
    max_new_tokens: int = Field(default=48, ge=1)
    """Tokens at most; an answer that has more to say is cut."""

    @field_validator("template")
    @classmethod
    def _template_is_whole(cls, template: str) -> str:
        return check_template(template, _FIELDS, ["context", "question"])


class Reading:
    """Exact match and token F1 of SQuAD 1.1, each the best over the accepted answers, as means over questions.

    `answers` says which differences do not count. An accepted answer is compared without articles and punctuation, as
    in SQuAD, unless nothing else is in it ("A", "%"). An empty answer matches nothing. One answer is asked for per
    question. Questions on one text form a cluster: intervals are Wilson's (exact_match and the shares) and
    Student's (f1), over texts. empty_rate: answers that are empty or white space. completion_rate:
    answers that a stop or the end-of-text token ended.
    """

    rows: ClassVar[frozenset[str]] = frozenset({"readings"})
    headline = "f1"
    version: ClassVar[int] = 2
    Settings: ClassVar[type[ReadingSettings]] = ReadingSettings

    def __init__(self, settings: ReadingSettings, context: TaskContext) -> None:
        if context.language is None:
            raise ConfigError(
                "a reading task needs a language for its prompt and for the words of answers; set 'language' in the "
                "task or in its dataset"
            )
        self._settings, self._context, self._language = settings, context, context.language
        cues = self._language.cues
        self._cues = {"passage_cue": cues.passage, "question_cue": cues.question, "answer_cue": cues.answer}
        self._pool = ExamplePool([_reading(example) for example in context.examples], context.seed)

    def requests(self, row: Row) -> Sequence[Request]:
        """Ask for the answer."""
        reading, settings = _reading(row), self._settings
        solved = self._pool.pick(reading, self._context.shots)
        blocks = [(self._block(example), example.answers[0].strip()) for example in solved]
        prompt = few_shot(settings.instruction, blocks, self._block(reading))
        return [settings.ask(prompt, row, self._context.seed)]

    def score(self, row: Row, answers: Sequence[Answer]) -> ItemScore:
        """Compare the answer with each accepted one and take the best."""
        reading = _reading(row)
        if len(answers) != 1 or not isinstance(answers[0], Generated):
            raise PluginError(f"question {row.id!r} was not answered by one Generated")
        text = answers[0].whole
        matches, overlaps = zip(*(compare(text, each, self._language) for each in reading.answers), strict=True)
        values = {
            "exact_match": max(matches),
            "f1": max(overlaps),
            "empty": float(not text.strip()),
            "complete": float(answers[0].complete),
        }
        return ItemScore(row.id, row.cluster, values)

    def aggregate(self, scores: Sequence[ItemScore]) -> Mapping[str, Value]:
        """Return means and shares over questions."""
        if not scores:
            return {}
        return {
            "f1": mean_value(scores, "f1", "fraction", "higher"),
            "exact_match": share_value(scores, "exact_match", "higher"),
            "empty_rate": share_value(scores, "empty", "lower"),
            "completion_rate": share_value(scores, "complete", "higher"),
        }

    def _block(self, reading: ReadingRow) -> str:
        return self._settings.template.format(
            context=reading.context.strip(), question=reading.question.strip(), **self._cues
        )


def _reading(row: Row) -> ReadingRow:
    if not isinstance(row, ReadingRow):
        raise DataError(f"row {row.id!r}: reading scores readings, not {row.kind}")
    return row

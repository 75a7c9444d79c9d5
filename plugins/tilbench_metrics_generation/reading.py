"""Answers to questions on a text: a text is asked for, and compared with the accepted ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from pydantic import Field

from tilbench.data.rows import Reading as ReadingRow
from tilbench.kinds.metric import ItemScore, Value
from tilbench.kinds.requests import Generated
from tilbench.results.values import mean_value, share_value
from tilbench_metrics_generation.answers import compare
from tilbench_metrics_generation.prompted import Prompted, TemplateSettings

__all__ = ["Reading", "ReadingSettings"]


class ReadingSettings(TemplateSettings):
    """How answers are asked for; part of the task's fingerprint."""

    known = ("context", "question", "passage_cue", "question_cue", "answer_cue")
    needed = ("context", "question")

    template: str = "{passage_cue}: {context}\n{question_cue}: {question}\n{answer_cue}:"
    """The prompt of one question, in the language's own cue words."""
    max_new_tokens: int = Field(default=48, ge=1)
    """Tokens at most; an answer that has more to say is cut."""


class Reading(Prompted[ReadingRow]):
    """Exact match and token F1 of SQuAD 1.1, each the best over the accepted answers, as means over questions.

    `answers` says which differences do not count. An accepted answer is compared without articles and punctuation, as
    in SQuAD, unless nothing else is in it ("A", "%"). An empty answer matches nothing. One answer is asked for per
    question. Questions on one text form a cluster: intervals are Wilson's (exact_match and the shares) and
    Student's (f1), over texts. empty_rate: answers that are empty or white space. completion_rate:
    answers that a stop or the end-of-text token ended.
    """

    name = "reading"
    row_type = ReadingRow
    rows: ClassVar[frozenset[str]] = frozenset({"readings"})
    headline = "f1"
    version: ClassVar[int] = 2
    Settings: ClassVar[type[ReadingSettings]] = ReadingSettings

    def fields(self, row: ReadingRow) -> Mapping[str, str]:
        """Return the text, the question and the cue words."""
        cues = self.language.cues
        return {
            "context": row.context.strip(),
            "question": row.question.strip(),
            "passage_cue": cues.passage,
            "question_cue": cues.question,
            "answer_cue": cues.answer,
        }

    def solution(self, row: ReadingRow) -> str:
        """Return the first accepted answer."""
        return row.answers[0]

    def compare(self, row: ReadingRow, answer: Generated) -> Mapping[str, float]:
        """Compare the answer with each accepted one and take the best."""
        text = answer.whole
        matches, overlaps = zip(*(compare(text, each, self.language) for each in row.answers), strict=True)
        return {
            "exact_match": max(matches),
            "f1": max(overlaps),
            "empty": float(not text.strip()),
            "complete": float(answer.complete),
        }

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

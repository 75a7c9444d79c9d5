"""Labelled texts: which of a few label words does the model find likeliest after a text?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

from pydantic import Field, field_validator

from tilbench.config.base import Schema
from tilbench.data.rows import Labelled, Row, row_of
from tilbench.errors import ConfigError, DataError
from tilbench.kinds.examples import ExamplePool
from tilbench.kinds.generation import check_template
from tilbench.kinds.metric import ItemScore, TaskContext, Value
from tilbench.kinds.prompt import Prompt
from tilbench.kinds.requests import Answer, Continuation, Request
from tilbench_metrics_likelihood.f1 import f1_values, guessing
from tilbench_metrics_likelihood.scores import accuracy, best, counted, credit, likelihoods, normalised

__all__ = ["Classification", "ClassificationSettings"]

_FIELDS = ("text", "labels", "passage_cue", "answer_cue")
_DIVIDED = {"none": "acc", "char": "acc_char", "byte": "acc_byte"}


class ClassificationSettings(Schema):
    """Labels and how texts are put; part of the task's fingerprint."""

    labels: dict[str, str] = Field(min_length=2)
    """Label in the dataset → its word in the task's language, which is what the model is asked for."""
    instruction: str = ""
    """Text before the first example, in the task's language."""
    template: str = "{passage_cue}: {text}\n{answer_cue}:"
    """The prompt of one text. {labels} are all words, with a comma between two; {passage_cue} and {answer_cue} are the
    language's words."""
    normalise: Literal["none", "char", "byte"] = "none"
    """What a word's log-probability is divided by, where the words differ much in length."""
    headline: Literal["macro_f1", "acc"] = "macro_f1"
    """The value shown first. Only acc is a mean over rows, which `compare` can pair."""

    @field_validator("labels")
    @classmethod
    def _words_differ(cls, labels: dict[str, str]) -> dict[str, str]:
        words = [word.strip() for word in labels.values()]
        if not all(words) or len(set(words)) < len(words):
            raise ValueError(f"every label needs a word of its own, not {', '.join(map(repr, labels.values()))}")
        return labels

    @field_validator("template")
    @classmethod
    def _template_is_whole(cls, template: str) -> str:
        return check_template(template, _FIELDS, ["text"])


class Classification:
    """Accuracy and F1 of choosing a label: the one whose word is likeliest after the text.

    Of a class, F1 = 2·TP / (predicted + gold). `macro_f1` is the plain mean of the F1 of the classes that occur among
    the right or the chosen labels, as in scikit-learn's `f1_score(average="macro")`; `f1:LABEL` is that of one class.
    `acc` is the share of right labels. Where k words tie, each counts as chosen 1/k times.

    `chance` is what choosing at random scores, and `majority` what always choosing the commonest label scores, both in
    the headline's terms. Intervals of F1 are the jackknife's, with Student's t. An item keeps the log-probability of
    every label.
    """

    rows: ClassVar[frozenset[str]] = frozenset({"labelled"})
    version: ClassVar[int] = 1
    Settings: ClassVar[type[ClassificationSettings]] = ClassificationSettings

    def __init__(self, settings: ClassificationSettings, context: TaskContext) -> None:
        if context.language is None:
            raise ConfigError(
                "a classification task needs a language for the words of its prompt; set 'language' in the task or in "
                "its dataset"
            )
        self.headline = settings.headline
        self._settings, self._shots = settings, context.shots
        self._labels = list(settings.labels)
        self._words = [word.strip() for word in settings.labels.values()]
        cues = context.language.cues
        self._cues = {"passage_cue": cues.passage, "answer_cue": cues.answer, "labels": ", ".join(self._words)}
        self._pool = ExamplePool(
            [row_of(example, Labelled, "classification") for example in context.examples], context.seed
        )

    def requests(self, row: Row) -> Sequence[Request]:
        """Ask for the likelihood of every label's word."""
        text = row_of(row, Labelled, "classification")
        self._place(text)
        solved = [
            f"{self._block(example)} {self._words[self._place(example)]}"
            for example in self._pool.pick(text, self._shots)
        ]
        prompt = Prompt.of(self._settings.instruction, solved, self._block(text))
        words = tuple(f" {word}" for word in self._words)
        return [Continuation(prompt.text, word, prompt.optional, prompt.keep, words) for word in words]

    def score(self, row: Row, answers: Sequence[Answer]) -> ItemScore:
        """Choose a label; several that tie share the choice."""
        gold = self._place(row_of(row, Labelled, "classification"))
        given = likelihoods(row.id, self._words, answers)
        scores = normalised(_DIVIDED[self._settings.normalise], self._words, given)
        assert scores is not None  # only tokens can be missing
        chosen = best(scores)
        values = {"gold": float(gold), "acc": credit(chosen, gold), "tied": float(len(chosen) > 1)}
        for place, answer in enumerate(given):
            values[f"logprob_{place}"] = answer.logprob
            values[f"chosen_{place}"] = credit(chosen, place)
        return ItemScore(row.id, row.cluster, values)

    def aggregate(self, scores: Sequence[ItemScore]) -> Mapping[str, Value]:
        """Return accuracy and F1 with their intervals, and what to read them against."""
        if not scores:
            return {}
        chance, majority = guessing(scores, len(self._labels), f1=self.headline == "macro_f1")
        values = f1_values(scores, self._labels, chance=chance if self.headline == "macro_f1" else None)
        values["acc"] = accuracy("acc", scores, 1 / len(self._labels))
        values["majority"] = Value(value=majority, n=len(scores), unit="fraction", direction="none")
        values["tied"] = counted("tied", scores, "texts")
        return values

    def _block(self, row: Labelled) -> str:
        return self._settings.template.format(text=row.text.strip(), **self._cues)

    def _place(self, row: Labelled) -> int:
        if row.label not in self._labels:
            known = ", ".join(map(repr, self._labels))
            raise DataError(f"row {row.id!r} has the label {row.label!r}; settings.labels has {known}")
        return self._labels.index(row.label)

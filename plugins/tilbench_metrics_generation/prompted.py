"""What correction, reading and translation share: one text is asked for per row, after solved examples."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar, Generic, TypeVar

from pydantic import field_validator

from tilbench.data.rows import Pair, Reading, Row, row_of
from tilbench.errors import ConfigError
from tilbench.kinds.examples import ExamplePool
from tilbench.kinds.generation import GenerativeSettings, check_template, few_shot
from tilbench.kinds.language import Language
from tilbench.kinds.metric import ItemScore, TaskContext
from tilbench.kinds.requests import Answer, Generated, Request, one_answer

__all__ = ["Prompted", "TemplateSettings"]

R = TypeVar("R", Pair, Reading)


class TemplateSettings(GenerativeSettings):
    """Settings with the prompt of one row; part of the task's fingerprint.

    known: the fields that a template may have. needed: those that it must have.
    """

    known: ClassVar[Sequence[str]]
    needed: ClassVar[Sequence[str]]

    template: str
    """The prompt of one row, with fields in braces."""

    @field_validator("template")
    @classmethod
    def _template_is_whole(cls, template: str) -> str:
        return check_template(template, cls.known, cls.needed)


class Prompted(ABC, Generic[R]):
    """A metric that fills a template with a row, asks for the text after it, and compares that with the row's own.

    A subclass says what stands in the template (`fields`), what a solved example has after it (`solution`), and what
    a text scores (`compare`). name: the metric's, for messages. row_type: the class of rows that it scores.
    """

    name: ClassVar[str]
    row_type: type[R]

    def __init__(self, settings: TemplateSettings, context: TaskContext) -> None:
        if context.language is None:
            raise ConfigError(
                f"{self.name} needs a language for the words of its prompt: set 'language' in the task or its dataset"
            )
        self.language: Language = context.language
        self._settings, self._context = settings, context
        self._pool: ExamplePool[R] = ExamplePool([self._own(each) for each in context.examples], context.seed)

    def requests(self, row: Row) -> Sequence[Request]:
        """Ask for the text after the prompt of `row`."""
        own, settings = self._own(row), self._settings
        solved = self._pool.pick(own, self._context.shots)
        blocks = [(self._block(example), self.solution(example).strip()) for example in solved]
        return [settings.ask(few_shot(settings.instruction, blocks, self._block(own)), row, self._context.seed)]

    def score(self, row: Row, answers: Sequence[Answer]) -> ItemScore:
        """Compare the text with what the row has."""
        own = self._own(row)
        return ItemScore(row.id, row.cluster, self.compare(own, one_answer(row.id, answers, Generated)))

    @abstractmethod
    def fields(self, row: R) -> Mapping[str, str]:
        """Return what stands in the template for `row`."""

    @abstractmethod
    def solution(self, row: R) -> str:
        """Return what stands after the block of `row` where it is shown solved."""

    @abstractmethod
    def compare(self, row: R, answer: Generated) -> Mapping[str, float]:
        """Return the numbers of an item score."""

    def _own(self, row: Row) -> R:
        return row_of(row, self.row_type, self.name)

    def _block(self, row: R) -> str:
        return self._settings.template.format(**self.fields(row))

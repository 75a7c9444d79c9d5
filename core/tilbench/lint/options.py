"""Rules on the options of questions: repeated, added, taken from other questions, or no text at all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import partial
from itertools import pairwise
from statistics import fmean

from tilbench.data.rows import Question
from tilbench.kinds.language import Language
from tilbench.lint.finding import Fault, share
from tilbench.lint.letters import as_read
from tilbench.lint.source import option_columns
from tilbench.lint.subjects import DatasetSubject

__all__ = ["answer_alike", "answer_repeated", "no_text", "options_added", "options_repeated", "options_shared"]

_NO_TEXT = frozenset({"none", "nan", "null", "n/a", "<na>", "undefined"})
_QUOTES = "\"«»“”„'’ "
_SHARED = 1 / 4
"""Share of a question's options that also belong to the next one, from which on they were mixed."""


def _others(question: Question) -> list[str]:
    return [choice for place, choice in enumerate(question.choices) if place != question.answer]


def answer_repeated(subject: DatasetSubject) -> Iterator[Fault]:
    """A wrong option with the right answer's text: who picks it is right and counted wrong."""
    bad = [
        question.id
        for question in subject.questions
        if question.choices[question.answer].strip() in {choice.strip() for choice in _others(question)}
    ]
    if bad:
        yield Fault(
            f"{share(len(bad), len(subject.questions))} questions repeat the right answer's text in a wrong option",
            "replace the repeated option, or leave the question out",
            bad,
        )


def _plain(text: str, language: Language | None) -> str:
    """Return an option as it is read, without quotes around it and a full stop at its end."""
    return as_read(as_read(text, language).lstrip(_QUOTES).rstrip(f"{_QUOTES}.;, "), language)


def answer_alike(subject: DatasetSubject) -> Iterator[Fault]:
    """A wrong option that differs from the right one in case, spaces, quotes or its full stop only."""
    plain = partial(_plain, language=subject.language)
    bad: list[str] = []
    for question in subject.questions:
        answer = question.choices[question.answer]
        alike = [choice for choice in _others(question) if plain(choice) == plain(answer)]
        if any(choice.strip() != answer.strip() for choice in alike):
            bad.append(question.id)
    if bad:
        yield Fault(
            f"{share(len(bad), len(subject.questions))} questions have a wrong option that differs from the right one "
            "in case, spaces, quotes or its full stop only",
            "replace the option, unless that difference is what the question asks for",
            bad,
        )


def options_repeated(subject: DatasetSubject) -> Iterator[Fault]:
    """Two wrong options of one text: there are fewer options than chance counts."""
    bad = [
        question.id
        for question in subject.questions
        if len({choice.strip() for choice in _others(question)}) < len(question.choices) - 1
    ]
    if bad:
        yield Fault(
            f"{share(len(bad), len(subject.questions))} questions have two wrong options of one text, so that chance "
            "is higher than it is said to be",
            "replace or remove the repeated options",
            bad,
        )


def options_added(subject: DatasetSubject) -> Iterator[Fault]:
    """More options than the source gives a question."""
    questions, columns = subject.questions, option_columns(subject)
    source = {
        str(raw.get("id")): sum(raw.get(column) not in (None, "") for column in columns) for raw in subject.source
    }
    padded = [question for question in questions if 0 < source.get(question.id, 0) < len(question.choices)]
    if padded and columns:
        before = fmean(1 / source[question.id] for question in padded)
        after = fmean(1 / len(question.choices) for question in padded)
        numbers = " or ".join(str(number) for number in sorted({len(question.choices) for question in padded}))
        yield Fault(
            f"{share(len(padded), len(questions))} questions have {numbers} options, and the source has "
            f"{' or '.join(str(n) for n in sorted({source[q.id] for q in padded}))}: chance falls from {before:.1%} to "
            f"{after:.1%}, and the added options do not answer the question",
            "use the source's own options",
            [question.id for question in padded],
        )


def options_shared(subject: DatasetSubject) -> Iterator[Fault]:
    """Options of neighbouring questions mixed in: sets that overlap with the next ones', and are not the same."""
    questions = subject.questions
    mixed: list[str] = []
    for question, following in pairwise(questions):
        mine, theirs = ({choice.strip() for choice in each.choices} for each in (question, following))
        common = len(mine & theirs)
        if mine != theirs and common >= 2 and common >= _SHARED * max(len(mine), len(theirs)):
            mixed.append(question.id)
    if len(questions) > 3 and len(mixed) > (len(questions) - 1) / 2:
        yield Fault(
            f"{share(len(mixed), len(questions) - 1)} questions have a quarter of their options or more in common with "
            "the next one: options of neighbouring questions are mixed in",
            "use each question's own options",
            mixed,
        )


def no_text(subject: DatasetSubject) -> Iterator[Fault]:
    """Options that are a missing value printed as text."""
    if subject.language is not None and subject.language.domain:
        return  # in code, None may be the answer
    counts = Counter[str]()
    bad: list[str] = []
    for question in subject.questions:
        found = [choice.strip() for choice in question.choices if choice.strip().casefold() in _NO_TEXT]
        counts.update(found)
        bad += [question.id] if found else []
    if bad:
        named = ", ".join(f"{text!r} {count:,} times" for text, count in counts.most_common())
        yield Fault(
            f"{share(len(bad), len(subject.questions))} questions have an option that is a missing value: {named}",
            "leave the option out; columns of options that are empty are left out by themselves",
            bad,
        )

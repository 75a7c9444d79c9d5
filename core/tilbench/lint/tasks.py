"""Rules on a task: its examples and its prompt."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import reduce
from typing import Any

from tilbench.config.suite import HarnessTask
from tilbench.data.dataset import Dataset
from tilbench.data.rows import Row
from tilbench.lint.finding import Fault, share
from tilbench.lint.letters import mixed, script_of, spelled
from tilbench.lint.subjects import TaskSubject, context_of, texts_of
from tilbench.text.sameness import asked

__all__ = [
    "cues_in_other_language",
    "examples_from_scored_split",
    "examples_repeat_rows",
    "language_differs",
    "prompt_double_spaces",
    "prompt_ends_in_space",
    "prompt_homoglyphs",
    "same_source",
]

_LOOKED_AT = 20
"""Prompts from which the words of a template are told: they stand in all of them."""


def same_source(one: Dataset, other: Dataset) -> bool:
    """Say whether two datasets read the same rows of the same file or split, whatever they are called."""

    def source(dataset: Dataset) -> tuple[object, ...]:
        place = (dataset.package, dataset.file, dataset.path, dataset.hub)
        split = (dataset.config, dataset.split, dataset.revision) if dataset.hub else ()
        return (*place, *split, tuple(sorted(dataset.where.items())))

    return source(one) == source(other) and any((one.package, one.path, one.hub))


def examples_from_scored_split(subject: TaskSubject) -> Iterator[Fault]:
    """Solved examples of the very split that is scored, which tell a model what the test is like."""
    scored, examples = subject.scored, subject.examples
    mend = "take examples from a development split"
    if scored and examples and same_source(scored.dataset, examples.dataset):
        yield Fault(f"its {subject.task.shots} examples come from {examples.name}, the split that is scored", mend)
    settings = {**subject.task.settings, **subject.planned.used.settings}
    for place in (settings, *(value for value in settings.values() if isinstance(value, Mapping))):
        split = place.get("fewshot_split") or (place.get("fewshot_config") or {}).get("split")
        if subject.planned.used.shots and split and split == _scored_split(place):
            yield Fault(f"fewshot_split is {split!r}, the split that is scored", mend)


def _scored_split(settings: Mapping[str, object]) -> object:
    """Return the split that lm-evaluation-harness scores: the test split, else the validation split."""
    return settings.get("test_split") or settings.get("validation_split")


def examples_repeat_rows(subject: TaskSubject) -> Iterator[Fault]:
    """Examples that ask what scored rows ask: in any case and spacing, and with the options in any order."""
    if subject.examples is None:
        return

    def content(row: Row) -> tuple[object, ...]:
        return asked(row).text

    shown = {content(row) for row in subject.examples.rows}
    bad = [row.id for row in subject.planned.rows if content(row) in shown]
    if bad:
        yield Fault(
            f"{share(len(bad), len(subject.planned.rows))} scored rows are among its examples, in the same words",
            f"take them out of {subject.examples.name}",
            bad,
        )


def language_differs(subject: TaskSubject) -> Iterator[Fault]:
    """A task in another language than its dataset says it is."""
    dataset, tag = subject.scored, subject.task.language
    if dataset and tag and dataset.dataset.language and tag != dataset.dataset.language:
        yield Fault(
            f"the task is in {tag} and its dataset {dataset.name} in {dataset.dataset.language}",
            "leave 'language' out of the task, or name another dataset",
        )


def _template(subject: TaskSubject) -> list[str]:
    """Return what a task's first prompts say besides the texts of rows."""
    rows = subject.planned.rows[:_LOOKED_AT]
    examples = subject.examples.rows if subject.examples else ()
    shown = {text.strip() for row in examples for _, text in texts_of(row)}
    return [
        _without(context, shown | {text.strip() for _, text in texts_of(row)})
        for row, context in _contexts(rows, subject)
    ]


def _contexts(rows: Any, subject: TaskSubject) -> Iterator[tuple[Row, str]]:
    for row in rows:
        for request in subject.planned.requests[row.id][:1]:
            if context := context_of(request):
                yield row, context


def _without(context: str, texts: set[str]) -> str:
    """Return a prompt with a mark in the place of each text of the row, longest first."""
    for text in sorted((text for text in texts if text in context and text), key=len, reverse=True):
        context = re.sub(rf"(?<!\w){re.escape(text)}(?!\w)", "\0", context)
    return context


def _cue_words(subject: TaskSubject, pattern: str) -> list[str]:
    """Return the words that every prompt has of its own, in order."""
    found = [re.findall(pattern, template) for template in _template(subject)]
    if not found:
        return []
    common = reduce(lambda one, other: one & other, map(set, found))
    return [word for word in dict.fromkeys(found[0]) if word in common]


_WORD = r"[^\W\d_]+"
_CUE = r"(?m)^\s*([^\W\d_]+)(?=:)"


def cues_in_other_language(subject: TaskSubject) -> Iterator[Fault]:
    """Words of the prompt in another script or with other letters than the language's, or that are another's cues."""
    language = subject.language
    foreign_by_nature = {"pairs", "conversations"}  # two languages; the marks of a chat template
    if language is None or language.domain or any(row.kind in foreign_by_nature for row in subject.planned.rows[:1]):
        return
    own = {language.cues.passage, language.cues.question, language.cues.options, language.cues.answer}
    theirs = {
        word: other.name
        for other in subject.languages
        if not other.domain and other.tag != language.tag
        for word in (other.cues.passage, other.cues.question, other.cues.options, other.cues.answer)
        if word not in own
    }
    wrong: dict[str, str] = {}
    for word in _cue_words(subject, _WORD):
        scripts = {script_of(letter) for letter in word}
        if len(word) > 1 and language.script in ("Latn", "Cyrl", "Grek") and language.script not in scripts:
            wrong[word] = f"{word!r} is not in {language.script}"
    for word in _cue_words(subject, _CUE):
        foreign = sorted({letter for letter in word.lower() if letter not in language.alphabet})
        if word in theirs:
            wrong[word] = f"{word!r} is {theirs[word]}"
        elif len(word) > 1 and foreign and not {word} & {*wrong, *own} and not mixed(word, language, shortest=2):
            wrong[word] = f"{word!r} has {' '.join(foreign)}, which {language.name} has not"
    if wrong:
        yield Fault(
            f"its prompt is not all in {language.name}: {', '.join(wrong.values())}",
            f"use the language's own cues ({', '.join(sorted(own))}), and write the instruction in it",
        )


def prompt_homoglyphs(subject: TaskSubject) -> Iterator[Fault]:
    """Words of the prompt itself with look-alike letters: every question has them."""
    bad = [word for word in _cue_words(subject, _WORD) if mixed(word, subject.language, shortest=2)]
    if bad:
        named = ", ".join(spelled(word, subject.language) for word in bad)
        yield Fault(
            f"its prompt has words in letters of two scripts: {named}",
            "write each word in one script: to a tokenizer these are other letters",
        )


def prompt_ends_in_space(subject: TaskSubject) -> Iterator[Fault]:
    """Prompts that end in a space or line break which the task, not the row, puts there."""
    rows = subject.planned.rows
    bad = [
        row.id
        for row, context in _contexts(rows, subject)
        if row.kind != "conversations"  # a chat template ends as its models were tuned with it
        and context != context.rstrip()
        and not any(text and context.endswith(text) for _, text in texts_of(row))
    ]
    if bad:
        yield Fault(
            f"{share(len(bad), len(rows))} prompts end in a space or a line break, and tokens begin with theirs",
            "let the space begin what follows, as ' A' does after 'Answer:'",
            bad,
        )


def prompt_double_spaces(subject: TaskSubject) -> Iterator[Fault]:
    """Prompts in which the task itself puts two spaces in a row."""
    templates = _template(subject)
    if isinstance(subject.task, HarnessTask) or not templates:
        return
    if all(re.search(r"[^\s\0]  +[^\s\0]", template) for template in templates):
        yield Fault("its prompt has two or more spaces in a row", "make it one")

"""Rules on the texts of rows, of any kind."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator

from tilbench.data.rows import Probe, Prompt, Question, Row
from tilbench.data.scripts import letters_of
from tilbench.lint.finding import Fault, listed, share
from tilbench.lint.letters import disguised, mixed, spelled, words_of
from tilbench.lint.subjects import DatasetSubject, texts_of

__all__ = [
    "contradictions",
    "double_spaces",
    "duplicates",
    "ends_in_space",
    "homoglyphs",
    "other_script",
    "too_short",
]

_SPACES = re.compile(r"\S  +\S")
_SHORT = 3
"""Letters and digits below which a text says nothing."""


def _content(row: Row) -> tuple[object, ...]:
    """Return all that is asked and answered, whatever the order of the options."""
    if isinstance(row, Question):
        choices = sorted(" ".join(choice.split()) for choice in row.choices)
        return (*_asked(row), *choices, " ".join(row.choices[row.answer].split()))
    return tuple(" ".join(text.split()) for _, text in texts_of(row))


def _asked(row: Question) -> tuple[str, str]:
    return " ".join(row.passage.split()), " ".join(row.question.split())


def duplicates(subject: DatasetSubject) -> Iterator[Fault]:
    """Rows that are there twice count twice, and are not independent."""
    first: dict[tuple[object, ...], str] = {}
    again = [row.id for row in subject.rows if first.setdefault(_content(row), row.id) != row.id]
    if again:
        yield Fault(
            f"{share(len(again), len(subject.rows))} rows repeat an earlier row word for word",
            "keep one of each: repeated rows count twice, and intervals are too narrow",
            again,
        )


def contradictions(subject: DatasetSubject) -> Iterator[Fault]:
    """The same question with the same options, and another answer."""
    answers: defaultdict[tuple[object, ...], dict[str, str]] = defaultdict(dict)
    for question in subject.questions:
        options = sorted(choice.strip() for choice in question.choices)
        answers[(*_asked(question), *options)].setdefault(question.choices[question.answer].strip(), question.id)
    bad = [row for ids in answers.values() if len(ids) > 1 for row in ids.values()]
    if bad:
        yield Fault(
            f"{len(bad):,} rows ask the same question with the same options and give different answers",
            "find out which answer is right, and keep that row",
            bad,
        )


def too_short(subject: DatasetSubject) -> Iterator[Fault]:
    """Questions, prompts and documents that hold next to nothing. Options and answers may be as short as they like."""
    names = {"question", "passage", "prompt", "text", "context"}
    bad = [
        row.id
        for row in subject.rows
        if any(
            name in names and text and sum(letter.isalnum() for letter in text) < _SHORT for name, text in texts_of(row)
        )
    ]
    if bad:
        yield Fault(
            f"{share(len(bad), len(subject.rows))} rows have a text of fewer than {_SHORT} letters and digits",
            "complete them, or leave them out",
            bad,
        )


def ends_in_space(subject: DatasetSubject) -> Iterator[Fault]:
    """Prompts after which the next token cannot begin with the space that it has in training text."""
    prompts = [row for row in subject.rows if isinstance(row, Prompt | Probe)]
    bad = [row.id for row in prompts if row.prompt != row.prompt.rstrip()]
    if bad:
        yield Fault(
            f"{share(len(bad), len(prompts))} prompts end in a space or a line break, and tokens begin with theirs",
            "take it off: what follows brings its own",
            bad,
        )


def double_spaces(subject: DatasetSubject) -> Iterator[Fault]:
    """Runs of spaces inside questions, options and prompts, which are rare tokens."""
    if subject.language is not None and subject.language.domain:
        return  # in code they are indentation
    bad = [
        row.id
        for row in subject.rows
        if row.kind != "documents" and any(_SPACES.search(text) for _, text in texts_of(row))
    ]
    if bad:
        yield Fault(
            f"{share(len(bad), len(subject.rows))} rows have two or more spaces in a row inside a text",
            "make it one, unless the source means it",
            bad,
        )


def homoglyphs(subject: DatasetSubject) -> Iterator[Fault]:
    """Words of questions, options and prompts in letters of two scripts, or in look-alikes of the other one.

    Running text is taken as it was written.
    """
    if subject.language is not None and subject.language.domain:
        return
    rows = [(row, {word for _, text in texts_of(row) for word in words_of(text)}) for row in subject.rows]
    rows = [(row, words) for row, words in rows if row.kind not in ("documents", "pairs")]
    every = {word for _, words in rows for word in words}
    wrong = {word for word in every if mixed(word, subject.language)} | set(disguised(every, subject.language))
    counts = Counter(word for _, words in rows for word in words & wrong)
    if counts:
        bad = [row.id for row, words in rows if words & wrong]
        named = sorted(counts, key=lambda word: (-counts[word], word))
        yield Fault(
            f"{share(len(bad), len(rows))} rows have words with look-alike letters of another script: "
            f"{listed([spelled(word, subject.language) for word in named])}",
            "write each word in one script: to a tokenizer these are other letters",
            bad,
        )


def other_script(subject: DatasetSubject) -> Iterator[Fault]:
    """Texts that are mostly in another script than their language's."""
    language = subject.language
    pattern = letters_of(language.script) if language else None
    if pattern is None or language is None:
        return
    bad: list[str] = []
    for row in subject.rows:
        text = " ".join(text for _, text in texts_of(row))
        letters = sum(letter.isalpha() for letter in text)
        if row.kind != "pairs" and letters >= 20 and len(pattern.findall(text)) < letters / 2:
            bad.append(row.id)
    if len(bad) > len(subject.rows) / 4:
        yield Fault(
            f"{share(len(bad), len(subject.rows))} rows are mostly in another script than {language.name}'s "
            f"({language.script})",
            "name the language that the rows are in, or leave these rows out",
            bad,
        )

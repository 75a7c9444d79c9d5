"""Rules on the texts of rows, of any kind."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator

from tilbench.data.rows import Probe, Prompt, Question, Row
from tilbench.kinds.language import Language
from tilbench.lint.finding import Fault, listed, share
from tilbench.lint.letters import as_read, disguised, mixed, spelled, words_of
from tilbench.lint.subjects import DatasetSubject, texts_of
from tilbench.text.scripts import letters_of

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
_RUNNING_WORDS, _RUNNING_SHARE = 3, 1 / 20
"""Words with look-alikes, and their share, from which on a document has them."""
_SHORT = 3
"""Letters and digits below which a text says nothing."""


def _content(row: Row, language: Language | None) -> tuple[object, ...]:
    """Return all that is asked and answered as it is read, whatever the order of the options."""
    if isinstance(row, Question):
        return (*_asked(row, language), as_read(row.choices[row.answer], language))
    return tuple(as_read(text, language) for _, text in texts_of(row))


def _asked(row: Question, language: Language | None) -> tuple[str, ...]:
    """Return passage, question and options, these in any order."""
    options = sorted(as_read(choice, language) for choice in row.choices)
    return as_read(row.passage, language), as_read(row.question, language), *options


def duplicates(subject: DatasetSubject) -> Iterator[Fault]:
    """Rows that are there twice count twice, and are not independent."""
    first: dict[tuple[object, ...], str] = {}
    again = [row.id for row in subject.rows if first.setdefault(_content(row, subject.language), row.id) != row.id]
    if again:
        yield Fault(
            f"{share(len(again), len(subject.rows))} rows repeat an earlier row word for word",
            "keep one of each: repeated rows count twice, and intervals are too narrow",
            again,
        )


def contradictions(subject: DatasetSubject) -> Iterator[Fault]:
    """The same question with the same options, and another answer."""
    answers: defaultdict[tuple[str, ...], dict[str, str]] = defaultdict(dict)
    for question in subject.questions:
        answer = as_read(question.choices[question.answer], subject.language)
        answers[_asked(question, subject.language)].setdefault(answer, question.id)
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
    """Words in letters of two scripts, or in look-alikes of the other one.

    Running text is taken as it was written, unless a twentieth of a document's words, three at least, have them.
    """
    if subject.language is not None and subject.language.domain:
        return
    rows = [
        (row, [word for _, text in texts_of(row) for word in words_of(text)])
        for row in subject.rows
        if row.kind != "pairs"
    ]
    every = {word for row, words in rows if row.kind != "documents" for word in words}
    wrong = {word for _, words in rows for word in set(words) if mixed(word, subject.language)}
    wrong |= set(disguised(every, subject.language))
    found: list[tuple[str, set[str]]] = []
    for row, words in rows:
        many = sum(word in wrong for word in words)
        if many and (row.kind != "documents" or many >= max(_RUNNING_WORDS, _RUNNING_SHARE * len(words))):
            found.append((row.id, wrong.intersection(words)))
    if found:
        counts = Counter(word for _, words in found for word in words)
        named = sorted(counts, key=lambda word: (-counts[word], word))
        yield Fault(
            f"{share(len(found), len(rows))} rows have words with look-alike letters of another script: "
            f"{listed([spelled(word, subject.language) for word in named])}",
            "write each word in one script: to a tokenizer these are other letters",
            [row for row, _ in found],
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

"""Which columns of a source hold options and answers, told by what stands in them rather than by their names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tilbench.lint.subjects import DatasetSubject

__all__ = ["answer_column", "label_of", "option_columns"]

_LABELS = {label: label for label in "ABCDEFGHIJKL0123456789"} | {"А": "A", "Б": "B", "С": "C", "Д": "D"}
"""Letters and numbers of options; Cyrillic letters stand for the first four in published exams."""
_MOSTLY = 0.9


def label_of(value: object) -> str | None:
    """Return the Latin letter or the digit of an answer; None where it is no label."""
    return _LABELS.get(str(value).strip().upper().rstrip(").")) if value is not None else None


def option_columns(subject: DatasetSubject) -> list[str]:
    """Return the source's columns whose text is nearly always among the choices of the prepared row, in order."""
    kept = {question.id: {choice.strip() for choice in question.choices} for question in subject.questions}
    pairs = [(raw, kept[str(raw.get("id"))]) for raw in subject.source if str(raw.get("id")) in kept]
    found: list[str] = []
    for column in subject.source[0] if subject.source else ():
        texts = [(raw[column].strip(), choices) for raw, choices in pairs if isinstance(raw.get(column), str)]
        if texts and sum(text in choices for text, choices in texts) >= _MOSTLY * len(texts):
            found.append(column)
    return found


def answer_column(source: Sequence[Mapping[str, object]], options: Sequence[str]) -> str:
    """Return the column whose values are nearly all labels of options; "" where there is none or more than one.

    Letters are surer than digits, which may be anything.
    """
    letters: list[str] = []
    digits: list[str] = []
    for column in source[0] if source else ():
        values = [raw.get(column) for raw in source if raw.get(column) is not None]
        labels = [label for value in values if (label := label_of(value)) is not None]
        if column not in {*options, "id"} and len(set(labels)) > 1 and len(labels) >= _MOSTLY * len(values):
            (letters if all(label.isalpha() for label in labels) else digits).append(column)
    found = letters or digits
    return found[0] if len(found) == 1 else ""

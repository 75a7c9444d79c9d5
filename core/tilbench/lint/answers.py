"""Rules on right answers: lost on the way, unevenly spread, given away by length, beside a wrong chance level."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from tilbench.lint.chi_square import format_p, goodness_of_fit, independence, normal_tail
from tilbench.lint.finding import Fault, listed, share
from tilbench.lint.source import answer_column, label_of, option_columns
from tilbench.lint.subjects import DatasetSubject, TaskSubject

__all__ = [
    "answers_lost",
    "chance_misstated",
    "length_gives_away",
    "options_vary",
    "rows_lost",
    "source_unanswered",
    "task_chance_misstated",
    "unbalanced",
]

_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_ALPHA = 0.001
"""Largest p that is reported: many datasets are looked at."""


def _lost(subject: DatasetSubject) -> tuple[list[Mapping[str, object]], str]:
    """Return the source's rows that the dataset has not, and the column of answers ("" where none is sure).

    None are lost where preparation gives rows ids of its own: then nobody can tell.
    """
    kept = {row.id for row in subject.rows}
    lost = [raw for raw in subject.source if str(raw.get("id")) not in kept]
    if len(lost) == len(subject.source):
        return [], ""
    return lost, answer_column(subject.source, option_columns(subject)) if lost else ""


def answers_lost(subject: DatasetSubject) -> Iterator[Fault]:
    """Rows that preparation drops because of their answer."""
    lost, column = _lost(subject)
    if not column:
        return
    gone = Counter(label_of(raw[column]) for raw in lost)
    every = Counter(label_of(raw[column]) for raw in subject.source)
    labels = sorted(label for label in every if label is not None)
    statistic, p = independence([[gone[label] for label in labels], [every[label] - gone[label] for label in labels]])
    if p >= _ALPHA:
        return
    whole = [label for label in labels if gone[label] == every[label]]
    named = f"every one of the {sum(every[each] for each in whole):,} with answer {' or '.join(whole)}" if whole else ""
    counts = ", ".join(f"{label} {gone[label]:,}/{every[label]:,}" for label in labels)
    yield Fault(
        f"{share(len(lost), len(subject.source))} rows of the source are lost, by their answer: "
        f"{f'{named}; ' if named else ''}lost by answer {counts}; χ² = {statistic:.1f}, {format_p(p)}",
        "mend the preparation so that every answer is kept; a label whose index is 0 is easily taken for a missing one",
        [str(raw.get("id")) for raw in lost],
    )


def rows_lost(subject: DatasetSubject) -> Iterator[Fault]:
    """Rows that preparation drops for other reasons."""
    lost, _ = _lost(subject)
    if lost and not any(answers_lost(subject)):
        yield Fault(
            f"{share(len(lost), len(subject.source))} rows of the source are lost in preparation, "
            "as far as can be seen whatever their answer",
            "keep them, or say in the dataset's summary why they are left out",
            [str(raw.get("id")) for raw in lost],
        )


def source_unanswered(subject: DatasetSubject) -> Iterator[Fault]:
    """Rows of the source whose answer is empty, or the label of an option that they have not."""
    options = option_columns(subject)
    column = answer_column(subject.source, options)
    if not column:
        return
    bad = [
        str(raw.get("id"))
        for raw in subject.source
        if (label := label_of(raw[column])) is None
        or (label in _LETTERS[: len(options)] and raw.get(options[_LETTERS.index(label)]) in (None, ""))
    ]
    if bad:
        yield Fault(
            f"{share(len(bad), len(subject.source))} rows of the source have no answer, or one that names no option",
            "correct them at the source, or leave them out and say so in the dataset's summary",
            bad,
        )


def unbalanced(subject: DatasetSubject) -> Iterator[Fault]:
    """Right answers that are not evenly spread over the places of the options."""
    questions = subject.questions
    if not questions:
        return
    most = max(len(question.choices) for question in questions)
    seen = Counter(question.answer for question in questions)
    expected = [math.fsum(1 / len(q.choices) for q in questions if len(q.choices) > place) for place in range(most)]
    statistic, p = goodness_of_fit([seen[place] for place in range(most)], expected)
    if p < _ALPHA:
        ((place, count),) = seen.most_common(1)
        chance = math.fsum(1 / len(question.choices) for question in questions) / len(questions)
        yield Fault(
            f"the right answer is {_LETTERS[place % 26]} in {share(count, len(questions))} of the questions, chance "
            f"{chance:.1%}; χ² = {statistic:.1f}, {format_p(p)}",
            "compare scores with the commonest answer's share, or put the options in a seeded order",
        )


def length_gives_away(subject: DatasetSubject) -> Iterator[Fault]:
    """Right answers that are longer, or shorter, than the others more often than by chance."""
    questions = [question for question in subject.questions if len({len(c) for c in question.choices}) > 1]
    if not questions:
        return
    chance = math.fsum(1 / len(question.choices) for question in questions) / len(questions)
    for word, choose in (("longest", max), ("shortest", min)):
        right, variance = 0.0, 0.0
        for question in questions:
            lengths = [len(choice.strip()) for choice in question.choices]
            best = choose(lengths)
            tied = lengths.count(best)
            right += (lengths[question.answer] == best) / tied
            variance += 1 / (tied * len(lengths)) - 1 / len(lengths) ** 2
        excess = right - chance * len(questions)
        p = normal_tail(excess / math.sqrt(variance)) if variance > 0 else 1.0
        if excess > 0 and p < _ALPHA:
            yield Fault(
                f"always the {word} option would answer {right / len(questions):.1%} of the {len(questions):,} "
                f"questions whose options differ in length, chance {chance:.1%}, {format_p(p)}",
                "read scores beside that figure; in the cloze form compare acc with acc_char, which divides by length",
            )


_ROUNDED = 0.005
_CHANCE = re.compile(
    r"chance(?: level)?(?: is| of|:|,| =)?\s*"
    r"(?:(?P<above>\d+)\s*/\s*(?P<below>\d+)|(?P<number>\d+(?:[.,]\d+)?)\s*(?P<percent>%?))"
)


def chance_misstated(subject: DatasetSubject) -> Iterator[Fault]:
    """A chance level in a dataset's summary that its options do not give."""
    yield from _misstated(subject, _stated(subject.dataset.summary))


def task_chance_misstated(subject: TaskSubject) -> Iterator[Fault]:
    """A chance level in a task's settings or summary that its options do not give."""
    setting = subject.task.settings.get("chance")
    stated = [*_stated(subject.task.summary), *([setting] if isinstance(setting, int | float) else [])]
    if subject.scored is not None:
        yield from _misstated(subject.scored, stated)


def _misstated(subject: DatasetSubject, stated: Sequence[float]) -> Iterator[Fault]:
    questions = subject.questions
    chance = math.fsum(1 / len(question.choices) for question in questions) / len(questions) if questions else 0.0
    for value in stated:
        if questions and abs(value - chance) > _ROUNDED:
            numbers = sorted({len(question.choices) for question in questions})
            yield Fault(
                f"chance is said to be {value:.1%}, and its {len(questions):,} questions of "
                f"{listed([str(number) for number in numbers])} options give {chance:.1%}",
                "state the mean of 1 / options, or nothing: records have it beside every accuracy",
            )


def _stated(text: str) -> list[float]:
    return [_number(match) for match in _CHANCE.finditer(text)]


def _number(match: re.Match[str]) -> float:
    if match["below"]:
        return int(match["above"]) / max(1, int(match["below"]))
    value = float(match["number"].replace(",", "."))
    return value / 100 if match["percent"] else value


def options_vary(subject: DatasetSubject) -> Iterator[Fault]:
    """Questions with different numbers of options, whose chance is a mean."""
    questions = subject.questions
    counts = Counter(len(question.choices) for question in questions)
    if len(counts) > 1:
        chance = math.fsum(1 / len(question.choices) for question in questions) / len(questions)
        spread = ", ".join(f"{number} options {count:,}" for number, count in sorted(counts.items()))
        yield Fault(
            f"the number of options varies ({spread}), so chance is the mean of 1 / options, {chance:.1%}",
            "take the chance level from the record, not from the number of letters",
        )

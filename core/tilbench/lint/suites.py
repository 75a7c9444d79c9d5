"""Rules on a suite: what is counted twice, and what was trained on."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import combinations

from tilbench.contamination.items import parts
from tilbench.contamination.normalise import BOUNDARY
from tilbench.contamination.overlap import LETTERS, OverlapIndex
from tilbench.data.rows import Row
from tilbench.lint.finding import Fault, share
from tilbench.lint.subjects import SuiteSubject, TaskSubject

__all__ = ["macro_near_duplicates", "macro_repeats_rows", "not_read", "same_task", "trained_on"]


def _rows(task: TaskSubject) -> str:
    """Return what tells a task's rows from others: their digest, or their source where they were not read."""
    if task.planned.rows:
        return task.planned.used.dataset.fingerprint
    dataset = task.scored.dataset if task.scored else None
    if dataset is None or not (dataset.hub or dataset.path):  # a file of the data directory
        return json.dumps([task.planned.used.dataset.name, task.task.limit])
    place = (dataset.hub, dataset.config, dataset.split, dataset.path, sorted(dataset.where.items()))
    prepared = repr(dataset.prepare) if dataset.prepare else ""
    return json.dumps([*place, prepared, task.task.limit], default=str)


def _question(task: TaskSubject) -> str:
    """Return what tells a task's questions about a row from those of another task."""
    used = task.planned.used
    return json.dumps([used.metric, used.metric_version, used.settings, used.shots, used.examples], sort_keys=True)


def _macros_with(subject: SuiteSubject, names: Sequence[str]) -> list[str]:
    return [macro.name for macro in subject.suite.macros if set(names) <= set(macro.tasks)]


def same_task(subject: SuiteSubject) -> Iterator[Fault]:
    """Two tasks that ask the same of the same rows: one result under two names."""
    groups: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    for task in subject.tasks:
        groups[_rows(task), _question(task)].append(task.task.name)
    for names in groups.values():
        if len(names) > 1:
            macros = _macros_with(subject, names)
            counted = f", and macro {' and '.join(macros)} counts it {len(names)} times" if macros else ""
            yield Fault(
                f"tasks {' and '.join(names)} are one task: the same rows, metric and settings{counted}",
                f"keep {names[0]} and take out {' and '.join(names[1:])}",
            )


def macro_repeats_rows(subject: SuiteSubject) -> Iterator[Fault]:
    """A macro over two tasks on the same rows, asked otherwise: the rows count twice."""
    for macro in subject.suite.macros:
        groups: defaultdict[str, list[TaskSubject]] = defaultdict(list)
        for task in subject.tasks:
            if task.task.name in macro.tasks:
                groups[_rows(task)].append(task)
        for tasks in groups.values():
            names = [task.task.name for task in tasks]
            if len({_question(task) for task in tasks}) > 1:
                yield Fault(
                    f"macro {macro.name} counts the rows of {tasks[0].planned.used.dataset.name} {len(tasks)} times, "
                    f"by {' and '.join(names)}",
                    "keep one of them in the macro, unless the weight is meant",
                )


def macro_near_duplicates(subject: SuiteSubject) -> Iterator[Fault]:
    """Rows of one task of a macro that stand in another task of it, in the main or word for word."""
    for macro in subject.suite.macros:
        tasks = [task for task in subject.tasks if task.task.name in macro.tasks and task.planned.rows]
        for one, other in combinations(tasks, 2):
            if _rows(one) == _rows(other):
                continue
            index = OverlapIndex((row.id, parts(row)) for row in one.planned.rows)
            found = index.scan(" ".join(text for _, text in parts(row)) + BOUNDARY for row in other.planned.rows)
            bad = [row for row, item in found.items.items() if item.covered > 0.5]
            if bad:
                yield Fault(
                    f"macro {macro.name}: {share(len(bad), len(one.planned.rows))} rows of {one.task.name} stand for "
                    f"more than half in {other.task.name} too",
                    "take them out of one of the two",
                    bad,
                )


def trained_on(subject: SuiteSubject) -> Iterator[Fault]:
    """Rows that stand whole in the suite's own training text; those of fewer than 50 letters do by chance."""
    tasks = {_rows(task): task for task in subject.tasks if task.planned.rows}
    if not tasks or not subject.reference:
        return
    index = OverlapIndex((f"{key} {row.id}", parts(row)) for key, task in tasks.items() for row in task.planned.rows)
    found = index.scan(text + BOUNDARY for texts in subject.reference.values() for text in texts)
    for key, task in tasks.items():
        bad = [
            row.id
            for row in task.planned.rows
            if found.items[f"{key} {row.id}"].covered == 1 and _letters(row) >= LETTERS
        ]
        if bad:
            yield Fault(
                f"{share(len(bad), len(task.planned.rows))} rows of {task.planned.used.dataset.name} "
                f"({task.task.name}) stand whole in the reference text ({', '.join(subject.reference)})",
                "take them out of the training text; 'tilbench contamination' says how much of the others is there",
                bad,
            )


def _letters(row: Row) -> int:
    return max(sum(letter.isalnum() for letter in text) for _, text in parts(row))


def not_read(subject: SuiteSubject) -> Iterator[Fault]:
    """Tasks that could not be looked at."""
    missing = [task for task in subject.tasks if task.planned.missing]
    if missing:
        yield Fault(
            f"{share(len(missing), len(subject.suite.tasks))} tasks were not looked at; of {missing[0].task.name}: "
            f"{missing[0].planned.missing}",
            "lint again where their data is",
        )

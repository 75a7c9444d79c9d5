"""Reads a suite or a dataset as a run would, and asks every rule."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tilbench.config.suite import HarnessTask, Suite, Task
from tilbench.data.dataset import Dataset
from tilbench.data.resolve import load_rows, source_rows
from tilbench.errors import MissingDataset, TilbenchError, UnknownName
from tilbench.evaluation.plan import plan_tasks
from tilbench.kinds.language import Language
from tilbench.lint.finding import Finding, apply
from tilbench.lint.rules import DATASET_RULES, SUITE_RULES, TASK_RULES, UNUSABLE
from tilbench.lint.subjects import DatasetSubject, SuiteSubject, TaskSubject
from tilbench.registry import Registry
from tilbench.resolve.datasets import documents, find_dataset
from tilbench.resolve.suites import expand_suite, find_suite, suite_names

__all__ = ["lint"]

_STREAMED = 1000
"""Rows of a streamed dataset that are looked at: it may have no end."""


def lint(reference: str, registry: Registry, data_dir: Path | None) -> Iterator[Finding]:
    """Yield what is wrong with a suite (a name or a YAML file) or a dataset (a name or a file).

    Raises UnknownName for what is neither, and ConfigError for a suite that cannot be read.
    """
    reader = _Reader(registry, data_dir)
    if reference.endswith((".yaml", ".yml")) or reference in suite_names(registry):
        yield from reader.suite(expand_suite(find_suite(reference, registry), registry))
        return
    try:
        find_dataset(reference, registry, data_dir)
    except UnknownName:
        known = [*suite_names(registry), *registry.datasets.names()]
        raise UnknownName("suite or dataset", reference, known, "or name a file") from None
    yield from reader.dataset(reference)


class _Reader:
    """Reads each dataset once."""

    def __init__(self, registry: Registry, data_dir: Path | None) -> None:
        self._registry = registry
        self._data_dir = data_dir
        self._languages: dict[str, Language] = dict(registry.languages.all())
        self._read: dict[tuple[str, str], DatasetSubject] = {}

    def dataset(self, reference: str) -> Iterator[Finding]:
        try:
            subject = self._subject(reference, "", None)
        except MissingDataset as error:
            yield Finding("not-read", "note", reference, str(error), "lint again where its data is")
        except TilbenchError as error:
            yield _unusable(reference, error)
        else:
            yield from apply(DATASET_RULES, subject, subject.name)

    def suite(self, suite: Suite) -> Iterator[Finding]:
        subjects: list[TaskSubject] = []
        for task in suite.tasks:
            where = f"{suite.name}/{task.name}"
            try:
                subjects.append(self._task(suite, task))
            except TilbenchError as error:
                yield _unusable(where, error)
            else:
                yield from apply(TASK_RULES, subjects[-1], where)
        scored = {each.scored.name: each.scored for each in subjects if each.scored and each.scored.rows}
        for name, dataset in scored.items():
            tasks = [each.task.name for each in subjects if each.scored and each.scored.name == name]
            yield from apply(DATASET_RULES, dataset, f"{suite.name}/{','.join(tasks)}: {name}")
        yield from apply(SUITE_RULES, SuiteSubject(suite, subjects, self._reference(suite)), suite.name)

    def _task(self, suite: Suite, task: Task) -> TaskSubject:
        (planned,) = plan_tasks(suite, [task], self._registry, self._data_dir)
        language = self._languages.get(planned.used.dataset.language)
        every = list(self._languages.values())
        if isinstance(task, HarnessTask):  # it reads its own rows, and they are not ours to mend
            return TaskSubject(task, planned, language, languages=every)
        if planned.missing:
            name, dataset = find_dataset(task.dataset, self._registry, self._data_dir)
            return TaskSubject(task, planned, language, DatasetSubject(name, dataset, (), language), languages=every)
        scored = self._subject(task.dataset, task.language, task.limit)
        examples = self._subject(task.examples, "", None) if task.shots and task.examples is not None else None
        return TaskSubject(task, planned, language, scored, examples, every)

    def _subject(self, reference: str | Dataset, tag: str, limit: int | None) -> DatasetSubject:
        name, dataset = find_dataset(reference, self._registry, self._data_dir)
        tag = tag or dataset.language
        key = (repr(reference), tag)
        if key not in self._read:
            rows = load_rows(
                name, dataset, self._data_dir, limit=(limit or _STREAMED) if dataset.streaming else None
            ).rows
            source = source_rows(name, dataset, self._data_dir) if dataset.prepare else []
            raw = [columns for _, columns in source]
            self._read[key] = DatasetSubject(name, dataset, rows, self._languages.get(tag), raw)
        return self._read[key]

    def _reference(self, suite: Suite) -> dict[str, list[str]]:
        """Return the training texts that are on this machine."""
        found: dict[str, list[str]] = {}
        for name in suite.reference_text:
            try:
                found[name] = [each.text for each in documents(name, self._registry, self._data_dir)[1]]
            except TilbenchError:
                continue
        return found


def _unusable(where: str, error: TilbenchError) -> Finding:
    return Finding(UNUSABLE, "error", where, str(error), "mend it; a run would stop here")

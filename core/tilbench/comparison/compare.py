"""Which of two models is better, task by task and over all: their records paired item by item.

Only records whose task fingerprints agree are compared, and only on values that say what they are the ratio of
(`Value.of`). A reported figure has no items, and so is never compared with anything.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from tilbench.comparison.paired import ALPHA, Paired, Side, holm, pair, pool
from tilbench.errors import DataError, UnknownName
from tilbench.kinds.metric import Value
from tilbench.paths import file_digest
from tilbench.results.cells import Entry, finished
from tilbench.results.labels import model_labels, names_model
from tilbench.results.macro_parts import MACRO
from tilbench.results.reading import metric_scores
from tilbench.results.record import Record
from tilbench.results.store import RecordStore
from tilbench.results.wording import differences

__all__ = ["Comparison", "Model", "PooledTasks", "Skipped", "TaskComparison", "Winner", "compare_models"]

Winner = Literal["a", "b", "unclear", "too few", "identical"]
_Task = tuple[str, str]  # suite, name


@dataclass(frozen=True, slots=True)
class Model:
    """A model of the records. `label` is its name, with its fingerprint where the name is shared."""

    name: str
    fingerprint: str
    label: str

    def made(self, record: Record) -> bool:
        """Say whether a record is this model's, opened or not."""
        return record.model.name == self.name and record.model.fingerprint in (self.fingerprint, "none")


@dataclass(frozen=True, slots=True)
class TaskComparison:
    """One task that both models have done. `p` is Holm's over all tasks with rows enough, `paired.p` is not.

    scores: as recorded, each over the rows that its model answered. left_out: rows that one of the two did not answer;
    only the others are paired.
    """

    a: Record
    b: Record
    scores: tuple[Value, Value]
    paired: Paired
    left_out: int = 0
    p: float = math.nan

    @property
    def kind(self) -> tuple[str, str, str]:
        """What makes differences of several tasks one kind of number."""
        return self.a.task.metric, self.a.task.headline, self.scores[0].unit

    @property
    def winner(self) -> Winner:
        """Who is better (or higher, where neither end is better) at the level `ALPHA`, or why nobody is."""
        return _winner(self.paired, self.p, self.scores[0].direction)


@dataclass(frozen=True, slots=True)
class PooledTasks:
    """All tasks of one kind together: the plain mean of their differences. `p` is Holm's over the kinds."""

    tasks: tuple[TaskComparison, ...]
    paired: Paired
    p: float

    @property
    def winner(self) -> Winner:
        """Who is better on the mean of these tasks."""
        return _winner(self.paired, self.p, self.tasks[0].scores[0].direction)

    @property
    def ahead(self) -> tuple[int, int]:
        """On how many tasks each model scores better, believable or not."""
        sign = -1 if self.tasks[0].scores[0].direction == "lower" else 1
        gains = [sign * task.paired.difference for task in self.tasks]
        return sum(gain > 0 for gain in gains), sum(gain < 0 for gain in gains)


@dataclass(frozen=True, slots=True)
class Skipped:
    """A task that was not compared, and why."""

    suite: str
    task: str
    reason: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """Everything that two models' records say about which is better."""

    a: Model
    b: Model
    tasks: tuple[TaskComparison, ...]
    pooled: tuple[PooledTasks, ...]
    skipped: tuple[Skipped, ...]


def compare_models(
    store: RecordStore,
    a: str,
    b: str,
    *,
    suite: str = "",
    tasks: Collection[str] = (),
    fingerprints: Collection[str] = (),
) -> Comparison:
    """Compare the models that `a` and `b` name (see `_find`) on the tasks that both have done.

    Of a task that both did on several samples of its rows, the largest counts. suite, tasks, fingerprints: what is
    looked at; all, if empty.

    A task whose items are missing or are not those recorded is left out, with the reason. Raises UnknownName for a name
    that no record has, and DataError where fingerprints of a task differ or where there is nothing to compare.
    """
    entries = list(store.records())
    models = _models([record for _, record in entries])
    first, second = _find(a, models), _find(b, models)
    _check_names(suite, tasks, [record for _, record in entries])
    entries = [
        (path, record)
        for path, record in sorted(entries, key=finished, reverse=True)
        if suite in ("", record.task.suite)
        and (not tasks or record.task.name in tasks)
        and (not fingerprints or record.task.fingerprint in fingerprints)
    ]
    entries.sort(key=lambda entry: (entry[1].task.suite, entry[1].task.position, entry[1].source != "measured"))
    sides = [[entry for entry in entries if model.made(entry[1])] for model in (first, second)]
    found, skipped = _compare_tasks(store, first, second, *sides)
    if not found:
        reasons = list(dict.fromkeys(f"{each.task}: {each.reason}" for each in skipped))
        raise DataError(
            f"nothing of {first.label} and {second.label} can be compared: "
            f"{'; '.join(reasons) or 'they have no such records'}"
        )
    adjusted = _adjusted([task.paired for task in found])
    done = tuple(replace(task, p=p) for task, p in zip(found, adjusted, strict=True))
    return Comparison(first, second, done, _pooled(done), tuple(skipped))


def _models(records: Sequence[Record]) -> list[Model]:
    """Return every model, without the blank ones ("none") of a name that was opened another time."""
    known = dict.fromkeys((record.model.name, record.model.fingerprint) for record in records)
    opened = {name for name, fingerprint in known if fingerprint != "none"}
    real = [(name, print_) for name, print_ in known if print_ != "none" or name not in opened]
    labels = model_labels(real)
    return [Model(name, print_, labels[name, print_]) for name, print_ in real]


def _find(asked: str, models: Sequence[Model]) -> Model:
    """Return the model of this name or label, else NAME#MARK (`names_model`), else of the beginning of a name."""
    exact = [model for model in models if asked in (model.name, model.label)]
    marked = [model for model in models if names_model(asked, (model.name, model.fingerprint))]
    begun = [
        model
        for model in models
        if model.name.startswith(asked) or (len(asked) >= 4 and model.fingerprint.startswith(asked))
    ]
    matches = exact or marked or begun
    if len(matches) == 1:
        return matches[0]
    if not asked or not matches:
        raise UnknownName("model", asked, {model.label for model in models}, "models are named as in the records")
    shown = ", ".join(sorted(repr(model.label) for model in matches)[:8])
    what = "is the name of two models" if exact else "begins several models' names"
    raise DataError(f"{asked!r} {what}; name one of {shown}")


def _check_names(suite: str, tasks: Collection[str], records: Sequence[Record]) -> None:
    suites = {record.task.suite for record in records}
    if suite and suite not in suites:
        raise UnknownName("suite", suite, suites)
    names = {record.task.name for record in records if suite in ("", record.task.suite)}
    for task in tasks:
        if task not in names:
            raise UnknownName("task", task, names)


def _compare_tasks(
    store: RecordStore, a: Model, b: Model, of_a: Sequence[Entry], of_b: Sequence[Entry]
) -> tuple[list[TaskComparison], list[Skipped]]:
    """Compare each task fingerprint once, whatever the suites it is in, and say why others are not."""
    done: list[TaskComparison] = []
    skipped: list[Skipped] = []
    usable = [[entry for entry in side if _usable(entry)] for side in (of_a, of_b)]
    pairs: dict[str, tuple[Entry, Entry]] = {}
    for entry in usable[0]:
        fingerprint = entry[1].task.fingerprint
        same = [other for other in usable[1] if other[1].task.fingerprint == fingerprint]
        if same and fingerprint not in pairs:
            pairs[fingerprint] = entry, min(same, key=lambda other: _key(other) != _key(entry))
    _refuse(a, b, usable[0], usable[1], pairs)
    largest = _largest(pairs)
    for fingerprint, (left, right) in pairs.items():
        if (most := largest[_but_rows(left)]) != fingerprint:
            reason = f"its record on {_rows(left)} rows; the one on {_rows(pairs[most][0])} is compared"
            skipped.append(Skipped(*_key(left), reason))
            continue
        try:
            compared = _compare(store, left, right)
        except DataError as error:  # the other tasks can be compared all the same
            compared = str(error)
        if isinstance(compared, TaskComparison):
            done.append(compared)
        else:
            skipped.append(Skipped(*_key(left), compared))
    for key in dict.fromkeys(_key(entry) for entry in (*of_a, *of_b)):
        entries = [[entry for entry in side if _key(entry) == key] for side in (of_a, of_b)]
        if not any(entry[1].task.fingerprint in pairs for side in entries for entry in side):
            reasons = [_lacking(model, side) for model, side in zip((a, b), entries, strict=True)]
            skipped.append(Skipped(*key, "; ".join(dict.fromkeys(filter(None, reasons)))))
    return done, skipped


def _largest(pairs: Mapping[str, tuple[Entry, Entry]]) -> dict[str, str]:
    """Return of each task the fingerprint on the most rows: a sample beside the whole would count rows twice."""
    best: dict[str, str] = {}
    for fingerprint, (left, _) in pairs.items():
        if _rows(left) > _rows(pairs[best.setdefault(_but_rows(left), fingerprint)][0]):
            best[_but_rows(left)] = fingerprint
    return best


def _but_rows(entry: Entry) -> str:
    """Return what a task is but for the rows that were scored, and its place in the suite."""
    task = entry[1].task
    return f"{task.dataset.name}: {task.model_dump_json(exclude={'dataset', 'fingerprint', 'position'})}"


def _rows(entry: Entry) -> int:
    return entry[1].task.dataset.rows


def _key(entry: Entry) -> _Task:
    return entry[1].task.suite, entry[1].task.name


def _usable(entry: Entry) -> bool:
    return entry[1].status == "done" and entry[1].source != "reported"


def _refuse(a: Model, b: Model, of_a: Sequence[Entry], of_b: Sequence[Entry], pairs: Collection[str]) -> None:
    """Raise DataError for a task that both have done, and not the same one."""
    for entry in of_a:
        for other in of_b:
            prints = {entry[1].task.fingerprint, other[1].task.fingerprint}
            if _key(other) == _key(entry) and not prints & set(pairs):
                what = "; ".join(differences(entry[1].task, other[1].task))
                raise DataError(
                    f"{'/'.join(_key(entry))} is not the same task in the records of {a.label} and {b.label}: {what}; "
                    "score both on one, or name other tasks with --tasks"
                )


def _lacking(model: Model, entries: Sequence[Entry]) -> str:
    if not entries:
        return f"no record of {model.label}"
    if any(_usable(entry) for entry in entries):
        return ""
    record = max(entries, key=finished)[1]
    if record.source == "reported":
        return f"only a reported figure of {model.label}, which has no items to pair"
    return f"{model.label} {record.status}: {record.reason}"


def _compare(store: RecordStore, left: Entry, right: Entry) -> TaskComparison | str:
    """Return the comparison of two records of one task, or why there is none."""
    (_, a), (_, b) = left, right
    one, two = a.headline, b.headline
    if one is None or two is None or one.of is None or one.of != two.of:
        return _no_items(a, b)
    (of_a, clusters), (of_b, other) = _side(store, left, one.of, one), _side(store, right, one.of, two)
    if clusters != other:
        raise DataError(f"{left[0]} and {right[0]}: their items have other ids or clusters, and the same task")
    rows = sorted(of_a.keys() & of_b.keys())
    if not rows:
        return "no row was answered by both"
    sides = [Side([side[row][0] for row in rows], [side[row][1] for row in rows]) for side in (of_a, of_b)]
    paired = pair(sides[0], sides[1], [clusters[row] for row in rows])
    if paired is None:
        few = len({clusters[row] for row in rows}) < 2
        return "one document shows no spread" if few else "an item has a number that is not finite"
    return TaskComparison(a, b, (one, two), paired, len(clusters) - len(rows))


def _no_items(a: Record, b: Record) -> str:
    """Return why the headlines of two records have no parts of items to pair, and what can be compared instead."""
    if a.task.metric == MACRO:
        return "a mean of tasks has no items of its own to pair; compare its tasks"
    why = f"its {a.task.headline} has no items of its own to pair"
    others = [name for name in a.values.keys() & b.values.keys() if a.values[name].of and b.values[name].of]
    if "headline" in a.task.settings and others:
        return f"{why}; score a task with 'headline: {' or '.join(sorted(others))}'"
    return f"{why}; if the record is old, score it again"


def _side(
    store: RecordStore, entry: Entry, of: tuple[str, str], score: Value
) -> tuple[dict[str, tuple[float, float]], dict[str, str]]:
    """Return of each answered item its part of the ratio, and of every item its cluster.

    Raises DataError where they are not as recorded.
    """
    path, record = entry
    file = path.with_suffix(".parquet")
    if not file.is_file():
        raise DataError(f"{file}: the items of this record are missing, and a comparison needs them")
    if file_digest(file) != record.items:
        raise DataError(f"{file}: not the file that was recorded: its SHA-256 differs")
    items = store.items(path)
    try:
        scores = metric_scores(items)
        parts = {each.item: (each.values[of[0]], each.values[of[1]] if of[1] else 1.0) for each in scores}
    except KeyError as error:
        raise DataError(
            f"{file}: an item lacks the number {error}, which {record.task.headline} is made of; score it again with "
            "this tilbench"
        ) from None
    if len({each.item for each in items}) != len(items):
        raise DataError(f"{file}: two items have one id")
    found = Side([part[0] for part in parts.values()], [part[1] for part in parts.values()]).ratio
    if not (math.isclose(found, score.value, rel_tol=1e-9, abs_tol=1e-12) or not math.isfinite(found)):
        raise DataError(f"{path}: {record.task.headline} is {score.value}, and its items give {found}")
    return parts, {each.item: each.cluster for each in items}


def _pooled(tasks: Sequence[TaskComparison]) -> tuple[PooledTasks, ...]:
    kinds: dict[tuple[str, str, str], list[TaskComparison]] = {}
    for task in tasks:
        kinds.setdefault(task.kind, []).append(task)
    groups = [tuple(group) for group in kinds.values() if len(group) > 1]
    pooled = [pool([(task.a.task.dataset.fingerprint, task.paired) for task in group]) for group in groups]
    return tuple(PooledTasks(*each) for each in zip(groups, pooled, _adjusted(pooled), strict=True))


def _adjusted(found: Sequence[Paired]) -> list[float]:
    """Return Holm's p of each. One with too few rows cannot be claimed, so it is no further test and keeps its own."""
    adjusted = iter(holm([each.p for each in found if not each.too_few]))
    return [each.p if each.too_few else next(adjusted) for each in found]


def _winner(paired: Paired, p: float, direction: str) -> Winner:
    if paired.identical:
        return "identical"
    if paired.too_few:
        return "too few"
    if p >= ALPHA or paired.difference == 0:
        return "unclear"
    return "a" if (paired.difference < 0) == (direction == "lower") else "b"

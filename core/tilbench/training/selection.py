"""The choice of a checkpoint by one named value of a suite, with what it rests on."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tilbench.checkpoints.folder import checkpoints, find_checkpoint, is_checkpoint, read_info
from tilbench.comparison.compare import compare_models
from tilbench.config.references import split_folder
from tilbench.errors import CheckpointError, DataError, MissingDataset, UnknownName
from tilbench.evaluation.runner import SuiteRun, run_suite
from tilbench.kinds.executor import Executor
from tilbench.paths import atomic_path
from tilbench.progress import Progress
from tilbench.results.markdown import escape, table
from tilbench.results.record import Record
from tilbench.results.store import RecordStore

__all__ = ["Candidate", "Choice", "candidates", "choose_checkpoint", "select_checkpoint"]


@dataclass(frozen=True, slots=True)
class Candidate:
    """One checkpoint and its value, with the interval where there is one."""

    model: str
    step: int | None
    fingerprint: str
    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class Choice:
    """The chosen checkpoint and all that it was chosen from, the best first.

    direction: whether a lower or a higher value is better. task_fingerprint: of rows, metric version and settings, the
    same for all candidates. p: of the paired test of the best against the second, None where there is no second or
    the metric has no pairs; above 0.05 these rows cannot tell the two apart.
    """

    suite: str
    task: str
    task_fingerprint: str
    value: str
    unit: str
    direction: str
    candidates: tuple[Candidate, ...]
    p: float | None

    @property
    def chosen(self) -> Candidate:
        """The best; the earliest step of equals."""
        return self.candidates[0]

    def as_json(self) -> dict[str, Any]:
        """Return the evidence as plain data."""
        return {"chosen": self.chosen.model} | asdict(self)

    def as_table(self) -> str:
        """Return the evidence as a Markdown table."""
        lines = [
            f"# {self.chosen.model}",
            "",
            f"Chosen by {self.value} ({self.unit}, {self.direction} is better): task {self.task}, suite {self.suite}.",
            *([] if self.p is None else [_believed(self.p)]),
            "",
            *table(("checkpoint", "step", "value", "95% interval"), map(_row, self.candidates), "lrrl"),
        ]
        return "\n".join(lines) + "\n"


def _row(each: Candidate) -> tuple[str, ...]:
    interval = "" if each.low is None or each.high is None else f"{each.low:.4f} … {each.high:.4f}"
    return (escape(each.model), "" if each.step is None else str(each.step), f"{each.value:.4f}", interval)


def _believed(p: float) -> str:
    tells = "is better than the second" if p < 0.05 else "cannot be told from the second on these rows"
    return f"It {tells} (paired test, p = {p:.3g})."


def select_checkpoint(
    run: SuiteRun,
    executor: Executor,
    progress: Progress,
    value: str = "",
    *,
    finished: Callable[[str], object] = lambda model: None,
) -> Choice:
    """Score the checkpoints of `run` on its one task, and choose by `value` (the task's headline, if it is empty).

    The evidence, `selection.json` and `selection.md`, goes beside the folder of records. finished: told of each model
    that is scored. Raises MissingDataset where the task's rows are not here, and what `choose_checkpoint` raises.
    """
    if run.tasks[0].missing:
        raise MissingDataset(run.tasks[0].missing)
    records: list[Record] = []
    for share in run_suite(run, executor, progress):
        records += [record for record in share.records if record.task.name == run.tasks[0].used.name]
        finished(share.source.name)
    choice = choose_checkpoint(records, RecordStore(run.out), value)
    evidence = {
        "selection.json": json.dumps(choice.as_json(), indent=2, ensure_ascii=False) + "\n",
        "selection.md": choice.as_table(),
    }
    for name, text in evidence.items():
        with atomic_path(run.out.parent / name) as aside:
            aside.write_text(text, encoding="utf-8")
    return choice


def candidates(runs: Sequence[str]) -> list[str]:
    """Return the references of the checkpoints that `runs` (RUN, RUN@STEP or a checkpoint's folder) mean.

    Raises CheckpointError where one is no run or has no checkpoint.
    """
    found: dict[str, None] = {}
    for run in runs:
        folder, step = split_folder(run)
        find_checkpoint(folder, step)
        if step is not None or is_checkpoint(folder):
            found[run.rstrip("/")] = None
        else:
            found |= dict.fromkeys(f"{run.rstrip('/')}@{read_info(each).step}" for each in checkpoints(folder))
    if len(found) < 2:
        raise CheckpointError(f"{', '.join(found)} is a single checkpoint, so there is nothing to choose from")
    return list(found)


def choose_checkpoint(records: Sequence[Record], store: RecordStore, value: str = "") -> Choice:
    """Return the choice among records of one task, by `value` (the task's headline, if empty).

    Raises DataError where a checkpoint has no value, where the tasks differ, or where neither end is better;
    UnknownName for a value that the metric does not have.
    """
    first = records[0]
    for record in records:
        if record.status != "done":
            raise DataError(f"{record.model.name} has no result on task {record.task.name}: {record.reason}")
        if record.task.fingerprint != first.task.fingerprint:
            raise DataError(f"{record.model.name} was scored on another version of task {record.task.name}")
    name = value or first.task.headline
    if name not in first.values:
        raise UnknownName(f"value of task {first.task.name}", name, list(first.values))
    score = first.values[name]
    if score.direction == "none":
        raise DataError(f"neither end of {name} is better, so nothing can be chosen by it; name another with --value")
    sign = 1 if score.direction == "lower" else -1
    found = [_candidate(record, name) for record in records]
    if bad := next((each for each in found if not math.isfinite(each.value)), None):
        raise DataError(f"{bad.model}: {name} is {bad.value}, which cannot be compared")
    ranked = sorted(found, key=lambda each: (sign * each.value, each.step or 0))
    return Choice(
        suite=first.task.suite,
        task=first.task.name,
        task_fingerprint=first.task.fingerprint,
        value=name,
        unit=score.unit,
        direction=score.direction,
        candidates=tuple(ranked),
        p=_p(store, ranked, first) if name == first.task.headline else None,
    )


def _candidate(record: Record, name: str) -> Candidate:
    score, model = record.values[name], record.model
    return Candidate(model.name, model.step, model.fingerprint, score.value, score.low, score.high)


def _p(store: RecordStore, ranked: Sequence[Candidate], record: Record) -> float | None:
    """Return the p of the best against the second on this task; None where there is no paired test."""
    best, second = ranked[:2]
    if best.fingerprint == second.fingerprint:
        return None
    names = [f"{each.model}#{each.fingerprint}" for each in (best, second)]
    found = compare_models(store, *names, suite=record.task.suite, tasks=[record.task.name])
    return found.tasks[0].paired.p if found.tasks else None

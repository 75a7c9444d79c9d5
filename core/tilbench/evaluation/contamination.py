"""Checks a run's items against a training text, and adds to its records what models score without those found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

from tilbench.contamination.items import parts
from tilbench.contamination.overlap import RULE, Item, ItemOverlap, Overlap, OverlapIndex
from tilbench.errors import Refused
from tilbench.evaluation.plan import PlannedTask
from tilbench.evaluation.training_text import stream_text
from tilbench.kinds.metric import ItemScore, Metric, Value
from tilbench.registry import Registry
from tilbench.results.reading import metric_scores
from tilbench.results.record import CONTAMINATED, Contamination, Record
from tilbench.results.store import RecordStore

__all__ = ["ContaminationCheck", "check_tasks", "clean_values", "with_contamination"]


@dataclass(frozen=True, slots=True)
class ContaminationCheck:
    """What of the items of a run stands in `against`."""

    against: str
    overlap: Overlap

    def of(self, task: PlannedTask) -> Mapping[str, ItemOverlap]:
        """Return what was found of each row of a task, by its id."""
        return {row.id: self.overlap.items[_key(task, row.id)] for row in task.rows}

    def summary(self, task: PlannedTask, clean: Mapping[str, Value] = MappingProxyType({})) -> Contamination:
        """Return what a record says of it. clean: the values of the clean rows, where they are known."""
        found = self.of(task)
        return Contamination(
            against=self.against,
            fingerprint=self.overlap.fingerprint,
            documents=self.overlap.documents,
            bytes=self.overlap.bytes,
            rule=RULE,
            n=len(found),
            flagged=sum(item.covered > 0 for item in found.values()),
            too_short=sum(item.short for item in found.values()),
            clean=dict(clean),
            parts=dict(sorted(Counter(part for item in found.values() for part in item.parts).items())),
        )

    def lines(self, tasks: Sequence[PlannedTask]) -> Iterator[str]:
        """Yield a line for each task that was read."""
        for task in tasks:
            if task.rows:
                found = self.summary(task)
                named = ", ".join(f"{count} by {part}" for part, count in found.parts.items())
                short = f"; {found.too_short} too short to be looked for" if found.too_short else ""
                where = f"{found.flagged} of {found.n} rows ({found.flagged / found.n:.1%}) stand in {self.against}"
                yield f"{task.used.name}: {where}{f': {named}' if named else ''}{short}"


def check_tasks(
    tasks: Sequence[PlannedTask], references: Sequence[str], registry: Registry, data_dir: Path | None
) -> ContaminationCheck:
    """Look for the rows of all tasks in the texts, in one pass. Raises what `stream_text` raises."""
    streams = [stream_text(reference, registry, data_dir) for reference in references]
    overlap = OverlapIndex(_items(tasks)).scan(piece for stream in streams for piece in stream)
    return ContaminationCheck(", ".join(references), overlap)


def _items(tasks: Sequence[PlannedTask]) -> Iterator[Item]:
    """Yield the rows of all tasks; those of tasks on the same rows once."""
    by_rows = {task.used.dataset.fingerprint: task for task in tasks if task.rows}
    for task in by_rows.values():
        for row in task.rows:
            yield _key(task, row.id), parts(row)


def _key(task: PlannedTask, row: str) -> str:
    return f"{task.used.dataset.fingerprint} {row}"


def with_contamination(record: Record, task: PlannedTask, check: ContaminationCheck, store: RecordStore) -> Record:
    """Return a finished record with what was found and the values of the clean rows, written to `store`.

    Each row's numbers gain `contaminated`, the share of it that was found.
    """
    if record.status != "done" or task.metric is None:
        return record
    found, place = check.of(task), store.place(record)
    items = [
        replace(each, values={**each.values, CONTAMINATED: found[each.item].covered}) for each in store.items(place)
    ]
    contamination = check.summary(task, clean_values(task.metric, items))
    checked = record.model_copy(update={"contamination": contamination})
    store.write(checked, items)
    return store.read(store.place(checked))


def clean_values(metric: Metric, items: Sequence[ItemScore]) -> Mapping[str, Value]:
    """Return what a metric makes of the rows of which nothing was found; nothing where none is left."""
    scores = metric_scores([each for each in items if not each.values[CONTAMINATED]])
    try:
        return metric.aggregate(scores) if scores else {}
    except Refused:
        return {}

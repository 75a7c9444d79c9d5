"""The mean of one value over several tasks of a suite: its interval, and the record that keeps it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from tilbench.config.suite import Macro, Suite
from tilbench.errors import ConfigError
from tilbench.kinds.metric import Direction, ItemScore, Value
from tilbench.results.macro_parts import MACRO, macro_fingerprint
from tilbench.results.record import DatasetUsed, Record, TaskUsed
from tilbench.results.statistics import LEVEL, Interval, Spread, estimate, student_quantile, summed
from tilbench.results.store import RecordStore

__all__ = ["macro_items", "macro_score", "record_macros"]


def macro_items(records: Sequence[Record], value: str) -> list[ItemScore]:
    """Return the parts of a macro: of each task its value and rows; its error, interval and chance where it has them.

    The cluster of a part is its dataset: tasks on the same rows are not independent.
    """
    return [
        ItemScore(record.task.name, record.task.dataset.fingerprint, _part(record.values[value])) for record in records
    ]


def _part(score: Value) -> Mapping[str, float]:
    known = {"stderr": score.stderr, "low": score.low, "high": score.high, "chance": score.chance}
    spread = {name: number for name, number in known.items() if number is not None}
    return {"value": score.value, "n": float(score.n), **spread}


def macro_score(items: Sequence[ItemScore], unit: str, direction: Direction, weight: str = "task") -> Value:
    """Return the mean of the parts' values: every task counts once, or ("row") as often as it has rows.

    The standard error is √Σ (w se)² / Σ w for tasks on different rows. Those on the same rows (`cluster`) may err
    alike, so theirs are added as they are: Σ w se. There is none where a part has none. The interval is Student's, with
    Satterthwaite's degrees of freedom of those that the parts' own intervals show. Rows count once, and chance is the
    mean of the parts'.
    """
    parts = [each.values for each in items]
    weights = [part["n"] if weight == "row" else 1.0 for part in parts]
    total = math.fsum(weights)
    mean = math.fsum(part["value"] * each for part, each in zip(parts, weights, strict=True)) / total
    interval = None
    if all("stderr" in part for part in parts):
        shares = [weighed / total for weighed in weights]
        spreads, errors = dict[str, Spread](), dict[str, float]()
        for each, share in zip(items, shares, strict=True):
            spreads[each.cluster] = _alike(spreads.get(each.cluster), _spread(each.values, share))
            errors[each.cluster] = errors.get(each.cluster, 0.0) + each.values["stderr"] * share
        found = summed(list(spreads.values())).interval(mean)
        interval = Interval(found.low, found.high, math.hypot(*errors.values()))
    rows_of: dict[str, float] = {}
    for each in items:
        rows_of[each.cluster] = max(rows_of.get(each.cluster, 0.0), each.values["n"])
    chance = None
    if all("chance" in part for part in parts):
        chance = math.fsum(part["chance"] * each for part, each in zip(parts, weights, strict=True)) / total
    n = int(sum(rows_of.values()))
    return estimate(mean, interval, n, unit, direction, chance=chance)


def _alike(one: Spread | None, other: Spread) -> Spread:
    """Return the spread of the sum of two estimates that err alike, as those on the same rows may."""
    return other if one is None else Spread(one.stderr + other.stderr, min(one.df, other.df))


def _spread(part: Mapping[str, float], share: float) -> Spread:
    """Return the spread of a part, `share` of the mean, with the degrees of freedom that its interval shows.

    The narrower side of an interval is t(df) errors wide, unless it ends where the value cannot go on. A share of 0 or
    1 has no error of its own, but its interval says how far off it may be.
    """
    stderr, normal = part["stderr"], student_quantile(math.inf)
    if "low" not in part or "high" not in part:
        return Spread(stderr * share, math.inf)
    sides = sorted([part["high"] - part["value"], part["value"] - part["low"]])
    if stderr == 0:
        return Spread(sides[1] / normal * share, math.inf)
    widths = [side / stderr for side in sides if side > normal * stderr]
    from scipy.special import stdtridf

    df = max(1.0, float(stdtridf(0.5 + LEVEL / 2, widths[0]))) if widths else math.inf
    return Spread(stderr * share, df)


def record_macros(suite: Suite, records: Sequence[Record], store: RecordStore) -> list[Record]:
    """Return a record for each macro of the suite whose tasks were all done, written where it is new."""
    made: list[Record] = []
    for macro in suite.macros:
        parts = [record for name in macro.tasks for record in records if record.task.name == name]
        if len(parts) == len(macro.tasks) and all(part.status == "done" for part in parts):
            made.append(_record(suite, macro, parts, store))
    return made


def _record(suite: Suite, macro: Macro, parts: Sequence[Record], store: RecordStore) -> Record:
    for part in parts:
        if macro.value not in part.values:
            raise ConfigError(
                f"suite {suite.name}, macro {macro.name}: task {part.task.name} has no value {macro.value!r}; it has "
                f"{', '.join(sorted(part.values))}"
            )
    task = _task(suite, macro, parts)
    model = parts[0].model
    items = macro_items(parts, macro.value)
    first = parts[0].values[macro.value]
    values = {macro.value: macro_score(items, first.unit, first.direction, macro.weight)}
    found = store.find(suite.name, macro.name, task.fingerprint, model.name, model.fingerprint)
    if found is not None and found.values == values:
        return found
    record = Record(
        task=task,
        model=model,
        values=values,
        environment=parts[0].environment,
        measured=parts[0].measured.model_copy(update={"wall_seconds": 0.0, "requests": 0, "reused": 0, "tokens": 0}),
    )
    store.write(record, items)
    return record


def _task(suite: Suite, macro: Macro, parts: Sequence[Record]) -> TaskUsed:
    fingerprint = macro_fingerprint(macro.value, macro.weight, [part.task.fingerprint for part in parts])
    rows = sum(part.task.dataset.rows for part in parts)
    return TaskUsed(
        suite=suite.name,
        suite_version=suite.version,
        name=macro.name,
        position=len(suite.tasks) + suite.macros.index(macro),
        version=1,
        metric=MACRO,
        metric_version=1,
        headline=macro.value,
        settings={"tasks": macro.tasks, "value": macro.value, "weight": macro.weight},
        seed=suite.seed,
        machine=next((part.task.machine for part in parts if part.task.machine), ""),
        dataset=DatasetUsed(name="+".join(macro.tasks), origin="macro", fingerprint=fingerprint, rows=rows, total=rows),
        fingerprint=fingerprint,
    )

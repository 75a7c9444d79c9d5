"""A comparison as typed rows, as lines for people and as a DataFrame."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from tilbench.comparison.compare import Comparison, Model, PooledTasks, Skipped, TaskComparison, Winner
from tilbench.comparison.paired import Paired
from tilbench.comparison.verdict import caveats, pooled_caveats, pooled_verdict, scores_in_words, verdict

if TYPE_CHECKING:
    from pandas import DataFrame

__all__ = ["ComparedMean", "ComparedTask", "ComparisonReport"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedTask:
    """Models A and B on one task.

    a, b: their values, in `unit`, each over the rows that its model answered. difference: a − b over the `n` rows that
    both answered, with its 95% interval and standard error. p: two-sided, by `test`. p_holm: the same, adjusted for all
    tasks that were compared; the winner is decided by it. clusters: independent rows. effective: as how many rows of
    equal length they count; None where rows count alike. detectable: the difference that as many rows would show in 80%
    of tries. left_out: rows that one of the two did not answer.
    """

    suite: str
    task: str
    headline: str
    unit: str
    direction: str
    a: float
    b: float
    chance: float | None
    winner: Winner
    difference: float
    low: float
    high: float
    stderr: float
    p: float
    p_holm: float
    test: str
    n: int
    clusters: int
    effective: float | None
    detectable: float
    only_a_right: int | None
    only_b_right: int | None
    left_out: int
    verdict: str
    caveats: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedMean:
    """Models A and B on the mean of several tasks (`SUITE/TASK`) of one kind; fields as in `ComparedTask`."""

    tasks: list[str]
    headline: str
    unit: str
    winner: Winner
    difference: float
    low: float
    high: float
    stderr: float
    p: float
    p_holm: float
    test: str
    n: int
    clusters: int
    effective: float | None
    detectable: float
    a_ahead: int
    b_ahead: int
    verdict: str
    caveats: list[str]


@dataclass(frozen=True, slots=True, repr=False)
class ComparisonReport:
    """What a comparison of two models found. Its text is what `tilbench compare` prints."""

    found: Comparison

    @property
    def a(self) -> Model:
        """Model A."""
        return self.found.a

    @property
    def b(self) -> Model:
        """Model B."""
        return self.found.b

    @property
    def tasks(self) -> list[ComparedTask]:
        """The tasks that both models have done."""
        return [_task(self.found, task) for task in self.found.tasks]

    @property
    def pooled(self) -> list[ComparedMean]:
        """Tasks of one kind together, where there are several."""
        return [_mean(self.found, each) for each in self.found.pooled]

    @property
    def not_compared(self) -> list[Skipped]:
        """The tasks that were not compared, and why."""
        return list(self.found.skipped)

    def data(self) -> dict[str, Any]:
        """Return everything as plain data, as `tilbench compare --json` prints it."""
        return {
            "a": {"name": self.a.name, "fingerprint": self.a.fingerprint},
            "b": {"name": self.b.name, "fingerprint": self.b.fingerprint},
            "tasks": [asdict(row) for row in self.tasks],
            "pooled": [asdict(row) for row in self.pooled],
            "not_compared": [asdict(row) for row in self.not_compared],
        }

    def to_frame(self) -> DataFrame:
        """Return a row per task, with the fields of `ComparedTask` as columns."""
        import pandas

        return pandas.DataFrame([asdict(task) for task in self.tasks])

    def __repr__(self) -> str:
        return "\n".join(_lines(self.found))


def _figures(paired: Paired, p: float) -> dict[str, Any]:
    return {
        "difference": paired.difference,
        "low": paired.interval.low,
        "high": paired.interval.high,
        "stderr": paired.interval.stderr,
        "p": paired.p,
        "p_holm": p,
        "test": paired.test,
        "n": paired.n,
        "clusters": paired.clusters,
        "effective": paired.effective if math.isfinite(paired.effective) else None,
        "detectable": paired.detectable,
    }


def _task(found: Comparison, task: TaskComparison) -> ComparedTask:
    a, b = task.scores
    return ComparedTask(
        suite=task.a.task.suite,
        task=task.a.task.name,
        headline=task.a.task.headline,
        unit=a.unit,
        direction=a.direction,
        a=a.value,
        b=b.value,
        chance=a.chance,
        winner=task.winner,
        **_figures(task.paired, task.p),
        only_a_right=task.paired.only_a,
        only_b_right=task.paired.only_b,
        left_out=task.left_out,
        verdict=verdict(found, task),
        caveats=caveats(found, task),
    )


def _mean(found: Comparison, pooled: PooledTasks) -> ComparedMean:
    first = pooled.tasks[0]
    return ComparedMean(
        tasks=[f"{task.a.task.suite}/{task.a.task.name}" for task in pooled.tasks],
        headline=first.a.task.headline,
        unit=first.scores[0].unit,
        winner=pooled.winner,
        **_figures(pooled.paired, pooled.p),
        a_ahead=pooled.ahead[0],
        b_ahead=pooled.ahead[1],
        verdict=pooled_verdict(found, pooled),
        caveats=pooled_caveats(found, pooled),
    )


def _lines(found: Comparison) -> Iterator[str]:
    """Yield what people read; characters that cannot be printed are replaced."""
    for line in _sentences(found):
        yield "".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in line)


def _sentences(found: Comparison) -> Iterator[str]:
    for task in found.tasks:
        score = task.scores[0]
        unit = "" if score.unit in ("fraction", task.a.task.headline) else f", {score.unit}"
        yield f"{task.a.task.suite}/{task.a.task.name} ({task.a.task.headline}{unit}, n = {task.paired.n})"
        yield f"  {scores_in_words(found, task)}"
        yield f"  {verdict(found, task)}"
        yield from (f"  note: {each}" for each in caveats(found, task))
    for pooled in found.pooled:
        yield f"all {len(pooled.tasks)} tasks by {pooled.tasks[0].a.task.headline}, mean of their differences"
        yield f"  {pooled_verdict(found, pooled)}"
        yield from (f"  note: {each}" for each in pooled_caveats(found, pooled))
    reasons: dict[str, list[str]] = {}
    for each in found.skipped:
        reasons.setdefault(each.reason, []).append(f"{each.suite}/{each.task}")
    for reason, where in reasons.items():
        yield f"not compared: {', '.join(where)} – {reason}"

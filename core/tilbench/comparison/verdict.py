"""What a comparison says, in words."""

from __future__ import annotations

from collections.abc import Iterator

from tilbench.comparison.compare import Comparison, PooledTasks, TaskComparison, Winner
from tilbench.comparison.conditions import conditions
from tilbench.comparison.paired import Paired, smallest_p
from tilbench.kinds.metric import Value
from tilbench.results.reading import joined, reading_notes
from tilbench.results.wording import FEWEST, format_interval, format_number, format_p, format_value

__all__ = ["caveats", "pooled_caveats", "pooled_verdict", "scores_in_words", "verdict"]


FEWEST_EFFECTIVE = 30
"""Effective documents from which the interval covered 93% or more in each measured population."""
_DOUBT = (
    f"below {FEWEST_EFFECTIVE} the interval may be too narrow, and a winner false, where other documents are longer or "
    "of another kind"
)


def scores_in_words(found: Comparison, task: TaskComparison) -> str:
    """Return both models' scores on a task, and the chance level."""
    parts = [
        f"{model.label} {format_value(score)}{_other_source(record.source)}"
        for model, score, record in zip((found.a, found.b), task.scores, (task.a, task.b), strict=True)
    ]
    if task.scores[0].chance is not None:
        parts.append(f"chance {format_number(task.scores[0], chance=True)}")
    return ", ".join(parts)


def _other_source(source: str) -> str:
    return "" if source == "measured" else f" ({source})"


def verdict(found: Comparison, task: TaskComparison) -> str:
    """Return which model is better on a task, by how much and with what p, as a sentence."""
    adjusted = "Holm" if len(found.tasks) > 1 else ""
    text = _words(found, task.winner, task.paired, task.p, task.scores[0], adjusted)
    return "; ".join([text, *_beside_chance(found, task)])


def caveats(found: Comparison, task: TaskComparison) -> list[str]:
    """Return what a reader must know beside the verdict on a task: what either model did not read or answer, and how.

    Two models may have read the same texts after other prefixes, or in other windows.
    """
    notes = [
        f"{model.label}: {note}"
        for model, record in zip((found.a, found.b), (task.a, task.b), strict=True)
        for note in reading_notes(record.reading)
    ]
    notes += conditions([(found.a.label, task.a), (found.b.label, task.b)])
    if task.paired.effective < FEWEST_EFFECTIVE:
        notes.append(_few(task.paired))
    if task.left_out:
        notes.append(f"paired on the {task.paired.n} rows that both answered; {task.left_out} left out")
    return notes


def pooled_caveats(found: Comparison, pooled: PooledTasks) -> list[str]:
    """Return what a reader must know beside the verdict on several tasks: what either model did not read of all."""
    sides = ((found.a, [task.a for task in pooled.tasks]), (found.b, [task.b for task in pooled.tasks]))
    notes = [
        f"{model.label}: {note}"
        for model, records in sides
        for note in reading_notes(joined(record.reading for record in records))
    ]
    return [*notes, *([_few_in_a_task(pooled.paired)] if pooled.paired.effective < FEWEST_EFFECTIVE else [])]


def _few(paired: Paired) -> str:
    return f"{paired.clusters} documents count as {paired.effective:.1f} of equal length; {_DOUBT}"


def _few_in_a_task(paired: Paired) -> str:
    return f"the documents of a task count as {paired.effective:.1f} of equal length; {_DOUBT}"


def pooled_verdict(found: Comparison, pooled: PooledTasks) -> str:
    """Return which model is better on the mean of several tasks, as a sentence."""
    adjusted = "Holm" if len(found.pooled) > 1 else ""
    text = _words(found, pooled.winner, pooled.paired, pooled.p, pooled.tasks[0].scores[0], adjusted)
    if pooled.winner == "identical":
        return text
    a, b = pooled.ahead
    best = "higher" if pooled.tasks[0].scores[0].direction == "none" else "ahead"
    return f"{text}; {found.a.label} is {best} on {a}, {found.b.label} on {b} of {len(pooled.tasks)}"


def _words(found: Comparison, winner: Winner, paired: Paired, p: float, score: Value, adjusted: str) -> str:
    """Return a verdict as a sentence. Amounts are those by which the better model is better."""
    if winner == "identical":
        return "identical, row by row"
    shown = f"{format_p(p)}{f' ({adjusted})' if adjusted else ''}"
    if winner in ("a", "b"):
        low, high = paired.interval.low, paired.interval.high
        bounds = (-high, -low) if paired.difference < 0 else (low, high)
        better = "higher" if score.direction == "none" else "better"
        amount = _amount(abs(paired.difference), score.unit, paired.clusters, bounds)
        return f"{(found.a if winner == 'a' else found.b).label} is {better} by {amount}, {shown}"
    bounds = paired.interval.low, paired.interval.high
    difference = f"A − B = {_amount(paired.difference, score.unit, paired.clusters, bounds)}"
    if winner == "too few":
        rows = f"{paired.clusters} independent rows, and a winner needs {FEWEST}"
        return f"too few: {difference} from {rows}"
    text = f"not distinguishable: {difference}, {shown}"
    if paired.p <= smallest_p(paired.clusters):
        return f"{text}; {paired.clusters} independent rows cannot give a smaller p, so score more"
    if score.unit == "fraction" and paired.detectable > 1:
        return f"{text}; {paired.n} such rows are too few to show any difference"
    detectable = _amount(paired.detectable, score.unit, paired.clusters)
    return f"{text}; {paired.n} such rows show {detectable} or more in 80% of tries"


def _amount(value: float, unit: str, rows: int, bounds: tuple[float, float] | None = None) -> str:
    """Return a difference with its unit and interval: "1.6 points [0.2, 3.0]" for fractions."""
    low, high = bounds or (None, None)
    score = Value(value=value, n=rows, unit=unit, direction="none", low=low, high=high)
    number = format_number(score).removesuffix("%")
    return f"{number} {'points' if unit == 'fraction' else unit} {format_interval(score)}".rstrip()


def _beside_chance(found: Comparison, task: TaskComparison) -> Iterator[str]:
    """Yield what the chance level says about the two scores, where there is one."""
    chances = [_against_chance(score) for score in task.scores]
    if None in chances:
        return
    if max(filter(None, chances), default=0) <= 0:
        yield "neither is above chance"
    below = [model.label for model, side in zip((found.a, found.b), chances, strict=True) if side == -1]
    if below:
        are = "are" if len(set(below)) > 1 else "is"
        yield f"{' and '.join(dict.fromkeys(below))} {are} below chance, which points at a broken prompt"


def _against_chance(score: Value) -> int | None:
    """Return 1 or −1 where the whole interval is better or worse than chance, 0 between, None where unknown."""
    if score.chance is None or score.low is None or score.high is None:
        return None
    side = int(score.low > score.chance) - int(score.high < score.chance)
    return -side if score.direction == "lower" else side

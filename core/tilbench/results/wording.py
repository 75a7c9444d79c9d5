"""Words for people: how a score reads, and what sets two tasks apart."""

from __future__ import annotations

import math

from tilbench.kinds.metric import Value
from tilbench.results.record import TaskUsed

__all__ = ["FEWEST", "differences", "format_interval", "format_number", "format_value"]

FEWEST = 6
"""Independent rows that a winner needs: with five, all of one sign, the sign test has p = 2/2⁵ > 0.05."""

_NARROWEST = 1e-6  # an interval below this is a point, its width the rounding of a sum


def differences(a: TaskUsed, b: TaskUsed) -> list[str]:
    """Return what differs between two tasks, as "field: a's value, not b's". Empty if they are comparable."""
    if a.fingerprint == b.fingerprint:
        return []
    left, right = _facts(a), _facts(b)
    found = [
        f"{name}: {_shown(left.get(name))}, not {_shown(right.get(name))}"
        for name in dict.fromkeys((*left, *right))
        if left.get(name) != right.get(name)
    ]
    return found or ["the definition of the language or something else that the records do not carry"]


def format_number(score: Value, *, chance: bool = False) -> str:
    """Return the value of a score, or its chance level, with as many digits as its interval deserves."""
    number = score.chance if chance else score.value
    if number is None or not math.isfinite(number):
        return "–" if number is None else str(number)
    if abs(number) >= 100 and float(number).is_integer() and score.low is None and score.unit != "fraction":
        return f"{number:,.0f}"  # a count
    places, _ = _places(score)
    return f"{number * 100:.{places}f}%" if score.unit == "fraction" else f"{number:.{places}f}"


def format_interval(score: Value) -> str:
    """Return the 95% interval of a score as "[low, high]", or nothing where it has none.

    Rows that are all alike show no spread. Fewer than `FEWEST` of them are too few to say that there is none.
    """
    if score.low is None or score.high is None:
        return ""
    if score.n < FEWEST and score.high - score.low < _NARROWEST:
        return "[too few rows]"
    _, places = _places(score)
    scale = 100 if score.unit == "fraction" else 1
    return f"[{_bound(score.low * scale, places)}, {_bound(score.high * scale, places)}]"


def _bound(number: float, places: int) -> str:
    """Return an end of an interval; one that is not 0 is not written as 0, which would look like no difference."""
    if number and abs(number) < 0.5 * 10.0**-places:
        places = min(6, -math.floor(math.log10(abs(number))))
    return f"{number:.{places}f}"


def format_value(score: Value) -> str:
    """Return a score as "1.234 [1.20, 1.27]", or "45.2% [41.0, 49.3]" for a fraction."""
    return f"{format_number(score)} {format_interval(score)}".rstrip()


def format_p(p: float) -> str:
    """Return a p as "p = 0.012", or "p < 0.001"."""
    return f"p {'< 0.001' if p < 0.001 else f'= {p:.3f}'}"


def _facts(task: TaskUsed) -> dict[str, object]:
    """Return what a task fingerprint is made of, as far as a record shows it."""
    data = task.dataset
    return {
        "metric": task.metric,
        "metric version": task.metric_version,
        "task version": task.version,
        "suite version": task.suite_version,
        "language": data.language,
        "dataset": data.name,
        "dataset fingerprint": data.fingerprint[:12],
        "rows (limit)": data.rows,
        "rows before the limit": data.total,
        "shots": task.shots,
        "example rows": task.examples[:12],
        "truncation": task.truncation,
        "seed": task.seed,
        "machine": task.machine,
        **{f"setting {name}": value for name, value in sorted(task.settings.items())},
    }


def _shown(fact: object) -> str:
    return "unset" if fact is None or fact == "" else str(fact)


def _places(score: Value) -> tuple[int, int]:
    """Return the decimal places of the value and of its interval."""
    scale = 100 if score.unit == "fraction" else 1
    size = abs(score.value * scale) if math.isfinite(score.value) else 0
    value = 1 if scale == 100 else 3 if size < 10 else 2 if size < 100 else 1
    bounds = max(value - 1, 1)
    if score.low is not None and score.high is not None:
        width = (score.high - score.low) * scale
        if _NARROWEST <= width < 1:
            bounds = max(bounds, -math.floor(math.log10(width)))
    return max(value, bounds), bounds

"""What a rule says, and the rules themselves as data."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

__all__ = ["Fault", "Finding", "Rule", "Severity", "apply", "listed", "share"]

Severity = Literal["error", "warning", "note"]
"""error: scores mean something else than they say. warning: they may. note: good to know; never a failure."""

_SHOWN = 5
S = TypeVar("S")


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong, with numbers, and what to do. rows: ids of the rows that show it, where there are such."""

    message: str
    mend: str
    rows: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Rule(Generic[S]):
    """A check of one kind of subject. It yields nothing where all is well."""

    id: str
    severity: Severity
    check: Callable[[S], Iterator[Fault]]


@dataclass(frozen=True, slots=True)
class Finding:
    """A fault with the rule that found it and the suite, task or dataset that has it."""

    rule: str
    severity: Severity
    where: str
    message: str
    mend: str
    rows: tuple[str, ...] = ()


def apply(rules: Sequence[Rule[S]], subject: S, where: str) -> Iterator[Finding]:
    """Yield what the rules find in `subject`, in their order."""
    for rule in rules:
        for fault in rule.check(subject):
            yield Finding(rule.id, rule.severity, where, fault.message, fault.mend, tuple(fault.rows))


def listed(names: Sequence[str]) -> str:
    """Return the first names and how many more there are."""
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{', '.join(names[:_SHOWN])}{more}"


def share(part: int, whole: int) -> str:
    """Return `12 of 1,536 (0.8%)`."""
    return f"{part:,} of {whole:,} ({part / whole:.1%})"

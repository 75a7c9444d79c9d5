"""What every conformance class shares: its checks, how they are run without pytest, and how one is failed."""

from __future__ import annotations

import contextlib
import unittest
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from tilbench.errors import ConfigError, MissingDataset, MissingDependency, TilbenchError, Unsupported, suggest

__all__ = [
    "Conformance",
    "ConformanceError",
    "NotApplicable",
    "Outcome",
    "Status",
    "declining",
    "require",
]

Status = Literal["pass", "fail", "n/a"]


class ConformanceError(AssertionError):
    """A check that failed; the message is its reason in one line."""


class NotApplicable(unittest.SkipTest):
    """A check that says nothing about this subject. pytest shows it as skipped."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one check found. `reason` is one line, and empty where the check passed."""

    check: str
    status: Status
    reason: str = ""


class Conformance:
    """Checks of one kind of plugin: every method `test_…` is one, and each works alone, in any order.

    From pytest, two lines are enough (the name must begin with `Test`):

        class TestMine(ArchitectureConformance):
            subject, config = MyArchitecture(), {"vocab_size": 64, "max_length": 32}

    What a subclass can set is an attribute of the class, a property, or set on `self` by an autouse fixture.
    Without pytest, `run` yields an `Outcome` per check.

    settable: attributes that `tilbench check --set` may change.
    """

    settable: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def checks(cls) -> tuple[str, ...]:
        """Return the names of the checks (methods without `test_`), in the order they are written."""
        found: dict[str, None] = {}
        for each in reversed(cls.__mro__):
            found.update(dict.fromkeys(name for name in vars(each) if name.startswith("test_")))
        return tuple(name.removeprefix("test_") for name in found if getattr(cls, name) is not None)

    def run(self) -> Iterator[Outcome]:
        """Run every check and yield what it found. A check that breaks has failed.

        Raises ConfigError where there is nothing to check before a setting is given.
        """
        try:
            self.ready()
        except NotApplicable as error:
            yield Outcome("subject", "n/a", _line(error))
            return
        for name in self.checks():
            yield self.run_one(name)

    def ready(self) -> None:
        """Raise ConfigError where a setting is wanted first, NotApplicable where nothing can be checked."""

    def run_one(self, name: str) -> Outcome:
        """Run the check of this name."""
        try:
            getattr(self, f"test_{name}")()
        except (NotApplicable, MissingDataset, MissingDependency) as error:
            return Outcome(name, "n/a", _line(error))
        except (ConformanceError, TilbenchError) as error:
            return Outcome(name, "fail", _line(error))
        except Exception as error:
            return Outcome(name, "fail", f"{type(error).__name__}: {_line(error)}")
        return Outcome(name, "pass")

    def change(self, settings: Mapping[str, object]) -> None:
        """Set attributes; a mapping is laid over one that is there. Raises ConfigError for an unknown one."""
        from tilbench.config.yaml import merge

        for name, value in settings.items():
            if name not in self.settable:
                can = ", ".join(self.settable) or "nothing"
                fault = f"--set {name}: these checks have no such setting"
                raise ConfigError(suggest(fault, name, self.settable, f"they have {can}"))
            setattr(self, name, merge(getattr(self, name, None), value))


def require(condition: object, reason: str) -> None:
    """Fail the check with `reason` unless `condition` holds."""
    if not condition:
        raise ConformanceError(reason)


@contextlib.contextmanager
def declining() -> Iterator[None]:
    """Turn Unsupported, by which a subject declines what it may decline, into NotApplicable."""
    try:
        yield
    except Unsupported as error:
        raise NotApplicable(_line(error)) from None


def _line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= 300 else f"{text[:299]}…"

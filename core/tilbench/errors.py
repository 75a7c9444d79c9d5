"""Errors that a user can cause and mend.

Everything derived from `TilbenchError` is shown as one line and ends the command with status 2. Anything
else is a bug and keeps its traceback.

    TilbenchError
    ├── UnknownName          a name nobody registered
    ├── ConfigError          a fault in a YAML file or in an override
    ├── DataError            a dataset, row or file that cannot be used
    │   ├── MissingDataset   a dataset that is not on this machine (its task reads "not run")
    │   └── Refused          answers that must not become a number (their task reads "n/a")
    ├── CheckpointError      weights, tokenizer and config that do not fit together
    ├── PluginError          a plugin that clashes or misbehaves
    ├── MissingDependency    an optional package that is not installed
    └── Unsupported          something asked for that this model or machine cannot do
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

__all__ = [
    "CheckpointError",
    "ConfigError",
    "DataError",
    "MissingDataset",
    "MissingDependency",
    "PluginError",
    "Refused",
    "TilbenchError",
    "UnknownName",
    "Unsupported",
    "near",
    "suggest",
]


_SHOWN = 12
"""Names that an error lists at most."""


class TilbenchError(Exception):
    """Base of every error whose message alone tells the user what to do. It can be pickled."""

    def __reduce__(self) -> tuple[Callable[..., TilbenchError], tuple[type[TilbenchError], str]]:
        return _again, (type(self), str(self))


def _again(kind: type[TilbenchError], said: str) -> TilbenchError:
    """Make an error of a message, whatever its class makes messages of."""
    error = kind.__new__(kind)
    error.args = (said,)
    return error


class UnknownName(TilbenchError):
    """A name that is not registered, with the nearest ones and what exists."""

    def __init__(self, what: str, name: str, known: Iterable[str], fix: str = "") -> None:
        names = sorted(known)
        shown = ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
        there = f"known: {shown}" if names else f"no {what} is registered"
        said = suggest(f"unknown {what} {name!r}", name, names, there)
        super().__init__(f"{said}; {fix}" if fix else said)


class ConfigError(TilbenchError):
    """A fault in a configuration, said with its file, line and field."""


class DataError(TilbenchError):
    """A dataset, row or file that cannot be used as asked."""


class MissingDataset(DataError):
    """A dataset that is not on this machine; the message says how to get it."""


class Refused(DataError):
    """Answers that must not become a number, such as a reference in the place of each; the message says why."""


class CheckpointError(TilbenchError):
    """A checkpoint whose weights, config and tokenizer do not fit together."""


class PluginError(TilbenchError):
    """A plugin that clashes with another or misspells a hook."""


class MissingDependency(TilbenchError):
    """An optional package that is not installed, with the extra that brings it."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(f"{purpose} needs the package {package!r}: pip install 'tilbench[{extra}]'")


class Unsupported(TilbenchError):
    """Something asked for that this model, metric or machine cannot do."""


def suggest(fault: str, name: str, known: Iterable[str], rest: str = "") -> str:
    """Return what is wrong with the names most like `name`, then the rest: `fault; did you mean A or B? Rest`."""
    close = near(name, known)
    said = f"{fault}; did you mean {' or '.join(close)}?" if close else fault
    if not rest:
        return said
    return f"{said} {rest[0].upper()}{rest[1:]}" if close else f"{said}; {rest}"


def near(name: str, known: Iterable[str], count: int = 2) -> list[str]:
    """Return up to `count` of the `known` names that are spelled most like `name`, best first."""
    import difflib

    known = list(known)
    begins = sorted(each for each in known if name and each.startswith(name))
    return list(dict.fromkeys([*difflib.get_close_matches(name, known, n=count, cutoff=0.6), *begins]))[:count]

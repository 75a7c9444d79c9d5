"""The short forms of a suite: `defaults` of its tasks, `over` for many tasks, and `*` in the tasks of a macro."""

from __future__ import annotations

import fnmatch
import itertools
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tilbench.config.source import Location, Source
from tilbench.config.yaml import merge
from tilbench.errors import suggest

__all__ = ["written_out"]

Fields = Mapping[str, Any]
_MOST = 10_000
"""Tasks of one entry: more is a slip, and takes minutes to read."""
_NAME = re.compile(r"[a-z][a-z0-9_]*")
_PLACEHOLDER = re.compile(
    r"\$(?:(?P<dollar>\$)|(?P<name>[a-z][a-z0-9_]*(?:\.[a-z][a-z0-9_]*)?)|\{(?P<braced>[a-z0-9_.]*)\}|)"
)


def written_out(source: Source) -> Source:
    """Return a suite's file with every task written out.

    What is no suite at all stays as it is: the schema says what is wrong with it. Raises ConfigError with the line.
    """
    data = source.data
    if not isinstance(data, Mapping) or not isinstance(data.get("tasks", []), list):
        return source
    defaults = _defaults(data.get("defaults", {}), source)
    tasks: list[object] = []
    moved: dict[Location, Location] = {}
    left = set(_paths(defaults))
    for index, entry in enumerate(data.get("tasks", [])):
        for own in _each(entry, ("tasks", index), source):
            task, taken = _with_defaults(own, defaults)
            here: Location = ("tasks", len(tasks))
            moved[here] = ("tasks", index)
            moved.update({(*here, *path): ("defaults", *path) for path in taken})
            left -= taken
            tasks.append(task)
    if left:
        path = min(left, key=lambda each: source.lines.get(("defaults", *each), 0))
        raise source.fault(
            ("defaults", *path),
            f"no task takes the default '{'.'.join(path)}'; remove it, or remove the tasks' own values",
        )
    fields = {name: value for name, value in data.items() if name != "defaults"}
    if "tasks" in data:
        fields["tasks"] = tasks
    if isinstance(data.get("macros"), list):
        fields["macros"] = [_macro(macro, index, tasks, source) for index, macro in enumerate(data["macros"])]
        moved.update({("macros", index, "tasks"): ("macros", index, "tasks") for index in range(len(data["macros"]))})
    return Source(source.path, fields, source.lines, moved)


# Defaults


def _defaults(defaults: object, source: Source) -> Fields:
    if not isinstance(defaults, Mapping):
        raise source.fault(("defaults",), "'defaults' is a mapping of a task's fields, such as {metric: choice}")
    for name in ("name", "over"):
        if name in defaults:
            raise source.fault(("defaults", name), f"'{name}' belongs to one task and has no default; write it there")
    if "settings" in defaults and "metric" not in defaults:
        raise source.fault(
            ("defaults", "settings"), "default settings are those of a metric: set 'defaults.metric' as well"
        )
    return defaults


def _with_defaults(own: object, defaults: Fields) -> tuple[object, set[tuple[str, ...]]]:
    """Return a task with the defaults that it takes, and the paths of these."""
    if not isinstance(own, Mapping) or not defaults:
        return own, set()
    if own.get("metric", defaults.get("metric")) != defaults.get("metric"):
        defaults = {name: value for name, value in defaults.items() if name != "settings"}
    return merge(defaults, own), {path for path in _paths(defaults) if not _has(own, path)}


def _paths(fields: object, at: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the path of every value that is no mapping, and of every empty mapping."""
    if isinstance(fields, Mapping) and (fields or not at):
        for name, value in fields.items():
            yield from _paths(value, (*at, name))
    else:
        yield at


def _has(own: object, path: Sequence[str]) -> bool:
    """Say whether a task's own fields decide what is at `path`."""
    for part in path:
        if not isinstance(own, Mapping):
            return True
        if part not in own:
            return False
        own = own[part]
    return True


# One entry for many tasks


def _each(entry: object, at: Location, source: Source) -> Iterator[object]:
    """Yield the tasks of one entry: itself, or one for every combination of the values in its `over`."""
    if not isinstance(entry, Mapping) or "over" not in entry:
        yield entry
        return
    over = entry["over"]
    _check_over(over, (*at, "over"), source)
    fields = {name: value for name, value in entry.items() if name != "over"}
    used = {match["name"] or match["braced"] or "" for match in _placeholders(fields)}
    for name in over:
        if not any(each.partition(".")[0] == name for each in used):
            raise source.fault(
                (*at, "over", name), f"no field of this task has ${name}; write it in 'name' and 'dataset'"
            )
    if (count := math.prod(map(len, over.values()))) > _MOST:
        raise source.fault((*at, "over"), f"'over' makes {count:,} tasks of this one; {_MOST:,} is the most")
    names = set()
    for values in itertools.product(*over.values()):
        task = _filled(fields, dict(zip(over, values, strict=True)), at, source)
        if task.get("name") in names:
            raise source.fault(
                (*at, "name"),
                f"two of the tasks have the name {task['name']!r}; write every one of "
                f"{', '.join(f'${name}' for name in over)} in it",
            )
        names.add(task.get("name"))
        yield task


def _check_over(over: object, at: Location, source: Source) -> None:
    if not isinstance(over, Mapping) or not over:
        raise source.fault(at, "'over' is a mapping of names to lists, such as {subject: [biology, physics]}")
    for name, values in over.items():
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise source.fault((*at, name), f"'over' has the name {name!r}: use lower-case letters, digits and '_'")
        if not isinstance(values, list) or not values:
            raise source.fault((*at, name), f"'over.{name}' is a list of values, one or more")
        for index, value in enumerate(values):
            if not _scalar(value) and not (isinstance(value, Mapping) and all(map(_scalar, value.values()))):
                raise source.fault(
                    (*at, name, index), f"'over.{name}.{index}' is a text, a number, or a mapping of these"
                )


def _scalar(value: object) -> bool:
    return isinstance(value, str | int | float)


def _placeholders(value: object) -> Iterator[re.Match[str]]:
    if isinstance(value, str):
        yield from _PLACEHOLDER.finditer(value)
    elif isinstance(value, Mapping | list):
        for each in value.values() if isinstance(value, Mapping) else value:
            yield from _placeholders(each)


def _filled(value: object, values: Fields, at: Location, source: Source) -> Any:
    """Return `value` with the placeholders in its texts filled in; a text that is one placeholder becomes its value."""
    if isinstance(value, Mapping):
        return {name: _filled(each, values, (*at, name), source) for name, each in value.items()}
    if isinstance(value, list):
        return [_filled(each, values, (*at, index), source) for index, each in enumerate(value)]
    if not isinstance(value, str):
        return value
    if (whole := _PLACEHOLDER.fullmatch(value)) and not whole["dollar"]:
        return _value(whole, values, at, source)
    return _PLACEHOLDER.sub(lambda match: _text(match, values, at, source), value)


def _text(match: re.Match[str], values: Fields, at: Location, source: Source) -> str:
    if match["dollar"]:
        return "$"
    value = _value(match, values, at, source)
    if isinstance(value, bool):
        raise source.fault(at, f"{match[0]} is true or false, which YAML reads from words such as no: put it in quotes")
    return str(value)


def _value(match: re.Match[str], values: Fields, at: Location, source: Source) -> object:
    """Return the value of a placeholder. Raises ConfigError for one that `over` does not have."""
    asked = match["name"] or match["braced"] or ""
    name, dot, field = asked.partition(".")
    known = [
        f"${each}.{inner}" if inner else f"${each}"
        for each, value in values.items()
        for inner in (value if isinstance(value, Mapping) else [""])
    ]
    value = values.get(name)
    if isinstance(value, Mapping) and field in value:
        return value[field]
    if name not in values or dot or isinstance(value, Mapping):
        hint = f"known: {', '.join(known)}; write $$ for a dollar sign"
        raise source.fault(at, suggest(f"nothing in 'over' is called {match[0]!r}", f"${asked}", known, hint))
    return value


# Macros


def _macro(macro: Any, index: int, tasks: Sequence[object], source: Source) -> object:
    """Return a macro whose patterns are replaced by the names of the tasks that they match, each once."""
    listed = macro.get("tasks") if isinstance(macro, Mapping) else None
    if not isinstance(listed, list) or not any(isinstance(each, str) and "*" in each for each in listed):
        return macro
    known = [task["name"] for task in tasks if isinstance(task, Mapping) and isinstance(task.get("name"), str)]
    names: list[object] = []
    for place, name in enumerate(listed):
        found = fnmatch.filter(known, name) if isinstance(name, str) and "*" in name else [name]
        if not found:
            raise source.fault(("macros", index, "tasks", place), f"{name!r} matches no name of a task under 'tasks'")
        names += [each for each in found if each not in names]
    return {**macro, "tasks": names}

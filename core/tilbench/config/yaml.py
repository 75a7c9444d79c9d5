"""YAML files and overrides, read into schemas. A fault names file, line, field, what was given and what is allowed."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args

import pydantic
import yaml
from pydantic import TypeAdapter
from pydantic_core import ErrorDetails

from tilbench.config.base import Schema
from tilbench.config.source import Location, Source
from tilbench.errors import ConfigError, suggest

__all__ = ["apply_overrides", "load", "merge", "parse_override", "read", "validate", "validate_overridden"]

T = TypeVar("T")
_UNKNOWN = frozenset({"extra_forbidden", "unexpected_keyword_argument"})
_MISSING = frozenset({"missing", "missing_argument"})


class _Loader(yaml.SafeLoader):
    """PyYAML's, but for numbers such as 1e-06, which YAML 1.2 and JSON have and YAML 1.1 reads as text."""


_LOADERS: list[type[yaml.SafeLoader] | type[yaml.CSafeLoader]] = [_Loader]
if hasattr(yaml, "CSafeLoader"):

    class _FastLoader(yaml.CSafeLoader):
        """The same, on libyaml."""

    _LOADERS.insert(0, _FastLoader)
for _each in _LOADERS:  # https://yaml.org/spec/1.2.2/#1032-tag-resolution
    _each.add_implicit_resolver(
        "tag:yaml.org,2002:float",
        re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)[eE][-+]?[0-9]+\Z"),
        list("-+.0123456789"),
    )


_DEPTH = 50
"""Levels of a file. An alias inside of what it stands for has no last one."""
_VALUES = 200_000
"""Values of a file. A few lines of aliases of aliases may stand for billions."""
_FLAT = "write it flatter, and use no alias inside of what it stands for"


def read(path: Path) -> Source:
    """Read one YAML document with the line of every field.

    Raises ConfigError for a file that is missing, not UTF-8, not YAML, or has a key twice.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise ConfigError(f"{path} is a folder; name a YAML file in it") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 text (byte {error.start}); save the file as UTF-8") from None
    try:
        node = _composed(text)
        if node is None:
            raise ConfigError(f"{path}: the file is empty")
        lines = dict(itertools.islice(_lines(node, (), path), _VALUES + 1))
        if len(lines) > _VALUES:
            raise ConfigError(f"{path}: more than {_VALUES:,} values, counting each use of an alias; write fewer")
        return Source(path, _Loader("").construct_document(node), lines)
    except RecursionError:
        raise ConfigError(f"{path}: nested too deeply to be read; {_FLAT}") from None
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line if error.problem_mark else 0
        column = error.problem_mark.column if error.problem_mark else 0
        content = text.splitlines()[line] if line < len(text.splitlines()) else ""
        if "\t" in content[: column + 1]:
            raise ConfigError(f"{path}:{line + 1}: a tab; YAML is indented with spaces") from None
        raise ConfigError(f"{path}:{line + 1}: not YAML: {error.problem or error.context}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not YAML: {str(error).splitlines()[0]}") from None


def _composed(text: str) -> yaml.Node | None:
    """Return the nodes of a document, read by libyaml where it is there; the words about a fault are PyYAML's own."""
    fastest, slowest = _LOADERS[0], _LOADERS[-1]
    with contextlib.suppress(yaml.YAMLError):
        return yaml.compose(text, Loader=fastest)
    return yaml.compose(text, Loader=slowest)


def _lines(node: yaml.Node, location: Location, path: Path) -> Iterator[tuple[Location, int]]:
    if len(location) > _DEPTH:
        raise ConfigError(f"{path}:{node.start_mark.line + 1}: nested more than {_DEPTH} levels deep; {_FLAT}")
    yield location, node.start_mark.line + 1
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            if key.value in seen:
                raise ConfigError(f"{path}:{key.start_mark.line + 1}: field {key.value!r} stands here a second time")
            seen.add(key.value)
            yield (*location, key.value), key.start_mark.line + 1
            yield from (
                (place, line)
                for place, line in _lines(value, (*location, key.value), path)
                if place != (*location, key.value)
            )
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            yield from _lines(value, (*location, index), path)


def load(path: Path, schema: type[T], overrides: Sequence[str] = ()) -> T:
    """Read a YAML file into `schema` (a pydantic model or a dataclass), after `field.path=value` overrides."""
    source = read(path)
    return validate_overridden(source.data, overrides, schema, source)


def validate_overridden(data: object, overrides: Sequence[str], schema: type[T], source: Source) -> T:
    """Return `data` with overrides as a `schema`; a fault that they bring in is said to be theirs, not the file's.

    Overrides change what the file writes, before its short forms are unfolded.
    """
    changed = apply_overrides(data, overrides)
    try:
        return _unfolded(Source(source.path, changed, source.lines), schema)
    except ConfigError:
        if not overrides:
            raise
        _unfolded(Source(source.path, data, source.lines), schema)
        return _unfolded(Source(" ".join(f"--set {text}" for text in overrides), changed, {}), schema)


def _unfolded(source: Source, schema: type[T]) -> T:
    if issubclass(schema, Schema):
        source = schema.unfold(source)
    return validate(source.data, schema, source)


def validate(data: object, schema: type[T], source: Source | str) -> T:
    """Return `data` as a `schema`. Raises ConfigError in one line, about the first fault found.

    source: where the data is from, for the message.
    """
    try:
        return TypeAdapter(schema).validate_python(data)
    except pydantic.ValidationError as error:
        faults = error.errors(include_url=False)
        more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        fault = min(faults, key=_priority)
        location = _location(fault, data)
        if isinstance(source, Source):
            location = source.written(location)
        where = source.place(location) if isinstance(source, Source) else source
        raise ConfigError(f"{where}: {_explain(fault, location, schema)}{more}") from None


def _priority(fault: ErrorDetails) -> tuple[bool, int]:
    """Order faults: a misspelled field before the missing one it was meant to be, and outer before inner."""
    return fault["type"] not in _UNKNOWN, len(fault["loc"])


def _location(fault: ErrorDetails, data: object) -> Location:
    """Return where a fault is, without the tags that pydantic adds for the members of a union."""
    kept: list[str | int] = []
    part: Any
    for part in fault["loc"]:
        if (isinstance(data, Mapping) and part in data) or isinstance(data, list):
            data = data[part]
            kept.append(part)
    return (*kept, fault["loc"][-1]) if fault["type"] in _MISSING else tuple(kept)


def _explain(fault: ErrorDetails, location: Location, schema: object) -> str:
    field = ".".join(str(part) for part in location) or "the file"
    match fault["type"]:
        case kind if kind in _UNKNOWN:
            known = sorted(str(name) for name in _fields(schema, fault["loc"][:-1]))
            return suggest(f"unknown field '{field}'", str(fault["loc"][-1]), known, f"allowed: {', '.join(known)}")
        case kind if kind in _MISSING:
            return f"field '{field}' is missing"
        case _:
            message = fault["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")
            message = f"{message[0].lower()}{message[1:]}"
            if fault["type"] == "string_pattern_mismatch":
                message = "use lower-case letters a-z, digits, '-', '_' and '.'"
            if isinstance(fault["input"], bool) and fault["type"] == "string_type":
                message = "YAML reads this word as true or false; put it in quotes"
            if isinstance(fault["input"], Mapping | list):
                return f"'{field}': {message}"
            given = repr(fault["input"])
            return f"'{field}' is {given if len(given) <= 60 else f'{given[:57]}...'}: {message}"


def _fields(schema: object, location: Sequence[str | int]) -> set[str | int]:
    """Return the field names that are allowed at `location` inside `schema`."""
    for part in location:
        names = _annotations(schema)
        schema = names.get(part, schema)
    return set(_annotations(schema))


def _annotations(schema: object) -> dict[str | int, object]:
    if fields := getattr(schema, "model_fields", None):
        short: tuple[str, ...] = getattr(schema, "short_forms", ())
        return {**{name: item.annotation for name, item in fields.items()}, **dict.fromkeys(short)}
    if dataclasses.is_dataclass(schema):
        return dict.fromkeys(field.name for field in dataclasses.fields(schema))
    found: dict[str | int, object] = {}
    for argument in get_args(schema):
        found.update(_annotations(argument))
    return found


def parse_override(text: str) -> tuple[tuple[str, ...], object]:
    """Split `path.to.field=value`; the value is read as YAML. Raises ConfigError."""
    path, equals, value = text.partition("=")
    parts = tuple(path.strip().split("."))
    if not equals or not all(parts):
        raise ConfigError(f"--set {text!r}: write path.to.field=value, such as recipe.steps=60")
    try:
        return parts, yaml.load(value, _Loader)  # noqa: S506 a SafeLoader
    except yaml.YAMLError:
        raise ConfigError(f"--set {text!r}: the value is not YAML; quote it") from None


def apply_overrides(data: object, overrides: Sequence[str]) -> Any:
    """Return `data` with each `path.to.field=value` put in; list items are named by their index."""
    for text in overrides:
        path, value = parse_override(text)
        data = _put(data, path, value, text)
    return data


def _put(data: object, path: tuple[str, ...], value: object, text: str) -> Any:
    if not path:
        return value
    if isinstance(data, list):
        if not path[0].isdecimal() or int(path[0]) >= len(data):
            raise ConfigError(f"--set {text!r}: {path[0]!r} is not an index of a list of {len(data)}")
        index = int(path[0])
        return [*data[:index], _put(data[index], path[1:], value, text), *data[index + 1 :]]
    if data is None or isinstance(data, Mapping):
        table = dict(data or {})
        return {**table, path[0]: _put(table.get(path[0]), path[1:], value, text)}
    raise ConfigError(f"--set {text!r}: {path[0]!r} lies inside {data!r}, which has no fields")


def merge(base: object, changes: object) -> Any:
    """Return `base` with `changes` laid over it: mappings field by field, everything else whole."""
    if isinstance(base, Mapping) and isinstance(changes, Mapping):
        return {**base, **{key: merge(base.get(key), value) for key, value in changes.items()}}
    return changes

"""The tasks that lm-evaluation-harness knows by name, and what its groups and tags stand for."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import yaml

from tilbench.errors import ConfigError, UnknownName
from tilbench_lm_eval.library import quiet

__all__ = ["INCLUDE", "Branch", "Catalogue", "Group", "Leaf"]

INCLUDE = "TILBENCH_LM_EVAL_INCLUDE"
"""Folders of task files besides those that a suite names, separated as in PATH. Their Python is trusted."""


@dataclass(frozen=True, slots=True)
class Leaf:
    """One task: its name, its file (None: it stands inside a group's) and what a group or a caller sets anew."""

    name: str
    path: Path | None
    overrides: Mapping[str, Any] = field(default_factory=dict)
    outline: Mapping[str, Any] = field(default_factory=dict)
    """Its fields as text: functions are not imported."""

    def config(self) -> dict[str, Any]:
        """Read the whole configuration, with its functions imported: a task's own Python runs here."""
        from lm_eval.tasks._yaml_loader import load_yaml

        read = load_yaml(self.path, resolve_func=True) if self.path else {}
        config = {**read, **self.overrides, "task": self.name}
        return {key: value for key, value in config.items() if key not in ("tag", "group", "task_list")}


@dataclass(frozen=True, slots=True)
class Group:
    """A group that aggregates: `metrics` as its file has them, over the leaves of these names."""

    name: str
    metrics: tuple[Mapping[str, Any], ...]
    leaves: tuple[Leaf, ...]


@dataclass(frozen=True, slots=True)
class Branch:
    """What a name stands for."""

    leaves: tuple[Leaf, ...]
    groups: tuple[Group, ...] = ()

    @classmethod
    def join(cls, branches: Sequence[Branch]) -> Branch:
        """Return all branches as one."""
        return cls(
            tuple(leaf for branch in branches for leaf in branch.leaves),
            tuple(group for branch in branches for group in branch.groups),
        )


class Catalogue:
    """Tasks by name: those of some folders first, then lm-evaluation-harness's own.

    folders: of a suite; `TILBENCH_LM_EVAL_INCLUDE` adds to them. Python in a suite's folders runs only with
    trust_remote_code.
    """

    def __init__(self, folders: Sequence[Path] = (), *, trust_remote_code: bool = False) -> None:
        if missing := [folder for folder in folders if not folder.is_dir()]:
            raise ConfigError(f"lm_eval_include: {missing[0]} is no folder; paths are relative to the suite's file")
        trusted = [Path(each).expanduser() for each in os.environ.get(INCLUDE, "").split(os.pathsep) if each]
        self._strange = () if trust_remote_code else tuple(folder.resolve() for folder in folders)
        self._own = _index((*trusted, *folders), False) if (*trusted, *folders) else {}

    def find(self, name: str) -> Branch:
        """Return what a task's, group's or tag's name stands for. Raises UnknownName, ConfigError."""
        return self._resolve(name, {})

    def _entry(self, name: str) -> Any:
        found = self._own.get(name) or _index((), True).get(name)
        if found is None:
            fix = "folders of task files go under 'lm_eval_include'; 'lm-eval ls tasks' lists the rest"
            raise UnknownName("lm-eval task", name, {*self._own, *_index((), True)}, fix)
        return found

    def _known(self, name: str) -> bool:
        return name in self._own or name in _index((), True)

    def _resolve(self, name: str, overrides: Mapping[str, Any]) -> Branch:
        entry = self._entry(name)
        if entry.kind.name == "TAG":
            return Branch.join([self._resolve(each, overrides) for each in sorted(entry.tags)])
        self._refuse_code(entry.yaml_path)
        if entry.kind.name == "GROUP":
            return self._group(name, _whole(entry.yaml_path), overrides)
        return Branch((Leaf(name, entry.yaml_path, overrides, {**entry.cfg, **overrides}),))

    def _group(self, name: str, config: Mapping[str, Any], overrides: Mapping[str, Any]) -> Branch:
        """Return a group's tasks. What is no field of a group is set in each of them, as the harness has it."""
        structure = _group_fields()
        shared = {**{key: value for key, value in config.items() if key not in structure}, **overrides}
        members = config.get("task") or []
        branch = Branch.join(
            [self._member(name, member, shared) for member in ([members] if isinstance(members, str) else members)]
        )
        asked = config.get("aggregate_metric_list") or ()
        metrics = (asked,) if isinstance(asked, Mapping) else tuple(asked)
        return Branch(branch.leaves, (*branch.groups, Group(name, metrics, branch.leaves)))

    def _member(self, group: str, member: str | Mapping[str, Any], shared: Mapping[str, Any]) -> Branch:
        if isinstance(member, str):
            return self._resolve(member, shared)
        if "group" in member:
            name = member["group"]
            if self._known(name):
                return self._resolve(name, {**shared, **_without(member, "group")})
            return self._group(f"{group}::{name}", member, shared)
        overrides = {**shared, **_without(member, "task")}
        if self._known(member["task"]):
            return self._resolve(member["task"], overrides)
        return Branch((Leaf(f"{group}::{member['task']}", None, overrides, overrides),))

    def _refuse_code(self, path: Path) -> None:
        """Raise ConfigError for a file in an untrusted folder that names a Python function or class."""
        if any(path.resolve().is_relative_to(folder) for folder in self._strange) and (code := _function(path)):
            raise ConfigError(
                f"{path} runs Python of its own ({code}); read it, then allow it with --trust-remote-code"
            )


@functools.cache
def _index(folders: tuple[Path, ...], defaults: bool) -> Mapping[str, Any]:
    """Return name → entry of every task, group and tag in the folders; of the harness's own it takes seconds."""
    with quiet():
        from lm_eval.tasks import TaskManager

        index: Mapping[str, Any] = TaskManager(include_path=list(folders), include_defaults=defaults).task_index
    return index


def _whole(path: Path) -> Mapping[str, Any]:
    with quiet():
        from lm_eval.tasks._yaml_loader import load_yaml

        config: Mapping[str, Any] = load_yaml(path, resolve_func=True)
    return config


def _group_fields() -> set[str]:
    with quiet():
        from lm_eval.config.group import GroupConfig

        return {each.name for each in fields(GroupConfig)}


def _without(member: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in member.items() if key != name}


def _function(path: Path) -> str:
    """Return the first function that a task file, or a file that it includes, imports; "" for none."""
    return next(_functions(path, set()), "")


def _functions(path: Path, seen: set[Path]) -> Iterator[str]:
    if path in seen:
        return
    seen.add(path)
    named: list[str] = []

    class Loader(yaml.SafeLoader):
        pass

    Loader.add_constructor("!function", lambda loader, node: named.append(str(node.value)))
    config = yaml.load(path.read_text(encoding="utf-8"), Loader)  # noqa: S506 a SafeLoader
    yield from named
    includes = config.get("include") or []
    for each in [includes] if isinstance(includes, str) else includes:
        yield from _functions((path.parent / each).resolve(), seen)

"""Finds plugins, survives a broken one, refuses a clash.

Plugins are modules named by entry points of the group `tilbench`, and single files named by `--plugin` or by the
environment variable `TILBENCH_PLUGINS` (paths separated as in PATH). pluggy's own loader stops at the first plugin
that cannot be imported and passes over a second one of the same name in silence, so the host loads them itself.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import EntryPoint, distributions
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any

import pluggy

from tilbench import hookspecs
from tilbench.errors import PluginError, suggest
from tilbench.hookspecs import Register
from tilbench.registry import KINDS, Entry, Names, Origin, Registry

__all__ = ["GROUP", "Host", "PluginStatus", "load_plugins"]

GROUP = "tilbench"


@dataclass(frozen=True, slots=True)
class PluginStatus:
    """One plugin: its name, where it is from, and what is wrong with it (empty: nothing)."""

    name: str
    distribution: str
    module: str
    error: str = ""


@dataclass(frozen=True, slots=True)
class Host:
    """The loaded plugins and everything they registered."""

    manager: pluggy.PluginManager
    registry: Registry
    plugins: tuple[PluginStatus, ...]

    @property
    def broken(self) -> list[PluginStatus]:
        """Plugins that were skipped."""
        return [plugin for plugin in self.plugins if plugin.error]


@dataclass(frozen=True, slots=True)
class _Candidate:
    name: str
    distribution: str
    where: str
    load: Callable[[], Any]


def load_plugins(files: Sequence[str] = (), entry_points: Iterable[tuple[EntryPoint, str]] | None = None) -> Host:
    """Load every plugin and let it register.

    files: plugin files besides those of TILBENCH_PLUGINS. entry_points: `(entry point, distribution)`; by
    default those installed. An installed plugin that cannot be imported, or whose hook fails, is reported in
    `Host.plugins` and skipped. Raises PluginError for a plugin file that was asked for and cannot be used, and for
    a name clash or a misspelled hook, which are mistakes that skipping would hide.
    """
    manager = pluggy.PluginManager(GROUP)
    manager.add_hookspecs(hookspecs)
    statuses: list[PluginStatus] = []
    listed = [path for path in os.environ.get("TILBENCH_PLUGINS", "").split(os.pathsep) if path]
    named = dict.fromkeys(str(Path(path).expanduser().resolve()) for path in (*listed, *files))
    registry = Registry(tuple(named))
    candidates = [*_installed(entry_points), *map(_file, named)]
    holders: dict[str, _Candidate] = {}
    for candidate in candidates:
        if (holder := holders.get(candidate.name)) is not None:
            raise PluginError(
                f"two plugins are called {candidate.name!r}: one from {holder.distribution} and one from "
                f"{candidate.distribution}; uninstall one of them"
            )
        holders[candidate.name] = candidate
        statuses.append(_admit(candidate, manager, registry))
        if statuses[-1].error and candidate.where in named:
            raise PluginError(f"plugin file {candidate.where} {statuses[-1].error}")
    _reject_misspelled(manager, {status.name: status for status in statuses})
    registry.freeze()
    return Host(manager, registry, tuple(statuses))


def _installed(entry_points: Iterable[tuple[EntryPoint, str]] | None) -> list[_Candidate]:
    if entry_points is None:
        found: dict[tuple[str, str], tuple[EntryPoint, str]] = {}
        for distribution in distributions():
            if points := [point for point in distribution.entry_points if point.group == GROUP]:
                name = distribution.name  # parses the distribution's metadata, which takes a millisecond
                for point in points:
                    found.setdefault((name, point.name), (point, name))
        entry_points = found.values()
    ordered = sorted(entry_points, key=lambda pair: (pair[1] != "tilbench", pair[1], pair[0].name))
    return [_Candidate(point.name, name, point.value, point.load) for point, name in ordered]


def _file(path: str) -> _Candidate:
    def load() -> ModuleType:
        file = Path(path).expanduser()
        if not file.is_file():
            raise FileNotFoundError(f"no such file: {path}")
        name = f"tilbench_plugin_file_{file.stem}"
        spec = importlib.util.spec_from_file_location(name, file)
        if spec is None or spec.loader is None:
            raise ImportError(f"not a Python file: {path}")
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
        return module

    return _Candidate(Path(path).stem, path, path, load)


def _admit(candidate: _Candidate, manager: pluggy.PluginManager, registry: Registry) -> PluginStatus:
    """Import a plugin and run its hooks; nothing of it stays where one of them fails."""
    try:
        module = candidate.load()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", pluggy.PluggyTeardownRaisedWarning)
            manager.register(module, name=candidate.name)
    except (Exception, SystemExit) as error:
        return _status(candidate, f"cannot be imported: {_reason(error)}")
    for kind, described in KINDS.items():
        hook = getattr(manager.hook, described.hook)
        ours = [each for each in hook.get_hookimpls() if each.plugin_name == candidate.name]
        for implementation in ours:
            try:
                implementation.function(_register(registry.kind(kind), candidate, implementation))
            except PluginError:
                raise
            except (Exception, SystemExit) as error:
                manager.unregister(name=candidate.name)
                registry.remove_plugin(candidate.name)
                return _status(candidate, f"cannot be used: {described.hook} failed: {_reason(error)}")
    return _status(candidate, "")


def _register(names: Names[object], candidate: _Candidate, hook: pluggy.HookImpl) -> Register:
    def register(name: str, target: object, *, summary: str = "") -> None:
        origin = _origin(hook)
        names.add(Entry(name, target, summary, candidate.name, candidate.distribution, origin))

    return register


def _origin(hook: pluggy.HookImpl) -> Origin:
    """Return the line of `hook` that is running, or where it begins when it is called later.

    The core made the hook for a plugin (`tilbench.plugins`): no line of the plugin runs, and its first one is returned.
    """
    if hook.function.__module__.partition(".")[0] == GROUP:
        return Origin(str(getattr(hook.plugin, "__file__", "")), 1)
    code = hook.function.__code__
    frame: FrameType | None = sys._getframe(2)
    while frame is not None and frame.f_code is not code:
        frame = frame.f_back
    return Origin(code.co_filename, frame.f_lineno if frame else code.co_firstlineno)


def _reject_misspelled(manager: pluggy.PluginManager, statuses: dict[str, PluginStatus]) -> None:
    known = [kind.hook for kind in KINDS.values()] + ["register_commands"]
    for name, plugin in manager.list_name_plugin():
        if plugin is None:
            continue
        for hook in manager.get_hookcallers(plugin) or []:
            if not hook.has_spec():
                where = f"plugin {name} ({statuses[name].distribution})"
                raise PluginError(suggest(f"{where} implements the unknown hook {hook.name!r}", hook.name, known))


def _status(candidate: _Candidate, error: str) -> PluginStatus:
    return PluginStatus(candidate.name, candidate.distribution, candidate.where, error)


def _reason(error: BaseException) -> str:
    return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no message'}"

"""Everything with a name, by kind: what plugins registered, resolved on first use."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tilbench.errors import PluginError, TilbenchError, UnknownName

__all__ = ["KINDS", "Entry", "Kind", "Registry"]


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of plugin.

    hook: the hook that registers it. noun: what one is called in messages. schema: `module:Class` that a YAML
    file of this kind is read into. protocol: `module:Class` that a resolved object must be. instance: a
    registered class is called with no arguments to make the object.
    """

    hook: str
    noun: str
    schema: str = ""
    protocol: str = ""
    instance: bool = False


KINDS: Mapping[str, Kind] = {
    "languages": Kind("register_languages", "language", schema="tilbench.kinds.language:Language"),
    "datasets": Kind("register_datasets", "dataset", protocol="tilbench.data.dataset:Dataset"),
    "tokenizers": Kind(
        "register_tokenizers",
        "tokenizer family",
        protocol="tilbench.kinds.tokenizer:TokenizerFamily",
        instance=True,
    ),
    "architectures": Kind(
        "register_architectures",
        "architecture",
        protocol="tilbench.kinds.architecture:Architecture",
        instance=True,
    ),
    "models": Kind("register_models", "model", schema="tilbench.config.model:ModelSpec"),
    "trainers": Kind("register_trainers", "trainer", protocol="tilbench.kinds.trainer:Trainer", instance=True),
    "hardware": Kind(
        "register_hardware",
        "hardware profile",
        protocol="tilbench.kinds.hardware:HardwareProfile",
        instance=True,
    ),
    "metrics": Kind("register_metrics", "metric"),
    "loaders": Kind("register_loaders", "loader", protocol="tilbench.kinds.language_model:Loader", instance=True),
    "exporters": Kind("register_exporters", "exporter", protocol="tilbench.kinds.exporter:Exporter", instance=True),
    "executors": Kind("register_executors", "executor", protocol="tilbench.kinds.executor:Executor", instance=True),
    "suites": Kind("register_suites", "suite", schema="tilbench.config.suite:Suite"),
}


@dataclass(frozen=True, slots=True)
class Entry:
    """One registration: what, by which plugin of which distribution."""

    kind: str
    name: str
    target: Any
    summary: str
    plugin: str
    distribution: str

    @property
    def resource(self) -> tuple[str, str] | None:
        """Package and relative path where the target is a YAML file, else None."""
        if isinstance(self.target, str) and self.target.endswith((".yaml", ".yml")):
            package, _, relative = self.target.partition("/")
            return package, relative
        return None


class Registry:
    """Names of every kind. A name is unique within its kind."""

    def __init__(self) -> None:
        self._entries: dict[str, dict[str, Entry]] = {kind: {} for kind in KINDS}
        self._resolved: dict[tuple[str, str], Any] = {}

    def add(self, entry: Entry) -> None:
        """Register. Raises PluginError where another plugin holds the name."""
        taken = self._entries[entry.kind].get(entry.name)
        if taken is not None:
            raise PluginError(
                f"{KINDS[entry.kind].noun} {entry.name!r} is registered twice: by {taken.plugin} "
                f"({taken.distribution}) and by {entry.plugin} ({entry.distribution}); uninstall one of them"
            )
        self._entries[entry.kind][entry.name] = entry

    def remove_plugin(self, plugin: str) -> None:
        """Forget everything that `plugin` registered."""
        for entries in self._entries.values():
            for name in [name for name, entry in entries.items() if entry.plugin == plugin]:
                del entries[name]

    def names(self, kind: str) -> list[str]:
        """Return the registered names of a kind, sorted."""
        return sorted(self._entries[kind])

    def entries(self, kind: str) -> Iterator[Entry]:
        """Yield the registrations of a kind, sorted by name."""
        for name in self.names(kind):
            yield self._entries[kind][name]

    def entry(self, kind: str, name: str, fix: str = "") -> Entry:
        """Return a registration. Raises UnknownName with what is near, what exists and `fix`."""
        try:
            return self._entries[kind][name]
        except KeyError:
            hint = f"install the package that registers it, or name its file with --plugin; see 'tilbench list {kind}'"
            raise UnknownName(KINDS[kind].noun, name, self._entries[kind], fix or hint) from None

    def get(self, kind: str, name: str) -> Any:
        """Return the object registered under `name`, resolving it once.

        Raises UnknownName, or PluginError where the plugin's own code or file is at fault.
        """
        entry = self.entry(kind, name)
        if (kind, name) not in self._resolved:
            self._resolved[kind, name] = self._resolve(entry)
        return self._resolved[kind, name]

    def all(self, kind: str) -> Iterator[tuple[str, Any]]:
        """Yield name and object of everything of a kind."""
        for name in self.names(kind):
            yield name, self.get(kind, name)

    def _resolve(self, entry: Entry) -> Any:
        kind = KINDS[entry.kind]
        if entry.resource:
            from tilbench.config import yaml
            from tilbench.paths import package_file

            return yaml.load(package_file(*entry.resource), _import(kind.schema))
        target = entry.target
        if isinstance(target, str):
            try:
                target = _import(target)
            except TilbenchError:
                raise
            except Exception as error:
                raise PluginError(
                    f"{kind.noun} {entry.name!r} of plugin {entry.plugin} ({entry.distribution}) cannot be imported "
                    f"from {entry.target!r}: {type(error).__name__}: {error}"
                ) from error
        if kind.instance and callable(target):
            target = target()
        if kind.protocol and not isinstance(target, _import(kind.protocol)):
            raise PluginError(
                f"{kind.noun} {entry.name!r} of plugin {entry.plugin} ({entry.distribution}) is no {kind.protocol}: "
                f"got {type(target).__name__}"
            )
        return target


def _import(path: str) -> Any:
    module, _, attribute = path.partition(":")
    return getattr(importlib.import_module(module), attribute)

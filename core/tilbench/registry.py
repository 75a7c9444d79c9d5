"""Everything with a name, by kind: what plugins registered, resolved on first use."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

from tilbench.errors import PluginError, TilbenchError, UnknownName

if TYPE_CHECKING:
    from tilbench.config.model import ModelSpec
    from tilbench.config.suite import Suite
    from tilbench.data.dataset import Dataset
    from tilbench.kinds.architecture import Architecture
    from tilbench.kinds.executor import Executor
    from tilbench.kinds.exporter import Exporter
    from tilbench.kinds.hardware import HardwareProfile
    from tilbench.kinds.language import Language
    from tilbench.kinds.language_model import Loader
    from tilbench.kinds.metric import MetricClass
    from tilbench.kinds.tokenizer import TokenizerFamily
    from tilbench.kinds.trainer import Trainer

__all__ = ["KINDS", "Entry", "Kind", "Names", "Origin", "Registry"]


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of plugin.

    noun: what one is called in messages. protocol: `module:Class` that a resolved object is an instance of. reader:
    `module:function` that reads a YAML file of this kind into such an object. instance: a registered class is called
    with no arguments to make the object.
    """

    name: str
    noun: str
    protocol: str
    reader: str = ""
    instance: bool = False

    @property
    def hook(self) -> str:
        """The hook that registers it."""
        return f"register_{self.name}"


KINDS: Mapping[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind(
            "languages", "language", "tilbench.kinds.language:Language", reader="tilbench.kinds.language:load_language"
        ),
        Kind("datasets", "dataset", "tilbench.data.dataset:Dataset"),
        Kind("tokenizers", "tokenizer family", "tilbench.kinds.tokenizer:TokenizerFamily", instance=True),
        Kind("architectures", "architecture", "tilbench.kinds.architecture:Architecture", instance=True),
        Kind("models", "model", "tilbench.config.model:ModelSpec", reader="tilbench.config.spec_file:load_spec_file"),
        Kind("trainers", "trainer", "tilbench.kinds.trainer:Trainer", instance=True),
        Kind("hardware", "hardware profile", "tilbench.kinds.hardware:HardwareProfile", instance=True),
        Kind("metrics", "metric", "tilbench.kinds.metric:MetricClass"),
        Kind("loaders", "loader", "tilbench.kinds.language_model:Loader", instance=True),
        Kind("exporters", "exporter", "tilbench.kinds.exporter:Exporter", instance=True),
        Kind("executors", "executor", "tilbench.kinds.executor:Executor", instance=True),
        Kind("suites", "suite", "tilbench.config.suite:Suite", reader="tilbench.config.suite:load_suite"),
    )
}


class Origin(NamedTuple):
    """The place in a plugin that registered something."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


@dataclass(frozen=True, slots=True)
class Entry:
    """One registration: what, where, and by which plugin of which distribution."""

    name: str
    target: object
    summary: str
    plugin: str
    distribution: str
    origin: Origin

    @property
    def resource(self) -> tuple[str, str] | None:
        """Package and relative path where the target is a YAML file, else None."""
        if isinstance(self.target, str) and self.target.endswith((".yaml", ".yml")):
            package, _, relative = self.target.partition("/")
            return package, relative
        return None


T_co = TypeVar("T_co", covariant=True)


class Names(Generic[T_co]):
    """The registered names of one kind, whose objects are instances of `T_co`. A name is unique within its kind."""

    def __init__(self, kind: str) -> None:
        self.kind = KINDS[kind]
        self._entries: dict[str, Entry] = {}
        self._resolved: dict[str, T_co] = {}
        self._frozen = False

    def add(self, entry: Entry) -> None:
        """Register. Raises PluginError where the name is taken, and after `freeze`."""
        what = f"{self.kind.noun} {entry.name!r}"
        if self._frozen:
            raise PluginError(
                f"{what} of plugin {entry.plugin} ({entry.distribution}) is registered too late, at {entry.origin}; "
                f"register it in the hook {self.kind.hook}, while plugins are loaded"
            )
        if (taken := self._entries.get(entry.name)) is not None:
            raise PluginError(
                f"{what} is registered twice: by {taken.plugin} ({taken.distribution}) at {taken.origin} and by "
                f"{entry.plugin} ({entry.distribution}) at {entry.origin}; uninstall one of them"
            )
        self._entries[entry.name] = entry

    def remove_plugin(self, plugin: str) -> None:
        """Forget everything that `plugin` registered."""
        for name in [name for name, entry in self._entries.items() if entry.plugin == plugin]:
            del self._entries[name]

    def freeze(self) -> None:
        """Refuse every later `add`."""
        self._frozen = True

    def __contains__(self, name: str) -> bool:
        return name in self._entries

    def names(self) -> list[str]:
        """Return the registered names, sorted."""
        return sorted(self._entries)

    def entries(self) -> Iterator[Entry]:
        """Yield the registrations, sorted by name."""
        for name in self.names():
            yield self._entries[name]

    def entry(self, name: str, fix: str = "") -> Entry:
        """Return a registration. Raises UnknownName with what is near, what exists and `fix`."""
        try:
            return self._entries[name]
        except KeyError:
            hint = (
                "install the package that registers it, or name its file with --plugin; "
                f"see 'tilbench list {self.kind.name}'"
            )
            raise UnknownName(self.kind.noun, name, self._entries, fix or hint) from None

    def origin(self, name: str) -> Origin:
        """Return the file and line that registered `name`. Raises UnknownName."""
        return self.entry(name).origin

    def get(self, name: str) -> T_co:
        """Return the object registered under `name`, resolving it once. A model spec is returned without a variant.

        Raises UnknownName, or PluginError or ConfigError where the plugin's own code or file is at fault.
        """
        entry = self.entry(name)
        if name not in self._resolved:
            self._resolved[name] = _resolve(entry, self.kind)
        return self._resolved[name]

    def all(self) -> Iterator[tuple[str, T_co]]:
        """Yield name and object of everything of this kind, sorted by name."""
        for name in self.names():
            yield name, self.get(name)


class Registry:
    """The names of every kind, each under an attribute called as in `KINDS`.

    files: plugin files that registered some of them, besides the installed plugins.
    """

    def __init__(self, files: Sequence[str] = ()) -> None:
        self.files = tuple(files)
        self.languages: Names[Language] = Names("languages")
        self.datasets: Names[Dataset] = Names("datasets")
        self.tokenizers: Names[TokenizerFamily] = Names("tokenizers")
        self.architectures: Names[Architecture] = Names("architectures")
        self.models: Names[ModelSpec] = Names("models")
        self.trainers: Names[Trainer] = Names("trainers")
        self.hardware: Names[HardwareProfile] = Names("hardware")
        self.metrics: Names[MetricClass] = Names("metrics")
        self.loaders: Names[Loader] = Names("loaders")
        self.exporters: Names[Exporter] = Names("exporters")
        self.executors: Names[Executor] = Names("executors")
        self.suites: Names[Suite] = Names("suites")

    def kind(self, name: str) -> Names[object]:
        """Return the names of one of `KINDS`, for code that treats all kinds alike."""
        names: Names[object] = vars(self)[name]
        return names

    def remove_plugin(self, plugin: str) -> None:
        """Forget everything that `plugin` registered."""
        for kind in KINDS:
            self.kind(kind).remove_plugin(plugin)

    def freeze(self) -> None:
        """Refuse every later registration, of every kind."""
        for kind in KINDS:
            self.kind(kind).freeze()


def _resolve(entry: Entry, kind: Kind) -> Any:
    owner = f"{kind.noun} {entry.name!r} of plugin {entry.plugin} ({entry.distribution})"
    target = entry.target
    if entry.resource and kind.reader:
        from tilbench.paths import package_file

        return _import(kind.reader)(package_file(*entry.resource))
    if isinstance(target, str):
        try:
            target = _import(target)
        except TilbenchError:
            raise
        except Exception as error:
            raise PluginError(f"{owner} cannot be imported from {target!r}: {type(error).__name__}: {error}") from error
    if kind.instance and callable(target):
        target = target()
    if not isinstance(target, _import(kind.protocol)):
        raise PluginError(f"{owner} is no {kind.protocol}: got {type(target).__name__}")
    return target


def _import(path: str) -> Any:
    module, _, attribute = path.partition(":")
    return getattr(importlib.import_module(module), attribute)

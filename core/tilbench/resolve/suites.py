"""Suites by reference: a registered or shipped name, or a YAML file."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike, fspath
from pathlib import Path

from tilbench.config.suite import Suite, load_suite
from tilbench.config.yaml import validate
from tilbench.errors import ConfigError, PluginError, UnknownName
from tilbench.kinds.harness import Harness
from tilbench.paths import package_file, suites_folder
from tilbench.registry import Registry

__all__ = ["expand_suite", "find_harness", "find_suite", "suite_names"]


def suite_names(registry: Registry) -> list[str]:
    """Return the names of the shipped suites and of those that plugins registered, sorted."""
    shipped = {path.stem for path in suites_folder().glob("*.yaml")}
    return sorted(shipped | set(registry.suites.names()))


def find_suite(reference: str | PathLike[str], registry: Registry, overrides: Sequence[str] = ()) -> Suite:
    """Read a suite by path or by name. Raises UnknownName, or ConfigError with file and line."""
    reference = fspath(reference)
    path = Path(reference)
    if path.suffix not in (".yaml", ".yml"):
        shipped = suites_folder() / f"{reference}.yaml"
        if reference in registry.suites:
            entry = registry.suites.entry(reference)
            if entry.resource is None:
                raise ConfigError(f"suite {reference!r} of plugin {entry.plugin} is not a YAML file")
            path = package_file(*entry.resource)
        elif shipped.is_file():
            path = shipped
        else:
            raise UnknownName("suite", reference, suite_names(registry), "or name a YAML file")
    elif not path.exists() and (suites_folder() / path.name).is_file() and path.parent.name == "suites":
        path = suites_folder() / path.name  # `suites/kazakh.yaml` from anywhere, as the documentation writes it
    if not path.exists():
        raise UnknownName("suite file", reference, [f"suites/{name}.yaml" for name in suite_names(registry)])
    return load_suite(path, overrides)


def find_harness(metric: str, registry: Registry) -> Harness:
    """Return the metric that scores tasks of another harness. Raises UnknownName, or PluginError where it does not."""
    found = registry.metrics.get(metric)
    if not isinstance(found, Harness):
        raise PluginError(f"metric {metric!r} scores no tasks of another harness; it has no 'expand' and 'bind'")
    return found


def expand_suite(suite: Suite, registry: Registry, *, trust_remote_code: bool = False) -> Suite:
    """Return the suite with the tasks of other harnesses in the place of the entries that stand for them.

    Raises UnknownName for an entry that its harness does not know, ConfigError where the result is no suite.
    """
    fields = dict(suite)
    for metric, (entries, folders) in suite.borrowed.items():
        if not entries:
            continue
        tasks, macros = find_harness(metric, registry).expand(
            entries, [Path(each) for each in folders], trust_remote_code=trust_remote_code
        )
        fields.update(tasks=[*fields["tasks"], *tasks], macros=[*fields["macros"], *macros])
        fields[metric] = []
    return validate(fields, Suite, f"suite {suite.name}")

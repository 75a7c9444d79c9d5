"""From a registered name to its checks: what `tilbench check` runs."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from tilbench.errors import PluginError
from tilbench.testing.base import Conformance

if TYPE_CHECKING:
    from tilbench.registry import Entry, Registry

__all__ = ["conformance"]


def conformance(
    kind: str,
    name: str,
    registry: Registry,
    *,
    data_dir: Path | None = None,
    settings: Mapping[str, object] | None = None,
) -> Conformance:
    """Return the checks of what is registered under `name`; `run()` runs them.

    kind: a name of `tilbench.registry.KINDS`. settings: what the conformance class lets be set (`settable`),
    such as `{"config": {"hidden_size": 32}}` for an architecture. Raises what resolving the name raises, NotApplicable
    for a kind or a thing that cannot be checked here, ConfigError for an unknown setting.
    """
    made = _made(kind, name, registry, data_dir)
    made.change(settings or {})
    return made


def _made(kind: str, name: str, registry: Registry, data_dir: Path | None) -> Conformance:
    match kind:
        case "languages":
            return _language(registry.languages.entry(name), registry)
        case "models":
            from tilbench.testing.data import ModelConformance

            registry.models.entry(name)
            return _with(ModelConformance(), name=name, registry=registry)
        case "suites":
            from tilbench.testing.data import SuiteConformance

            return _with(SuiteConformance(), name=name, registry=registry, data_dir=data_dir)
        case "datasets":
            from tilbench.testing.data import DatasetConformance

            return _with(DatasetConformance(), subject=registry.datasets.get(name), name=name, data_dir=data_dir)
        case "hardware":
            from tilbench.testing.data import HardwareConformance, hardware_subject

            return _with(HardwareConformance(), subject=hardware_subject(registry, name))
        case "metrics":
            from tilbench.kinds.harness import Harness
            from tilbench.testing.base import NotApplicable
            from tilbench.testing.metric import MetricConformance

            metric = registry.metrics.get(name)
            if isinstance(metric, Harness):
                raise NotApplicable("it scores tasks of another harness only; 'tilbench check SUITE' plans them")
            return _with(MetricConformance(), subject=metric)
        case "tokenizers":
            from tilbench.testing.tokenizer import TokenizerConformance

            family = registry.tokenizers.get(name)
            return _with(TokenizerConformance(), subject=family, reference=name if family.recognises(name) else "")
        case "loaders":
            return _loader(name, registry)
        case "exporters":
            from tilbench.testing.exporter import ExporterConformance

            return _with(ExporterConformance(), subject=registry.exporters.get(name), registry=registry)
        case _:
            return _other(kind, registry.kind(kind).get(name))


def _other(kind: str, subject: object) -> Conformance:
    if kind == "architectures":
        from tilbench.testing.architecture import ArchitectureConformance

        return _with(ArchitectureConformance(), subject=subject)
    if kind == "trainers":
        from tilbench.testing.trainer import TrainerConformance

        return _with(TrainerConformance(), subject=subject)
    if kind == "executors":
        from tilbench.testing.model import ExecutorConformance

        return _with(ExecutorConformance(), subject=subject)
    raise PluginError(f"there are no checks of {kind}")


def _language(entry: Entry, registry: Registry) -> Conformance:
    from tilbench.data.samples import LAYOUT
    from tilbench.testing.language import LanguageConformance

    language = registry.languages.get(entry.name)
    files = {file for _, file, _ in LAYOUT.values()}
    datasets = {
        each.file: each
        for other in registry.datasets.entries()
        if other.plugin == entry.plugin
        and (each := registry.datasets.get(other.name)).language == language.tag
        and each.file in files
    }
    shipped = entry.distribution == "tilbench"
    return _with(LanguageConformance(), subject=language, datasets=datasets, shipped=shipped)


def _loader(name: str, registry: Registry) -> Conformance:
    from tilbench.kinds.language_model import OpenOptions
    from tilbench.resolve.tokenizers import load_tokenizer
    from tilbench.testing.model import LoaderConformance
    from tilbench.testing.toys import toy_texts

    loader = registry.loaders.get(name)
    options = OpenOptions(reference_text=toy_texts(40), load_tokenizer=partial(load_tokenizer, registry=registry))
    reference = name if loader.recognises(name) else ""
    return _with(LoaderConformance(), subject=loader, reference=reference, options=options)


def _with(made: Conformance, **attributes: object) -> Conformance:
    for name, value in attributes.items():
        setattr(made, name, value)
    return made

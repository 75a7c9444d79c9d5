"""Plugins that one line makes, because all of their kind have the same shape."""

from __future__ import annotations

from collections.abc import Callable

from tilbench.data.samples import sample_datasets
from tilbench.hookspecs import Register, hookimpl

__all__ = ["Hook", "language_plugin"]

Hook = Callable[[Register], None]
"""A function that registers things, as `tilbench.hookspecs` describes."""


def language_plugin(
    package: str, tag: str, name: str, *, samples: str = "", licence: str = "Apache-2.0"
) -> tuple[Hook, Hook]:
    """Return the hooks `register_languages` and `register_datasets` of a package that holds one language.

        register_languages, register_datasets = language_plugin(__name__, "kk-Cyrl", "Kazakh")

    package: has `language.yaml` (`tilbench.kinds.language.Language`) and sample files in the layout of
    `tilbench.data.samples.LAYOUT`. A data directory with the same ids takes the samples' place.
    tag, name: those of `language.yaml`, given here so that a listing reads no YAML.
    samples: what the samples' names have for the language, as in `text/kk/train`; by default the first part of `tag`.
    licence: of the samples.
    """

    @hookimpl
    def register_languages(register: Register) -> None:
        register(tag, f"{package}/language.yaml", summary=name)

    @hookimpl
    def register_datasets(register: Register) -> None:
        for dataset_name, dataset in sample_datasets(package, tag, samples=samples, licence=licence):
            register(dataset_name, dataset, summary=dataset.summary)

    return register_languages, register_datasets

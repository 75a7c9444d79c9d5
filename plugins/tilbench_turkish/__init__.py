"""Turkish: script, letters, cue words of prompts, and sample data written for tilbench."""

from __future__ import annotations

from tilbench import hookimpl
from tilbench.data.samples import sample_datasets
from tilbench.hookspecs import Register


@hookimpl
def register_languages(register: Register) -> None:
    """Register `tr-Latn`."""
    register("tr-Latn", "tilbench_turkish/language.yaml", summary="Turkish")


@hookimpl
def register_datasets(register: Register) -> None:
    """Register the sample data; a data directory with the same ids takes its place."""
    for name, dataset in sample_datasets("tilbench_turkish", "tr-Latn"):
        register(name, dataset, summary=dataset.summary)

"""English: script, letters, cue words of prompts, and sample data written for tilbench."""

from __future__ import annotations

from tilbench import hookimpl
from tilbench.data.samples import sample_datasets
from tilbench.hookspecs import Register


@hookimpl
def register_languages(register: Register) -> None:
    """Register `en-Latn`."""
    register("en-Latn", "tilbench_english/language.yaml", summary="English")


@hookimpl
def register_datasets(register: Register) -> None:
    """Register the sample data; a data directory with the same ids takes its place."""
    for name, dataset in sample_datasets("tilbench_english", "en-Latn"):
        register(name, dataset, summary=dataset.summary)

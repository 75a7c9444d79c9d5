"""Translation, scored by sacreBLEU: BLEU, chrF++ and TER, and what must not be scored."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tilbench import hookimpl
from tilbench.hookspecs import Register
from tilbench_translation.datasets import reversed_datasets

if TYPE_CHECKING:
    import click


@hookimpl
def register_metrics(register: Register) -> None:
    """Translations of pairs."""
    register(
        "translation",
        "tilbench_translation.translation:Translation",
        summary="translations, by chrF++ and BLEU of sacreBLEU with its signature",
    )


@hookimpl
def register_datasets(register: Register) -> None:
    """The other directions of the parallel texts that a data directory may hold."""
    for name, dataset in reversed_datasets():
        register(name, dataset, summary=dataset.summary)


@hookimpl
def register_commands(cli: click.Group) -> None:
    """Add `tilbench score-translation`."""
    from tilbench_translation.command import score_translation

    cli.add_command(score_translation)

"""`tilbench score-translation`: files of hypotheses and references, scored with the metric's own refusals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import click

from tilbench.cli.app import App, json_option, print_json

__all__ = ["score_translation"]


@click.command("score-translation")
@click.argument("hypotheses", type=click.Path(path_type=Path))
@click.argument("references", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--language", required=True, metavar="TAG", help="Language that was translated into, such as kk-Cyrl.")
@click.option("--tokenize", default="13a", type=click.Choice(["13a", "intl", "char", "zh", "none"]), show_default=True)
@click.option("--lowercase", is_flag=True, help="Ignore case in BLEU and chrF++; TER always does.")
@click.option("--ter", is_flag=True, help="Compute TER too, which takes long.")
@json_option
@click.pass_obj
def score_translation(
    app: App,
    hypotheses: Path,
    references: Sequence[Path],
    language: str,
    tokenize: str,
    lowercase: bool,
    ter: bool,
    as_json: bool,
) -> None:
    """Score the lines of HYPOTHESES against those of one or more files of REFERENCES.

    Hypotheses that are the references, empty, or in another language are refused, and files of different lengths too.

    \b
    Example:
      tilbench score-translation hypotheses.txt references.txt --language kk-Cyrl
    """
    from tilbench.results.wording import format_value
    from tilbench_metrics_generation.translation.files import score_files

    registry = app.host.registry
    values, signatures = score_files(
        hypotheses,
        references,
        registry.languages.get(language),
        tokenize=tokenize,
        lowercase=lowercase,
        ter=ter,
    )
    if as_json:
        print_json({"values": {name: asdict(value) for name, value in values.items()}, "signatures": signatures})
        return
    for (name, value), signature in zip(values.items(), signatures, strict=True):
        click.echo(f"{name} {format_value(value)}  {signature.partition(': ')[2]}")

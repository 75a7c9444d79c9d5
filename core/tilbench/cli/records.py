"""`tilbench records`: do the numbers of a record follow from its items, and what do papers report?"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from tilbench.cli.app import App, data_option, json_option, print_json

__all__ = ["records"]


@click.group()
def records() -> None:
    """Check records, and write the figures that papers report as records."""


@records.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path))
@data_option
@json_option
@click.pass_obj
def verify(app: App, paths: Sequence[Path], data_dir: Path | None, as_json: bool) -> int:
    """Recompute every value of the records in PATHS (files or folders) from their items.

    The fingerprint of a task is computed again from its fields. Rows and requests are counted again where the dataset
    is in --data DIR or in an installed plugin. Ends with status 1 where a number, a hash or the schema does not hold.

    \b
    Example:
      tilbench records verify records
    """
    from tilbench.evaluation.verify import verify_records

    results = [result for path in paths for result in verify_records(path, app.host.registry, data_dir)]
    faults = [result for result in results if result.fault]
    if as_json:
        print_json([{"path": str(result.path), "fault": result.fault} for result in results])
    else:
        for result in faults:
            click.echo(f"{result.path}: {result.fault}")
        click.echo(f"{len(results) - len(faults)} of {len(results)} records hold")
    return 1 if faults else 0


@records.command()
@click.argument("models", nargs=-1)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of records to write to.")
@json_option
@click.pass_obj
def reported(app: App, models: Sequence[str], out: Path, as_json: bool) -> None:
    """Write the figures that the papers of MODELS print (all models' by default) as records.

    They are marked as reported, carry their citation and notes, and share no column with measured values.

    \b
    Example:
      tilbench records reported til-mini-1b --out records
    """
    from tilbench.evaluation.reported import write_reported

    paths = write_reported(models, app.host.registry, out)
    if as_json:
        print_json([str(path) for path in paths])
    else:
        click.echo(f"{len(paths)} reported figures in {out}")

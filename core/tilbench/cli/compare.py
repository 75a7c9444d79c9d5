"""`tilbench compare`: which of two models is better, and can it be believed?"""

from __future__ import annotations

from pathlib import Path

import click

from tilbench.cli.app import json_option, names, print_json

__all__ = ["compare"]


@click.command()
@click.argument("a")
@click.argument("b")
@click.option(
    "--records", type=click.Path(path_type=Path), default="records", show_default=True, help="Folder of records."
)
@click.option("--suite", default="", help="Compare on the tasks of this suite only.")
@click.option("--tasks", default="", metavar="A,B", help="Compare on these tasks only.")
@json_option
def compare(a: str, b: str, records: Path, suite: str, tasks: str, as_json: bool) -> None:
    """Say whether model A or model B is better, task by task and over all tasks of one kind.

    A and B are models of the records by name, by the beginning of one, or by NAME#FINGERPRINT, as much of the
    fingerprint as tells them apart; the folder of a run is its last checkpoint, as for 'tilbench run'. Items are
    paired: exact McNemar for right and wrong answers, Student's t for everything else; p is Holm's over all tasks
    compared. Fewer than six independent rows are too few to name a winner.

    \b
    Example:
      tilbench compare runs/b@0 runs/b@40 --records records
    """
    from tilbench.api import compare as compare_records

    found = compare_records(records, a, b, suite=suite, tasks=names(tasks))
    print_json(found.data()) if as_json else click.echo(found)

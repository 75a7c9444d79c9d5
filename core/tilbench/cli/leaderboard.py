"""`tilbench leaderboard`: records on a page in the browser, or as a table in the terminal."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path

import click

from tilbench.cli.app import console, json_option, print_json
from tilbench.errors import DataError, MissingDependency

__all__ = ["leaderboard"]


@click.command()
@click.option(
    "--records",
    type=click.Path(path_type=Path),
    default="records",
    show_default=True,
    help="Folder of records.",
)
@click.option("--port", type=click.IntRange(1, 65535), help="Port to serve on [default: the first free one from 8501].")
@click.option("--headless", is_flag=True, help="Do not open a browser.")
@click.option("--table", is_flag=True, help="Print the table here instead of serving a page.")
@json_option
def leaderboard(records: Path, port: int | None, headless: bool, table: bool, as_json: bool) -> int:
    """Serve the leaderboard of a folder of records.

    \b
    Example:
      tilbench leaderboard --records records
      tilbench leaderboard --records records --table
    """
    if not records.is_dir():
        raise DataError(f"{records}: no such folder; make records with 'tilbench run SUITE --out {records}'")
    if table or as_json:
        _print(records, as_json)
        return 0
    try:
        launch = importlib.import_module("tilbench_leaderboard.launch")
    except ImportError:
        raise MissingDependency("tilbench_leaderboard", "leaderboard", "the leaderboard page") from None
    command = launch.command(records, port, headless)
    sys.stdout.flush()
    # The server takes the place of this process: whatever ends the command ends it, and no child keeps the port.
    os.execv(command[0], command)


def _print(records: Path, as_json: bool) -> None:
    from tilbench.cli.table import render
    from tilbench.results.store import RecordStore
    from tilbench.results.table import make_board

    store = RecordStore(records)
    found = []
    for path in store.paths():
        try:
            found.append((path, store.read(path)))
        except DataError as error:
            click.echo(f"warning: left out: {' '.join(str(error).split())}", err=True)
    if as_json:
        print_json([{"path": str(path), **record.model_dump(mode="json")} for path, record in found])
    else:
        out = console()
        out.print(render(make_board(found), out.width))

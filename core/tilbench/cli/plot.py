"""`tilbench plot`: the curves of training runs as pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from tilbench.cli.app import console, json_option, print_json

__all__ = ["plot"]


@click.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--out", type=click.Path(path_type=Path), help="Folder of the pictures [default: RUN/plots, or plots for several]."
)
@click.option("--format", "form", type=click.Choice(["png", "svg"]), default="png", show_default=True)
@json_option
def plot(runs: Sequence[Path], out: Path | None, form: str, as_json: bool) -> None:
    """Draw loss, learning rate, gradient norm, throughput and validation of RUNS over each other.

    \b
    Example:
      tilbench plot runs/a runs/b --out plots --format svg
    """
    from tilbench.errors import DataError
    from tilbench.training.curves import draw_curves
    from tilbench.training.log import read_curves

    runs = list(dict.fromkeys(runs))
    folder = out or (runs[0] / "plots" if len(runs) == 1 else Path("plots"))
    curves = {str(run): read_curves(run) for run in runs}
    if folder.exists() and not folder.is_dir():
        raise DataError(f"{folder} is a file; pictures go into a folder, so name another with --out")
    drawn = [str(path) for path in draw_curves(curves, folder, form)]
    if as_json:
        print_json(drawn)
        return
    for path in drawn:
        console().print(path)

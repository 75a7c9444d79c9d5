"""`tilbench merge`: a checkpoint with an adapter → whole weights."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from tilbench.cli.app import App, console, dtype_option, json_option, print_json
from tilbench.paths import refuse_existing

if TYPE_CHECKING:
    from tilbench.config.model import DType

__all__ = ["merge"]


@click.command()
@click.argument("run")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder of the merged checkpoint.")
@dtype_option("Of the merged weights. A base in 4 bits is converted to it before the adapter is added.")
@json_option
@click.pass_obj
def merge(app: App, run: str, out: Path, dtype: DType, as_json: bool) -> None:
    """Add the adapter of RUN (a run or checkpoint, or RUN@STEP) into the weights under it.

    \b
    Example:
      tilbench merge runs/sft --out runs/sft-merged
    """
    refuse_existing(out)
    from tilbench.publish.merge import merge as write

    folder = write(run, out, app.host.registry, dtype=dtype)
    if as_json:
        print_json({"checkpoint": str(folder), "dtype": dtype})
    else:
        console().print(f"checkpoint: {folder}")

"""`tilbench merge`: a checkpoint with an adapter → whole weights."""

from __future__ import annotations

from pathlib import Path

import click

from tilbench.cli.app import App, console, json_option, new_folder, print_json

__all__ = ["merge"]


@click.command()
@click.argument("run")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder of the merged checkpoint.")
@click.option(
    "--precision",
    type=click.Choice(["fp32", "bf16", "fp16"]),
    default="fp32",
    show_default=True,
    help="Of the merged weights. A base in 4 bits is turned back into it before the adapter is added.",
)
@json_option
@click.pass_obj
def merge(app: App, run: str, out: Path, precision: str, as_json: bool) -> None:
    """Add the adapter of RUN (a run or checkpoint, or RUN@STEP) into the weights under it.

    \b
    Example:
      tilbench merge runs/sft --out runs/sft-merged
    """
    new_folder(out)
    from tilbench.publish.merge import merge as write

    folder = write(run, out, app.host.registry, precision=precision)
    if as_json:
        print_json({"checkpoint": str(folder), "precision": precision})
    else:
        console().print(f"checkpoint: {folder}")

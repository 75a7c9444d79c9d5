"""`tilbench export`: a checkpoint → files that other tools read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from tilbench.cli.app import App, console, json_option, new_folder, print_json

__all__ = ["export"]


@click.command()
@click.argument("run")
@click.option("--to", required=True, metavar="FORMAT", help="A registered exporter; see 'tilbench list exporters'.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder to write, which must not exist.")
@click.option(
    "--precision",
    type=click.Choice(["fp32", "bf16", "fp16"]),
    default="fp32",
    show_default=True,
    help="Of the written weights.",
)
@click.option(
    "--allow-code",
    is_flag=True,
    help="Write Python beside the weights where Transformers has no class for them; loading runs it.",
)
@json_option
@click.pass_obj
def export(app: App, /, run: str, to: str, out: Path, as_json: bool, **asked: Any) -> None:
    """Write RUN (a run or checkpoint, or RUN@STEP) in a format that other tools read.

    An adapter is added into the weights under it.

    \b
    Example:
      tilbench export runs/a --to transformers --out exported/a
    """
    new_folder(out)
    from tilbench.publish.export import export as write

    told = write(run, to, out, app.host.registry, **asked)
    if as_json:
        print_json({"folder": str(out), "format": to, "precision": asked["precision"], **told})
        return
    printed = console()
    printed.print(f"{to}: {out}")
    for name, value in told.items():
        shown = ", ".join(map(str, value)) if isinstance(value, list | tuple) else value
        printed.print(f"{name.replace('_', ' ')}: {shown}")

"""`tilbench export`: a checkpoint → files that other tools read."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from tilbench.cli.app import App, console, dtype_option, json_option, print_json
from tilbench.paths import refuse_existing

if TYPE_CHECKING:
    from tilbench.config.model import DType

__all__ = ["export"]


@click.command()
@click.argument("run")
@click.option("--to", required=True, metavar="FORMAT", help="A registered exporter; see 'tilbench list exporters'.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder to write, which must not exist.")
@dtype_option("Of the written weights.")
@click.option(
    "--allow-code",
    is_flag=True,
    help="Write Python beside the weights where Transformers has no class for them; loading runs it.",
)
@json_option
@click.pass_obj
def export(app: App, run: str, to: str, out: Path, dtype: DType, allow_code: bool, as_json: bool) -> None:
    """Write RUN (a run or checkpoint, or RUN@STEP) in a format that other tools read.

    An adapter is added into the weights under it.

    \b
    Example:
      tilbench export runs/a --to transformers --out exported/a
    """
    refuse_existing(out)
    from tilbench.publish.export import export as write

    told = write(run, to, out, app.host.registry, dtype=dtype, allow_code=allow_code)
    if as_json:
        print_json({"folder": str(out), "format": to, "dtype": dtype, **told})
        return
    printed = console()
    printed.print(f"{to}: {out}")
    for name, value in told.items():
        shown = ", ".join(map(str, value)) if isinstance(value, list | tuple) else value
        printed.print(f"{name.replace('_', ' ')}: {shown}")

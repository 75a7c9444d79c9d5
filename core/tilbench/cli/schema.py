"""`tilbench schema`: what the file of a suite, a model spec or a language may say, for editors."""

from __future__ import annotations

from pathlib import Path

import click

from tilbench.cli.app import App

__all__ = ["schema"]


@click.command()
@click.argument("kind", type=click.Choice(["suite", "model", "language"]))
@click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), help="File to write [default: standard output]."
)
@click.pass_obj
def schema(app: App, kind: str, out: Path | None) -> None:
    """Write the JSON Schema of a KIND of file: its fields, what they mean, and the names that are registered here.

    An editor with a YAML language server completes and checks a file whose first line names the schema:

    \b
      # yaml-language-server: $schema=suite.schema.json

    \b
    Example:
      tilbench schema suite --out suite.schema.json
    """
    from tilbench.paths import atomic_path
    from tilbench.resolve.schemas import schema_text

    text = schema_text(kind, app.host.registry)
    if out is None:
        click.echo(text, nl=False)
    else:
        with atomic_path(out) as path:
            path.write_text(text, encoding="utf-8")
        click.echo(f"wrote {out}")

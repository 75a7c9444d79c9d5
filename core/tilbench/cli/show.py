"""`tilbench show`: one registered thing whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from tilbench.cli.app import App, console, data_option, json_option, print_json

__all__ = ["show"]

_SHOWN = 400
"""Characters of one text of a row that are shown; `--json` gives all."""


@click.command()
@click.argument("name")
@click.option("--kind", help="Which kind of thing, where one name stands for several.")
@data_option
@json_option
@click.pass_obj
def show(app: App, name: str, kind: str | None, data_dir: Path | None, as_json: bool) -> None:
    """Show one registered thing whole: a model's spec, a dataset, a language, a suite … or a run or checkpoint.

    Of a model, where its parameters are, what its cache takes, how it is trained, and what its paper reports. Of a
    dataset, the file that a run would read, how many rows it has, and the first of them.

    \b
    Example:
      tilbench show til-mini-1b --json
      tilbench show turkish-v1
      tilbench show runs/a
      tilbench show text/kk/heldout --data DIR
    """
    from tilbench.resolve.describe import describe

    described = describe(name, app.host.registry, kind, data_dir)
    if as_json:
        print_json(described)
        return
    if described["kind"] == "models":
        from tilbench.cli.model_page import print_model

        print_model(described, console())
        return
    if "first_row" in described:
        described["first_row"] = _shortened(described["first_row"])
    console().print(_yaml(described), soft_wrap=True)


def _shortened(row: dict[str, Any]) -> dict[str, object]:
    """Return a row whose long texts are cut."""
    return {
        field: value[:_SHOWN] + " …" if isinstance(value, str) and len(value) > _SHOWN else value
        for field, value in row.items()
    }


def _yaml(data: object) -> str:
    """Return data as YAML for people: texts of several lines stand as they are."""
    import yaml

    class Dumper(yaml.SafeDumper):
        pass

    def text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
        return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)

    Dumper.add_representer(str, text)
    dumped: str = yaml.dump(_plain(data), Dumper=Dumper, allow_unicode=True, sort_keys=False, width=100)
    return dumped.rstrip()


def _plain(data: object) -> Any:
    """Return data that YAML writes without tags."""
    if isinstance(data, dict):
        return {str(key): _plain(value) for key, value in data.items()}
    if isinstance(data, list | tuple | set | frozenset):
        return [_plain(value) for value in data]
    return data if data is None or isinstance(data, str | int | float | bool) else str(data)

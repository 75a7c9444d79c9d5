"""`tilbench list` and `plugins`: what there is, without importing anything heavy."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from tilbench.cli.app import App, json_option, print_json
from tilbench.errors import UnknownName
from tilbench.registry import KINDS

if TYPE_CHECKING:
    from tilbench.registry import Registry

__all__ = ["list_names", "plugins"]


@click.command("list")
@click.argument("kind", required=False)
@json_option
@click.pass_obj
def list_names(app: App, kind: str | None, as_json: bool) -> None:
    """List what is registered: everything, or one KIND such as models, languages, metrics.

    \b
    Example:
      tilbench list models
    """
    if kind is not None and kind not in KINDS:
        raise UnknownName("kind", kind, KINDS)
    registry = app.host.registry
    found = {each: _rows(registry, each) for each in ([kind] if kind else KINDS)}
    if as_json:
        print_json(found)
        return
    for each, rows in found.items():
        if kind is None:
            click.echo(f"{each}:")
        width = max((len(row["name"]) for row in rows), default=0)
        for row in rows:
            indent = "  " if kind is None else ""
            click.echo(f"{indent}{row['name']:<{width}}  {row['summary']}".rstrip())


def _rows(registry: Registry, kind: str) -> list[dict[str, str]]:
    rows = [
        {"name": each.name, "summary": each.summary, "plugin": each.plugin, "distribution": each.distribution}
        for each in registry.kind(kind).entries()
    ]
    if kind == "suites":
        from tilbench.resolve.suites import find_suite, suite_names

        known = {row["name"] for row in rows}
        shipped = [find_suite(name, registry) for name in suite_names(registry) if name not in known]
        rows += [
            {"name": suite.name, "summary": suite.title, "plugin": "", "distribution": "tilbench"} for suite in shipped
        ]
    return sorted(rows, key=lambda row: row["name"])


@click.command()
@json_option
@click.pass_obj
def plugins(app: App, as_json: bool) -> None:
    """List plugins, where each is from, and what is wrong with those that were skipped.

    \b
    Example:
      tilbench plugins
    """
    if as_json:
        print_json([asdict(plugin) for plugin in app.host.plugins])
        return
    width = max((len(plugin.name) for plugin in app.host.plugins), default=0)
    for plugin in app.host.plugins:
        click.echo(f"{plugin.name:<{width}}  {plugin.distribution}  {plugin.error or 'ok'}")

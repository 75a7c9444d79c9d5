"""What every subcommand shares: the loaded plugins, common options, and ways to print."""

from __future__ import annotations

import contextlib
import functools
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from tilbench.errors import DataError
from tilbench.loader import Host, load_plugins
from tilbench.ranks import rank

if TYPE_CHECKING:
    from rich.console import Console

__all__ = [
    "App",
    "console",
    "data_option",
    "json_option",
    "names",
    "new_folder",
    "print_json",
    "set_option",
    "stopping",
]

F = TypeVar("F", bound=Callable[..., Any])


class App:
    """The state of one invocation. Plugins are loaded when they are first needed."""

    def __init__(self) -> None:
        self.files: tuple[str, ...] = ()

    @functools.cached_property
    def host(self) -> Host:
        """The plugins; those that are broken are named on standard error once."""
        host = load_plugins(self.files)
        for plugin in host.broken:
            where = f"{plugin.name} ({plugin.distribution})"
            click.echo(f"warning: plugin {where} skipped: it {plugin.error}; reinstall it", err=True)
        return host


def _folder(ctx: click.Context, param: click.Parameter, value: str | None) -> Path | None:
    if value is None:
        return None
    path = Path(value).expanduser()
    if not path.is_dir():
        raise DataError(f"data directory {value!r} is not a folder; pass another with --data, or unset TILBENCH_DATA")
    return path


def data_option(function: F) -> F:
    """Add `--data DIR`, also read from TILBENCH_DATA."""
    return click.option(
        "--data",
        "data_dir",
        metavar="DIR",
        envvar="TILBENCH_DATA",
        callback=_folder,
        help="Folder searched for datasets first, by their names. Also TILBENCH_DATA.",
    )(function)


def json_option(function: F) -> F:
    """Add `--json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(function)


def set_option(function: F) -> F:
    """Add `--set path.to.field=value`."""
    return click.option(
        "--set",
        "overrides",
        multiple=True,
        metavar="FIELD=VALUE",
        help="Override a field, such as recipe.steps=60; can be repeated.",
    )(function)


@contextlib.contextmanager
def stopping() -> Iterator[None]:
    """End the command well where the training in it was told to stop and has saved its step."""
    from tilbench.kinds.trainer import Stopped

    try:
        yield
    except Stopped as stopped:
        if not rank():  # the first process of torchrun speaks for all
            click.echo(f"stopped: {stopped}", err=True)
        click.get_current_context().exit(0)


def new_folder(out: Path) -> None:
    """Raise DataError where `out` is there already. Commands that write it ask before they load anything heavy."""
    if out.exists() or out.is_symlink():
        raise DataError(f"{out} exists; name a folder that does not with --out")


def names(text: str) -> list[str]:
    """Split a comma-separated option."""
    return [name.strip() for name in text.split(",") if name.strip()]


def print_json(data: Any) -> None:
    """Print data as JSON on standard output."""
    click.echo(json.dumps(data, indent=1, ensure_ascii=False, default=str))


def console(*, stderr: bool = False) -> Console:
    """Return a rich console that does not guess at a width narrower than a table needs when output is a file."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    return Console(stderr=stderr, width=None if stream.isatty() else 200, highlight=False, markup=False)

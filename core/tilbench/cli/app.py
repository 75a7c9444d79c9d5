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

from tilbench.loader import Host, load_plugins
from tilbench.paths import data_folder
from tilbench.ranks import rank

if TYPE_CHECKING:
    from rich.console import Console

__all__ = [
    "App",
    "console",
    "data_option",
    "dtype_option",
    "json_option",
    "model_options",
    "names",
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
    return data_folder(value)


def data_option(function: F) -> F:
    """Add `--data DIR`, also read from TILBENCH_DATA."""
    return click.option(
        "--data",
        "data_dir",
        metavar="DIR",
        callback=_folder,
        help="Folder searched for datasets first, by their names. Also TILBENCH_DATA.",
    )(function)


def json_option(function: F) -> F:
    """Add `--json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(function)


class _DType(click.Choice[str]):
    """A data type by PyTorch's name; the short names that recipes use are read too."""

    _SHORT = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        return super().convert(self._SHORT.get(value, value), param, ctx)


def dtype_option(said: str) -> Callable[[F], F]:
    """Add `--dtype`, the data type of weights, with this help. `--precision` is read as the same option."""
    return click.option(
        "--dtype",
        "--precision",
        "dtype",
        type=_DType(["float32", "bfloat16", "float16"]),
        default="float32",
        show_default=True,
        help=said,
    )


_MODEL_OPTIONS = (
    click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda …"),
    dtype_option("Of the model's weights."),
    click.option(
        "--batch-tokens",
        type=click.IntRange(min=1),
        default=4096,
        show_default=True,
        help="Tokens per forward pass.",
    ),
    click.option(
        "--prefix", type=click.Choice(["bos", "eos", "none"]), help="Override the prefix token of every model."
    ),
    click.option("--trust-remote-code", is_flag=True, help="Run Python of a Hub model or a task file."),
)


def model_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that say how a model is opened. The command takes them as one `options: ModelOptions`."""

    @functools.wraps(function)
    def command(*args: Any, **given: Any) -> Any:
        from tilbench.resolve.model_options import ModelOptions

        options = ModelOptions(
            device=given.pop("device"),
            dtype=given.pop("dtype"),
            batch_tokens=given.pop("batch_tokens"),
            prefix=given.pop("prefix") or "",
            trust_remote_code=given.pop("trust_remote_code"),
        )
        return function(*args, options=options, **given)

    for option in reversed(_MODEL_OPTIONS):
        option(command)
    return command


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

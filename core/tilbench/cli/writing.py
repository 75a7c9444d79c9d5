"""What `generate` and `chat` share: options of decoding, ways to open a model, and how they are interrupted."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from tilbench.kinds.language_model import LanguageModel, WritingDefaults
    from tilbench.registry import Registry
    from tilbench.resolve.model_options import ModelOptions

__all__ = ["decoding_options", "decoding_of", "interruptible", "note", "open_model", "show"]

F = TypeVar("F", bound=Callable[..., Any])

_OPTIONS = (
    click.option("--max-new-tokens", type=click.IntRange(min=1), help="Tokens at most."),
    click.option("--temperature", type=click.FloatRange(min=0), help="0 takes the likeliest token."),
    click.option("--greedy", is_flag=True, help="Take the likeliest token: temperature 0."),
    click.option("--top-k", type=click.IntRange(min=0), help="Choose among this many tokens; 0: all."),
    click.option(
        "--top-p", type=click.FloatRange(min=0, max=1, min_open=True), help="Choose among tokens of this share."
    ),
    click.option("--repetition-penalty", type=click.FloatRange(min=0, min_open=True), help="1 is none."),
    click.option("--no-repeat-ngram", type=click.IntRange(min=0), help="No n-gram of this many tokens twice; 0: any."),
    click.option("--stop", multiple=True, metavar="TEXT", help="End before this text; can be repeated."),
    click.option("--seed", type=int, default=0, show_default=True, help="Of sampling."),
    click.option("--runs", default="runs", show_default=True, type=click.Path(), help="Folder of trainings."),
)


def decoding_options(function: F) -> F:
    """Add the options that say how a text is written."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


def decoding_of(given: Mapping[str, Any]) -> dict[str, object]:
    """Return the decoding settings among the options, None where one was not given."""
    from tilbench.config.decoding import Decoding

    if given["greedy"] and given["temperature"]:
        raise click.UsageError("--greedy is temperature 0; leave out one of --greedy and --temperature")
    asked = {field.name: given[field.name] for field in fields(Decoding)}
    return {**asked, "temperature": 0.0} if given["greedy"] else asked


def open_model(
    model: str, options: ModelOptions, registry: Registry, given: Mapping[str, Any]
) -> tuple[LanguageModel, WritingDefaults]:
    """Open a model that writes, with the settings it comes with."""
    from pathlib import Path

    from tilbench.generation.texts import open_writing
    from tilbench.resolve.model_options import open_options
    from tilbench.resolve.models import find_model

    if any(not stop for stop in given["stop"]):
        raise click.UsageError("--stop is empty; give the text that a text ends before")
    source = find_model(model, registry, Path(given["runs"]))
    return open_writing(source, open_options(options, registry))


def show(piece: str) -> None:
    """Write a piece of a text at once."""
    click.echo(piece, nl=False)
    sys.stdout.flush()


def note(text: str) -> None:
    """Say something beside the texts, on standard error."""
    click.echo(text, err=True)


@contextmanager
def interruptible() -> Iterator[None]:
    """Let Ctrl-C end the command with status 130; what was written stays."""
    try:
        yield
    except (KeyboardInterrupt, click.Abort):
        click.echo("\ninterrupted", err=True)
        sys.exit(130)

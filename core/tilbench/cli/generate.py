"""`tilbench generate`: texts for prompts."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tilbench.cli.app import App, model_options
from tilbench.cli.writing import decoding_of, decoding_options, interruptible, note, open_model, show

if TYPE_CHECKING:
    from tilbench.generation.texts import Writer
    from tilbench.kinds.requests import Generated
    from tilbench.resolve.model_options import ModelOptions

__all__ = ["generate"]


@click.command()
@click.argument("model")
@click.argument("prompts", nargs=-1)
@click.option(
    "--file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Prompts: a .txt file with one a line, or rows (.jsonl …) with a column 'prompt'.",
)
@click.option("--template", metavar="NAME", help="Ask as a user does: alpaca, chatml, gemma or plain.")
@click.option("--json", "as_json", is_flag=True, help="Print a line of JSON for each prompt.")
@decoding_options
@model_options
@click.pass_obj
def generate(
    app: App,
    /,
    model: str,
    prompts: tuple[str, ...],
    file: Path | None,
    template: str | None,
    options: ModelOptions,
    as_json: bool,
    **given: Any,
) -> None:
    """Continue each PROMPT with MODEL: arguments, the lines of standard input, or --file.

    Settings that are not given are the model's own; which were used is said on standard error. Standard output has the
    texts and nothing else. One prompt is written as it comes, several are written together.

    \b
    Example:
      tilbench generate runs/a "Bir varmış bir yokmuş," --max-new-tokens 40
      tilbench generate runs/sft --template alpaca --file questions.txt --json
    """
    with interruptible():
        from tilbench.text.chat import template as named

        chat = named(template) if template else None  # before torch is imported
        from tilbench.generation.texts import Writer, read_prompts, settings_for

        decoding = decoding_of(given)
        asked = read_prompts(prompts, file, _standard_input(bool(prompts) or file is not None))
        opened, defaults = open_model(model, options, app.host.registry, given)
        settings = settings_for(defaults, decoding, stop=given["stop"], seed=given["seed"])
        note(f"settings: {settings}")
        writer = Writer(opened, settings, chat)
        if len(asked) == 1 and not as_json:
            writer.stream(asked[0], show)
            click.echo()
        else:
            _write(writer, asked, template or "", as_json)
        if writer.cut:
            note(f"warning: {writer.cut} of {len(asked)} prompts were too long and lost their beginning")
        if writer.short:
            note(f"warning: {writer.short} of {len(asked)} texts ended with the model's context, before max_new_tokens")


def _standard_input(given: bool) -> Iterable[str]:
    """Return the lines of standard input where there are no other prompts and nobody would have to type them."""
    if given or sys.stdin is None or sys.stdin.isatty():
        return ()
    return sys.stdin


def _write(writer: Writer, prompts: Sequence[str], template: str, as_json: bool) -> None:
    for prompt, answer in zip(prompts, writer.batch(prompts), strict=True):
        click.echo(_line(writer, prompt, answer, template) if as_json else answer.text)
        sys.stdout.flush()


def _line(writer: Writer, prompt: str, answer: Generated, template: str) -> str:
    from tilbench.generation.texts import finish

    row = {
        "prompt": prompt,
        "text": answer.text,
        "tokens": answer.tokens,
        "finish": finish(answer),
        "short": answer.short,
        "settings": {**writer.settings.plain(), "template": template},
    }
    return json.dumps(row, ensure_ascii=False)

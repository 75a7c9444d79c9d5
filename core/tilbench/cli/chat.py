"""`tilbench chat`: talk to a model."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tilbench.cli.app import App, model_options
from tilbench.cli.writing import decoding_of, decoding_options, interruptible, note, open_model, show
from tilbench.errors import DataError, UnknownName

if TYPE_CHECKING:
    from tilbench.generation.chat import Conversation
    from tilbench.resolve.model_options import ModelOptions

__all__ = ["chat"]


@click.command()
@click.argument("model")
@click.option("--template", metavar="NAME", default="", help="alpaca, chatml, gemma or plain [default: the model's].")
@click.option("--system", default="", metavar="TEXT", help="System prompt.")
@click.option("--script", metavar="FILE", help="Say the lines of this file, a turn each; - is standard input.")
@click.option("--json", "as_json", is_flag=True, help="Print a line of JSON for each turn.")
@decoding_options
@model_options
@click.pass_obj
def chat(
    app: App,
    /,
    model: str,
    template: str,
    system: str,
    script: str | None,
    as_json: bool,
    options: ModelOptions,
    **given: Any,
) -> None:
    """Talk to MODEL. Turns that no longer fit into its context are left out, the oldest first, which is said.

    /reset forgets the turns, /system TEXT sets the system prompt and forgets them, /save FILE writes them as a row of a
    dataset of conversations, /quit or the end of input ends. A turn that begins with a slash is written with two.

    \b
    Example:
      tilbench chat runs/sft
      tilbench chat runs/sft --script questions.txt --json
    """
    with interruptible():
        from tilbench.text.chat import template as named

        decoding = decoding_of(given)
        lines, live = _turns(script)
        if template:
            named(template)  # before torch is imported
        from tilbench.generation.chat import Conversation
        from tilbench.generation.texts import choose_template, settings_for

        opened, defaults = open_model(model, options, app.host.registry, given)
        chosen, origin = choose_template(template, defaults)
        settings = settings_for(defaults, decoding, stop=given["stop"], seed=given["seed"])
        note(f"template: {chosen.name} ({origin})")
        note(f"settings: {settings}")
        talk = Conversation(opened, chosen, settings, system)
        for line in lines:
            try:
                if _handled(line, talk):
                    continue
                _answer(talk, line.removeprefix("/") if line.startswith("//") else line, as_json)
            except EOFError:
                return
            except (DataError, UnknownName) as error:
                if not live:
                    raise
                note(f"error: {error}")


def _turns(script: str | None) -> tuple[Iterator[str], bool]:
    """Return what the user says, line by line, empty ones left out; and whether somebody types it."""
    if script not in (None, "-"):
        path = Path(str(script))
        try:
            lines = path.read_text(encoding="utf-8-sig").splitlines()
        except UnicodeDecodeError:
            raise DataError(f"{path} is not UTF-8 text; convert the file") from None
        return iter([line for line in lines if line.strip()]), False
    if script == "-" or not sys.stdin.isatty():
        return (line.rstrip("\r\n") for line in sys.stdin if line.strip()), False
    return _typed(), True


def _typed() -> Iterator[str]:
    with contextlib.suppress(ImportError):  # line editing, where the system has it
        import readline  # noqa: F401
    while True:
        try:
            line = input("> ")
        except EOFError:
            click.echo()
            return
        if line.strip():
            yield line


def _handled(line: str, talk: Conversation) -> bool:
    """Do what a command says, and say whether the line was one. Raises EOFError for /quit, UnknownName for another."""
    if not line.startswith("/") or line.startswith("//"):
        return False
    name, _, rest = line[1:].partition(" ")
    if name not in _COMMANDS:
        known = [f"/{each}" for each in _COMMANDS]
        raise UnknownName("command", f"/{name}", known, "a turn that begins so is written with two slashes")
    _COMMANDS[name](talk, rest.strip())
    return True


def _reset(talk: Conversation, rest: str) -> None:
    talk.reset()
    note("forgotten")


def _system(talk: Conversation, rest: str) -> None:
    talk.system = rest
    talk.reset()
    note(f"system prompt: {rest or 'none'}; the turns before are forgotten")


def _save(talk: Conversation, rest: str) -> None:
    if not rest:
        raise DataError("name a file: /save FILE")
    path = Path(rest).expanduser()
    try:
        talk.save(path)
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}; check the path and its permissions") from None
    note(f"saved in {path}")


def _quit(talk: Conversation, rest: str) -> None:
    raise EOFError


_COMMANDS: dict[str, Callable[[Conversation, str], None]] = {
    "reset": _reset,
    "system": _system,
    "save": _save,
    "quit": _quit,
}


def _answer(talk: Conversation, text: str, as_json: bool) -> None:
    before = talk.dropped
    reply = talk.say(text, (lambda piece: None) if as_json else show)
    if as_json:
        row = {"prompt": text, **asdict(reply), "settings": talk.settings.plain()}
        click.echo(json.dumps(row, ensure_ascii=False))
        sys.stdout.flush()
    else:
        click.echo()
    if talk.dropped > before:
        said = f"the oldest {talk.dropped} turns and answers" if talk.dropped > 1 else "the oldest turn and its answer"
        note(f"note: the context is full; {said} are no longer shown to the model")

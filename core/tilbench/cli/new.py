"""`tilbench new`: the folder of a new plugin, which installs and passes its checks as it is."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from tilbench.cli.app import App
from tilbench.errors import ConfigError

__all__ = ["new"]


@click.group()
def new() -> None:
    """Write the folder of a new plugin: a package of its own, with the checks that it must pass.

    \b
    Example:
      tilbench new language ky-Cyrl --name Kyrgyz
    """  # noqa: D301


@new.command()
@click.argument("tag")
@click.option("--name", required=True, help="Name of the language in English.")
@click.option("--native-name", default="", help="Name of the language in itself [default: NAME].")
@click.option("--alphabet", default="", help="Its lower-case letters in order [default: common ones of the script].")
@click.option("--out", type=click.Path(path_type=Path), help="Folder to write [default: tilbench-NAME].")
@click.pass_obj
def language(app: App, tag: str, name: str, native_name: str, alphabet: str, out: Path | None) -> None:
    """Write a plugin for the language TAG, such as ky-Cyrl (BCP-47 with its script).

    \b
    Example:
      tilbench new language ky-Cyrl --name Kyrgyz --alphabet абвгдеёжзийклмнңоөпрстуүфхцчшщъыьэюя
    """  # noqa: D301
    from tilbench.cli.scaffold import identifier, letters_of, placeholder_rows, read_tag

    subtag, script = read_tag(tag)
    letters = letters_of(script, alphabet)
    registry = app.host.registry
    if tag in registry.names("languages"):
        entry = registry.entry("languages", tag)
        raise ConfigError(
            f"language {tag!r} is registered by {entry.plugin} ({entry.distribution}); to use text of your own with "
            f"it, put the files in a data directory and pass --data DIR"
        )
    # two scripts of one language cannot share the names of their samples
    shared = f"text/{subtag}/train" in registry.names("datasets")
    samples = tag if shared else subtag
    cues = {f"cue_{cue}": letters[start : start + 3] for start, cue in enumerate(("passage", "question", "options"))}
    values = {
        **_names(identifier(name, tag), _one_line("--name", name)),
        **cues,
        "cue_answer": letters[3:6],
        "tag": tag,
        "script": script,
        "name_yaml": _quoted(name),
        "native_yaml": _quoted(_one_line("--native-name", native_name or name)),
        "alphabet_yaml": _quoted(letters),
        "dataset_name": f'name.replace("/{subtag}", "/{tag}", 1)' if shared else "name",
        "text_name": f"text/{samples}/train",
        "questions_name": f"questions/{samples}/test",
    }
    _write("language", out, values, dict(placeholder_rows(letters)))


@new.command()
@click.argument("name")
@click.option("--title", default="", help="What it measures, in a few words [default: NAME].")
@click.option("--out", type=click.Path(path_type=Path), help="Folder to write [default: tilbench-NAME].")
@click.pass_obj
def metric(app: App, name: str, title: str, out: Path | None) -> None:
    """Write a plugin for the metric NAME.

    \b
    Example:
      tilbench new metric next-word --title "found next words"
    """  # noqa: D301
    from tilbench.cli.scaffold import identifier

    plain = identifier(name, "")
    if not plain or name != name.lower() or " " in name:
        raise ConfigError(f"metric {name!r}: write lower-case letters, digits and -, beginning with a letter")
    registry = app.host.registry
    if name in registry.names("metrics"):
        entry = registry.entry("metrics", name)
        raise ConfigError(f"metric {name!r} is registered by {entry.plugin} ({entry.distribution}); take another name")
    values = {
        **_names(plain, _one_line("--title", title or name)),
        "tag": name,
        "class_name": "".join(part.title() for part in plain.split("_")),
    }
    _write("metric", out, values)


def _names(plain: str, shown: str) -> dict[str, str]:
    dashed = plain.replace("_", "-")
    return {"name": shown, "plugin": plain, "package": f"tilbench_{plain}", "distribution": f"tilbench-{dashed}"}


def _one_line(option: str, text: str) -> str:
    """Refuse what would break the files that the text is put into."""
    if not text.strip() or not text.isprintable() or set(text) & set('"\\$`'):
        raise ConfigError(f"{option} {text!r}: write one line without quotes, backslashes, backticks and $")
    return text.strip()


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _write(
    template: str, out: Path | None, values: Mapping[str, str], files: Mapping[str, list[dict[str, Any]]] | None = None
) -> None:
    from tilbench.cli.scaffold import write

    target = out or Path(values["distribution"])
    write(template, target, values, files)
    click.echo(f"wrote {target}")
    click.echo("next:")
    # a path with a slash: pip takes a bare word for the name of a package in its index
    click.echo(f"  pip install -e '{target.resolve()}[dev]'")
    click.echo(f"  tilbench check {values['tag']}")
    click.echo(f"  follow {target / 'README.md'}")

"""How a model is opened: one object, which commands build from one set of options."""

from __future__ import annotations

import pickle
from typing import Any

import click
import pytest
from click.testing import CliRunner

from tilbench.cli import cli
from tilbench.cli.app import App, model_options
from tilbench.errors import ConfigError, UnknownName
from tilbench.resolve.model_options import ModelOptions

FIELDS = ("device", "dtype", "batch_tokens", "prefix", "trust_remote_code")


def commands() -> dict[str, click.Command]:
    """Return every command of the project, by its name."""
    context = click.Context(cli, obj=App())
    found = {name: cli.get_command(context, name) for name in cli.list_commands(context)}
    return {name: command for name, command in found.items() if command is not None}


def test_commands_that_open_a_model_have_all_its_options_with_the_same_help() -> None:
    described: dict[str, set[tuple[str, ...]]] = {field: set() for field in FIELDS}
    opening = []
    for name, command in commands().items():
        options = {each.name: each for each in command.params if isinstance(each, click.Option)}
        if "device" not in options:
            continue
        opening.append(name)
        for field in FIELDS:
            option = options[field]
            described[field].add((str(option.opts), str(option.type), str(option.default), str(option.help)))
    assert set(opening) >= {"run", "generate", "chat", "decode"}
    assert all(len(each) == 1 for each in described.values()), described


@pytest.mark.parametrize(
    ("given", "fields"),
    [
        ([], {}),
        (
            ["--device", "cpu", "--dtype", "bfloat16", "--batch-tokens", "7", "--prefix", "eos", "--trust-remote-code"],
            {"device": "cpu", "dtype": "bfloat16", "batch_tokens": 7, "prefix": "eos", "trust_remote_code": True},
        ),
    ],
)
def test_a_command_is_handed_what_was_given(given: list[str], fields: dict[str, Any]) -> None:
    seen = []

    @click.command()
    @model_options
    def command(options: ModelOptions) -> None:
        seen.append(options)

    outcome = CliRunner().invoke(command, given, catch_exceptions=False)
    assert (outcome.exit_code, seen) == (0, [ModelOptions(**fields)])
    assert pickle.loads(pickle.dumps(seen[0])) == seen[0]  # noqa: S301


@pytest.mark.parametrize(
    ("field", "error", "says"),
    [
        ({"dtype": "bfloat"}, UnknownName, "did you mean bfloat16"),
        ({"prefix": "boss"}, UnknownName, "did you mean bos"),
        ({"batch_tokens": 0}, ConfigError, "at least 1"),
    ],
)
def test_what_no_model_can_be_opened_with_is_refused(field: dict[str, Any], error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        ModelOptions(**field)

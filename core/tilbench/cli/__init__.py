"""The command line: one file per subcommand, each imported when it is called."""

from __future__ import annotations

import importlib
from collections.abc import Sequence

import click

from tilbench.cli.app import App
from tilbench.version import __version__

__all__ = ["cli"]

_COMMANDS = {
    "run": ("tilbench.cli.run:run", "Score models on a suite."),
    "train": ("tilbench.cli.train:train", "Train a model spec."),
    "branch": ("tilbench.cli.branch:branch", "Decay from a stable checkpoint of a training."),
    "select": ("tilbench.cli.select:select", "Choose a checkpoint by a value of a suite."),
    "import": ("tilbench.cli.import_:import_", "Turn published weights into a checkpoint."),
    "merge": ("tilbench.cli.merge:merge", "Add an adapter into the weights under it."),
    "export": ("tilbench.cli.export:export", "Write a checkpoint in a format that other tools read."),
    "release": ("tilbench.cli.release:release", "Write all that publishing a checkpoint needs."),
    "plot": ("tilbench.cli.plot:plot", "Draw the curves of training runs."),
    "generate": ("tilbench.cli.generate:generate", "Continue prompts with a model."),
    "chat": ("tilbench.cli.chat:chat", "Talk to a model."),
    "decode": ("tilbench.cli.decode:decode", "Find decoding settings, and confirm them on other prompts."),
    "tokenizer": ("tilbench.cli.tokenizer:tokenizer", "Train a tokenizer, or compare several."),
    "leaderboard": ("tilbench.cli.leaderboard:leaderboard", "Show records on a page, or as a table."),
    "compare": ("tilbench.cli.compare:compare", "Say which of two models is better, and whether it can be believed."),
    "contamination": ("tilbench.cli.contamination:contamination", "Look for a suite's rows in a training text."),
    "lint": ("tilbench.cli.lint:lint", "Say what is wrong with suites and datasets."),
    "records": ("tilbench.cli.records:records", "Verify records."),
    "list": ("tilbench.cli.catalogue:list_names", "List what is registered."),
    "show": ("tilbench.cli.show:show", "Show one registered thing, or a run, whole."),
    "plugins": ("tilbench.cli.catalogue:plugins", "List plugins and what is wrong with them."),
    "doctor": ("tilbench.cli.doctor:doctor", "Check this installation."),
    "check": ("tilbench.cli.check:check", "Run the conformance tests of something registered."),
    "new": ("tilbench.cli.new:new", "Write the folder of a new plugin."),
}


class _LazyGroup(click.Group):
    """A group whose commands are imported when they are called; plugins add theirs."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*_COMMANDS, *sorted(self._plugin_commands(ctx))]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in _COMMANDS:
            module, _, attribute = _COMMANDS[cmd_name][0].partition(":")
            command: click.Command = getattr(importlib.import_module(module), attribute)
            return command
        return self._plugin_commands(ctx).get(cmd_name)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and not args[0].startswith("-") and self.get_command(ctx, args[0]) is None:
            from tilbench.errors import UnknownName

            raise UnknownName("command", args[0], self.list_commands(ctx))
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        rows = [(name, summary) for name, (_, summary) in _COMMANDS.items()]
        rows += [(name, command.get_short_help_str()) for name, command in sorted(self._plugin_commands(ctx).items())]
        with formatter.section("Commands"):
            formatter.write_dl(rows)

    def _plugin_commands(self, ctx: click.Context) -> dict[str, click.Command]:
        app = ctx.ensure_object(App)
        group = click.Group()
        app.host.manager.hook.register_commands(cli=group)
        return {name: command for name, command in group.commands.items() if name not in _COMMANDS}


def _plugin_files(ctx: click.Context, param: click.Parameter, value: Sequence[str]) -> Sequence[str]:
    ctx.ensure_object(App).files = tuple(value)
    return value


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, message="tilbench %(version)s")
@click.option(
    "--plugin",
    multiple=True,
    metavar="FILE",
    is_eager=True,
    expose_value=False,
    callback=_plugin_files,
    help="Load a plugin from a Python file; can be repeated. TILBENCH_PLUGINS names more.",
)
def cli() -> None:
    """Which small language model is better at my language, by how much, and can I believe it?

    \b
    Example:
      tilbench run suites/quickstart.yaml --out records
      tilbench leaderboard --records records
    """

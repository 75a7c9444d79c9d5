"""The command line: one file per subcommand, each imported when it is called."""

from __future__ import annotations

import importlib
from collections.abc import Sequence

import click

from tilbench.cli.app import App
from tilbench.errors import PluginError, UnknownName
from tilbench.version import __version__

__all__ = ["cli"]

_COMMANDS = {
    "run": ("tilbench.cli.run:run", "Score models on a suite."),
    "train": ("tilbench.cli.train:train", "Train a model spec."),
    "branch": ("tilbench.cli.branch:branch", "Decay from a stable checkpoint of a training."),
    "select": ("tilbench.cli.select:select", "Choose a checkpoint by a value of a suite."),
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
    "schema": ("tilbench.cli.schema:schema", "Write the JSON Schema of a suite, model spec or language."),
    "new": ("tilbench.cli.new:new", "Write the folder of a new plugin."),
}


class _LazyGroup(click.Group):
    """A group whose commands are imported when they are called. Those of plugins come after the core's."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*_COMMANDS, *sorted(_plugin_commands(ctx))]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if found := _COMMANDS.get(cmd_name):
            return _command(found[0])
        if added := _plugin_commands(ctx).get(cmd_name):
            try:
                return _command(added[0])
            except Exception as error:
                why = f"cannot be imported from {added[0]!r}: {type(error).__name__}: {error}"
                raise PluginError(f"command {cmd_name!r} {why}; see 'tilbench plugins'") from error
        return None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and not args[0].startswith("-") and self.get_command(ctx, args[0]) is None:
            raise UnknownName("command", args[0], self.list_commands(ctx))
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        commands = {**_COMMANDS, **dict(sorted(_plugin_commands(ctx).items()))}
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in commands.items()])


def _command(target: str | click.Command) -> click.Command:
    if isinstance(target, click.Command):
        return target
    module, _, attribute = target.partition(":")
    command: click.Command = getattr(importlib.import_module(module), attribute)
    return command


def _plugin_commands(ctx: click.Context) -> dict[str, tuple[str | click.Command, str]]:
    """Return the commands of plugins: name → target and summary. Raises PluginError for a name that is taken."""
    found: dict[str, tuple[str | click.Command, str]] = {}
    for hook in ctx.ensure_object(App).host.manager.hook.register_commands.get_hookimpls():

        def register(name: str, target: str | click.Command, *, summary: str = "", by: str = hook.plugin_name) -> None:
            if name in _COMMANDS or name in found:
                raise PluginError(f"plugin {by} registers the command {name!r}, which is there already; rename it")
            found[name] = (target, summary)

        hook.function(register)
    return found


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

"""`tilbench select`: the checkpoint that a suite says is the best, and the evidence."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from tilbench.cli.app import App, data_option, json_option, print_json

__all__ = ["select"]


@click.command()
@click.argument("runs", nargs=-1, required=True, metavar="RUN…")
@click.option("--suite", required=True, help="Suite that decides: a name or a YAML file.")
@click.option("--task", required=True, help="The task of it that decides.")
@click.option("--value", default="", metavar="NAME", help="The value that decides [default: the task's headline].")
@click.option("--limit", type=click.IntRange(min=1), help="Score a seeded sample of this many rows.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the evidence [default: beside the first run].")
@data_option
@json_option
@click.pass_obj
def select(
    app: App,
    runs: Sequence[str],
    suite: str,
    task: str,
    value: str,
    limit: int | None,
    out: Path | None,
    data_dir: Path | None,
    as_json: bool,
) -> None:
    """Choose among the checkpoints of one or several runs (RUN, or RUN@STEP for one of them) by a value of a suite.

    Every checkpoint is scored on the task; what is recorded already is not scored again. The choice, its table and the
    records go into a folder beside the first run.

    \b
    Example:
      tilbench select runs/a runs/a-decayed --suite english-italian --task bpb-it
    """
    from tilbench.cli.progress import RunProgress
    from tilbench.config.references import split_folder
    from tilbench.evaluation.run_plan import RunConfig, plan_run
    from tilbench.resolve.suites import find_suite
    from tilbench.training.selection import candidates, select_checkpoint

    registry = app.host.registry
    models = candidates(runs)
    wanted = find_suite(suite, registry)
    folder = out or split_folder(models[0])[0].parent / f"select-{wanted.name}-{task}"
    config = RunConfig(
        suite=wanted,
        models=models,
        out=folder / "records",
        data_dir=data_dir,
        tasks=[task],
        limit=limit,
        command=shlex.join(["tilbench", *sys.argv[1:]]),
    )
    planned = plan_run(config, registry)
    with RunProgress(len(models)) as progress:
        executor = registry.executors.get("local")
        choice = select_checkpoint(planned, executor, progress.update, value, finished=progress.finished)
    print_json(choice.as_json()) if as_json else click.echo(choice.as_table(), nl=False)
    click.echo(f"evidence in {folder}", err=True)

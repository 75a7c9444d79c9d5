"""`tilbench select`: the checkpoint that a suite says is the best, and the evidence."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tilbench.cli.app import App, data_option, json_option, print_json

if TYPE_CHECKING:
    from tilbench.registry import Registry
    from tilbench.run.suite import SuiteRun

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
    from tilbench.paths import atomic_path
    from tilbench.results.store import RecordStore
    from tilbench.run.choose import candidates, choose
    from tilbench.run.suite import run_suite

    registry = app.host.registry
    models = candidates(runs)
    planned = _plan(registry, models, suite, task, limit, data_dir)
    folder = out or Path(models[0].rpartition("@")[0] or models[0]).parent / f"select-{planned.suite.name}-{task}"
    planned = replace(planned, out=folder / "records")
    with RunProgress(len(models)) as progress:
        shares = []
        for share in run_suite(planned, registry.get("executors", "local"), progress.update):
            shares.append(share)
            progress.finished(share.source.name)
    records = [record for share in shares for record in share.records if record.task.name == task]
    choice = choose(records, RecordStore(planned.out), value)
    for name, text in (
        ("selection.json", json.dumps(choice.as_json(), indent=2, ensure_ascii=False) + "\n"),
        ("selection.md", choice.as_table()),
    ):
        with atomic_path(folder / name) as aside:
            aside.write_text(text, encoding="utf-8")
    print_json(choice.as_json()) if as_json else click.echo(choice.as_table(), nl=False)
    click.echo(f"evidence in {folder}", err=True)


def _plan(
    registry: Registry, models: Sequence[str], reference: str, task: str, limit: int | None, data_dir: Path | None
) -> SuiteRun:
    from tilbench.errors import MissingDataset
    from tilbench.run.environment import describe_environment
    from tilbench.run.models import find_model
    from tilbench.run.options import open_options, thread_count
    from tilbench.run.plan import plan_tasks, select_tasks
    from tilbench.run.suite import SuiteRun
    from tilbench.run.suites import expand_suite, find_suite

    suite = expand_suite(find_suite(reference, registry), registry)
    tasks = plan_tasks(suite, select_tasks(suite, [task]), registry, data_dir, limit)
    if tasks[0].missing:
        raise MissingDataset(tasks[0].missing)
    given = {"device": "auto", "dtype": "float32", "batch_tokens": 4096, "prefix": None, "trust_remote_code": False}
    options = open_options(registry, suite, {**given, "data_dir": data_dir})
    profile = registry.get("hardware", "cuda" if options.device.startswith("cuda") else "cpu")
    return SuiteRun(
        suite=suite,
        tasks=tasks,
        sources=[find_model(model, registry, Path("runs")) for model in models],
        options=options,
        environment=describe_environment(
            profile.name, options.device, options.dtype, thread_count(), tasks[0].distributions
        ),
        out=Path(),
        command=shlex.join(["tilbench", *sys.argv[1:]]),
    )

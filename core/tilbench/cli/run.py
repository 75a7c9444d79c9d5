"""`tilbench run`: one suite over many models."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tilbench.cli.app import App, console, data_option, json_option, model_options, names, print_json, set_option
from tilbench.errors import CheckpointError

if TYPE_CHECKING:
    from tilbench.evaluation.run_plan import RunConfig
    from tilbench.evaluation.runner import SuiteRun
    from tilbench.registry import Registry
    from tilbench.resolve.failures import Failure
    from tilbench.resolve.model_options import ModelOptions
    from tilbench.results.record import Record

__all__ = ["run"]


@click.command()
@click.argument("suite")
@click.option("--models", default="", metavar="A,B", help="Models: a spec, spec:variant, folder, hf:org/name@revision.")
@click.option("--tasks", default="", metavar="A,B", help="Only these tasks of the suite.")
@click.option("--out", type=click.Path(path_type=Path), default="records", show_default=True, help="Folder of records.")
@click.option("--runs", type=click.Path(path_type=Path), default="runs", show_default=True, help="Folder of trainings.")
@click.option("--limit", type=click.IntRange(min=1), help="Score a seeded sample of this many rows a task.")
@click.option(
    "--train",
    type=click.Choice(["never", "auto"]),
    help="Train specs that have no checkpoint (default: the suite's).",
)
@model_options
@click.option("--executor", default="local", show_default=True, help="local: in this process. process: in a second.")
@click.option(
    "--check-contamination",
    default="",
    metavar="WHAT",
    help="Look for the rows in a training text: datasets, files, folders or runs, with commas between them.",
)
@click.option("--dry-run", is_flag=True, help="Show what would run: rows, requests, first prompts. Computes nothing.")
@set_option
@data_option
@json_option
@click.pass_obj
def run(
    app: App,
    suite: str,
    models: str,
    tasks: str,
    out: Path,
    runs: Path,
    limit: int | None,
    train: str | None,
    options: ModelOptions,
    executor: str,
    check_contamination: str,
    dry_run: bool,
    overrides: tuple[str, ...],
    data_dir: Path | None,
    as_json: bool,
) -> None:
    """Score models on SUITE (a name or a YAML file) and record the results.

    What is recorded already is not scored again. The same command resumes a killed run. A model that cannot be
    scored is reported and the others go on; the status is then 1, and 2 where no model could be scored.

    \b
    Example:
      tilbench run suites/kazakh.yaml --models runs/a,xz,hf:org/name@main --data DIR --out records
    """
    from tilbench.evaluation.run_plan import RunConfig
    from tilbench.evaluation.runner import run_suite
    from tilbench.resolve.suites import find_suite
    from tilbench.training.fit import train_if_needed

    registry = app.host.registry
    wanted = find_suite(suite, registry, overrides)
    named = names(models) or wanted.models
    config = RunConfig(
        suite=wanted,
        models=[*named, *wanted.baselines],
        out=out,
        data_dir=data_dir,
        runs=runs,
        tasks=names(tasks),
        limit=limit,
        options=options,
        train=train_if_needed if (train or wanted.train) == "auto" else None,
        command=shlex.join(["tilbench", *sys.argv[1:]]),
    )
    planned, failures = _plan(config, named, registry)
    if dry_run:
        from tilbench.cli.dry_run import describe, print_plan

        described = describe(planned)
        described["failed"] |= {failure.name: _line(failure) for failure in failures}
        print_json(described) if as_json else print_plan(described, console())
        if described["failed"]:
            click.get_current_context().exit(1)
        return
    from tilbench.cli.progress import RunProgress

    if texts := names(check_contamination):
        from tilbench.evaluation.contamination import check_tasks

        check = check_tasks(planned.tasks, texts, registry, data_dir)
        planned = replace(planned, contamination=check)
        for line in check.lines(planned.tasks):
            click.echo(line, err=True)
    records: list[Record] = []
    made = reused = scored = 0
    with RunProgress(len(planned.sources)) as progress:
        for share in run_suite(planned, registry.executors.get(executor), progress.update, failures.append):
            records += share.records
            made, reused, scored = made + share.made, reused + share.found, scored + share.scored
            progress.finished(share.source.name)
    if records:
        _report(planned, records, as_json)
        click.echo(
            f"{made} results new, {reused} already there; {scored} requests answered; records in {out}", err=True
        )
    _finish(failures, bool(records))


def _plan(config: RunConfig, named: Sequence[str], registry: Registry) -> tuple[SuiteRun, list[Failure]]:
    """Resolve everything, and return the plan with the models that cannot be opened.

    Nothing is computed or written, so that a mistake costs nothing. named: the models without the suite's baselines.
    """
    from tilbench.evaluation.run_plan import plan_run

    failures: list[Failure] = []
    planned = plan_run(config, registry, failures)
    if {failure.name for failure in failures} >= {name.rstrip("/") for name in named}:
        _finish(failures, False)  # baselines alone are not what was asked for
    return planned, failures


def _finish(failures: Sequence[Failure], any_done: bool) -> None:
    """Report the models that could not be scored, and end with status 1; with 2 where no other model could be."""
    if not failures:
        return
    *others, last = map(_line, failures)
    for line in others:
        click.echo(f"error: {line}", err=True)
    if not any_done:
        raise CheckpointError(last)
    click.echo(f"error: {last}", err=True)
    click.get_current_context().exit(1)


def _line(failure: Failure) -> str:
    from tilbench.resolve.models import Untrained

    return f"{failure}, or pass --train auto" if isinstance(failure.error, Untrained) else str(failure)


def _report(planned: SuiteRun, records: Sequence[Record], as_json: bool) -> None:
    from tilbench.cli.table import render
    from tilbench.results.store import RecordStore
    from tilbench.results.table import make_board

    store = RecordStore(planned.out)
    located = [(store.place(each), each) for each in records]
    if as_json:
        print_json([{"path": str(path), **record.model_dump(mode="json")} for path, record in located])
        return
    out = console()
    out.print(render(make_board(located), out.width))

"""`tilbench run`: one suite over many models."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tilbench.cli.app import App, console, data_option, json_option, names, print_json, set_option
from tilbench.errors import CheckpointError

if TYPE_CHECKING:
    from tilbench.evaluation.runner import SuiteRun
    from tilbench.registry import Registry
    from tilbench.resolve.failures import Failure
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
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda …")
@click.option("--dtype", type=click.Choice(["float32", "bfloat16", "float16"]), default="float32", show_default=True)
@click.option(
    "--batch-tokens",
    type=click.IntRange(min=1),
    default=4096,
    show_default=True,
    help="Tokens a forward pass.",
)
@click.option("--prefix", type=click.Choice(["bos", "eos", "none"]), help="Override the prefix token of every model.")
@click.option("--executor", default="local", show_default=True, help="Where models are run.")
@click.option("--trust-remote-code", is_flag=True, help="Run Python of a Hub model or a task file.")
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
    /,
    suite: str,
    models: str,
    tasks: str,
    out: Path,
    dry_run: bool,
    as_json: bool,
    executor: str,
    **options: Any,
) -> None:
    """Score models on SUITE (a name or a YAML file) and record the results.

    What is recorded already is not scored again; a run that was killed goes on where it was. A model that cannot be
    scored is reported and the others go on; the status is then 1, and 2 where no model could be scored.

    \b
    Example:
      tilbench run suites/kazakh.yaml --models runs/a,xz,hf:org/name@main --data DIR --out records
    """
    from tilbench.evaluation.runner import run_suite

    registry = app.host.registry
    planned, failures = _plan(registry, suite, names(models), names(tasks), out, options)
    if dry_run:
        from tilbench.cli.dry_run import describe, print_plan

        described = describe(planned)
        described["failed"] |= {failure.name: _line(failure) for failure in failures}
        print_json(described) if as_json else print_plan(described, console())
        if described["failed"]:
            click.get_current_context().exit(1)
        return
    from tilbench.cli.progress import RunProgress

    if texts := names(options["check_contamination"]):
        from tilbench.evaluation.contamination import check_tasks

        check = check_tasks(planned.tasks, texts, registry, options["data_dir"])
        planned = replace(planned, contamination=check)
        for line in check.lines(planned.tasks):
            click.echo(line, err=True)
    records: list[Record] = []
    made = reused = scored = 0
    with RunProgress(len(planned.sources)) as progress:
        for share in run_suite(planned, registry.get("executors", executor), progress.update, failures.append):
            records += share.records
            made, reused, scored = made + share.made, reused + share.found, scored + share.scored
            progress.finished(share.source.name)
    if records:
        _report(planned, records, as_json)
        click.echo(
            f"{made} results new, {reused} already there; {scored} requests answered; records in {out}", err=True
        )
    _finish(failures, bool(records))


def _plan(
    registry: Registry,
    reference: str,
    models: Sequence[str],
    tasks: Sequence[str],
    out: Path,
    given: dict[str, Any],
) -> tuple[SuiteRun, list[Failure]]:
    """Resolve everything, and return the models that cannot be opened beside the plan of the others.

    Nothing is computed or written, so that a mistake costs nothing.
    """
    from tilbench.evaluation.prepare import OPENING, prepare
    from tilbench.resolve.suites import find_suite
    from tilbench.training.fit import train_if_needed

    suite = find_suite(reference, registry, given["overrides"])
    named = models or suite.models
    failures: list[Failure] = []
    may_train = (given["train"] or suite.train) == "auto"
    planned = prepare(
        suite,
        registry,
        [*named, *suite.baselines],
        out=out,
        data_dir=given["data_dir"],
        runs=given["runs"],
        tasks=tasks,
        limit=given["limit"],
        train=partial(train_if_needed, registry=registry, data_dir=given["data_dir"]) if may_train else None,
        opening={name: given[name] for name in OPENING},
        command=shlex.join(["tilbench", *sys.argv[1:]]),
        failures=failures,
    )
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

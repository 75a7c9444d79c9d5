"""`tilbench contamination`: which rows of a suite stand in a training text?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from tilbench.cli.app import App, data_option, json_option, names, print_json

__all__ = ["contamination"]


@click.command()
@click.argument("suite")
@click.option("--against", required=True, metavar="WHAT", help="Datasets, files, folders or runs, with commas.")
@click.option("--tasks", default="", metavar="A,B", help="Only these tasks of the suite.")
@data_option
@json_option
@click.pass_obj
def contamination(app: App, suite: str, against: str, tasks: str, data_dir: Path | None, as_json: bool) -> None:
    """Say which rows of SUITE (a name or a YAML file) stand in a training text. Scores nothing.

    WHAT is read once, and may be larger than memory. Of a run, its token files are read.

    \b
    Example:
      tilbench contamination kazakh --against runs/a
    """
    from tilbench.evaluation.contamination import ContaminationCheck, check_tasks
    from tilbench.evaluation.plan import PlannedTask, plan_tasks, select_tasks
    from tilbench.resolve.suites import expand_suite, find_suite

    registry = app.host.registry
    found = expand_suite(find_suite(suite, registry), registry)
    planned = plan_tasks(found, select_tasks(found, names(tasks)), registry, data_dir)
    check = check_tasks(planned, names(against), registry, data_dir)

    def data(check: ContaminationCheck, task: PlannedTask) -> dict[str, Any]:
        rows = {
            row: {"covered": item.covered, "parts": sorted(item.parts)}
            for row, item in check.of(task).items()
            if item.covered
        }
        return {"task": task.used.name, **check.summary(task).model_dump(exclude={"clean"}), "rows": rows}

    if as_json:
        print_json([data(check, task) for task in planned if task.rows])
        return
    for line in check.lines(planned):
        click.echo(line)
    for task in planned:
        if task.missing:
            click.echo(f"{task.used.name}: not read: {task.missing}", err=True)

"""`tilbench compare`: which of two models is better, and can it be believed?"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tilbench.cli.app import json_option, names, print_json
from tilbench.errors import DataError

if TYPE_CHECKING:
    from tilbench.comparison.compare import Comparison

__all__ = ["compare"]


@click.command()
@click.argument("a")
@click.argument("b")
@click.option(
    "--records", type=click.Path(path_type=Path), default="records", show_default=True, help="Folder of records."
)
@click.option("--suite", default="", help="Compare on the tasks of this suite only.")
@click.option("--tasks", default="", metavar="A,B", help="Compare on these tasks only.")
@json_option
def compare(a: str, b: str, records: Path, suite: str, tasks: str, as_json: bool) -> None:
    """Say whether model A or model B is better, task by task and over all tasks of one kind.

    A and B are models of the records by name, by the beginning of one, or by NAME#FINGERPRINT, as much of the
    fingerprint as tells them apart; the folder of a run is its last checkpoint, as for 'tilbench run'. Items are
    paired: exact McNemar for right and wrong answers, Student's t for everything else; p is Holm's over all tasks
    compared. Fewer than six independent rows are too few to name a winner.

    \b
    Example:
      tilbench compare runs/b@0 runs/b@40 --records records
    """
    from tilbench.comparison.compare import compare_models
    from tilbench.comparison.verdict import comparison_data
    from tilbench.resolve.recorded import recorded_model
    from tilbench.results.store import RecordStore

    if not records.is_dir():
        raise DataError(f"{records}: no such folder; make records with 'tilbench run SUITE --out {records}'")
    store = RecordStore(records)
    a, b = (recorded_model(each, (record for _, record in store.records())) for each in (a, b))
    found = compare_models(store, a, b, suite=suite, tasks=names(tasks))
    if as_json:
        print_json(comparison_data(found))
    else:
        for line in _lines(found):
            click.echo("".join(sign if sign.isprintable() else "�" for sign in line))


def _lines(found: Comparison) -> Iterator[str]:
    from tilbench.comparison.verdict import caveats, pooled_verdict, scores_in_words, verdict

    for task in found.tasks:
        score = task.scores[0]
        unit = "" if score.unit in ("fraction", task.a.task.headline) else f", {score.unit}"
        yield f"{task.a.task.suite}/{task.a.task.name} ({task.a.task.headline}{unit}, n = {task.paired.n})"
        yield f"  {scores_in_words(found, task)}"
        yield f"  {verdict(found, task)}"
        yield from (f"  note: {each}" for each in caveats(found, task))
    for pooled in found.pooled:
        yield f"all {len(pooled.tasks)} tasks by {pooled.tasks[0].a.task.headline}, mean of their differences"
        yield f"  {pooled_verdict(found, pooled)}"
    reasons: dict[str, list[str]] = {}
    for each in found.skipped:
        reasons.setdefault(each.reason, []).append(f"{each.suite}/{each.task}")
    for reason, where in reasons.items():
        yield f"not compared: {', '.join(where)} – {reason}"

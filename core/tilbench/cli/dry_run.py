"""`tilbench run --dry-run`: what would run, how many requests it takes, and what the first prompt looks like."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.table import Table

from tilbench.errors import TilbenchError
from tilbench.evaluation.plan import PlannedTask
from tilbench.evaluation.runner import SuiteRun
from tilbench.resolve.models import ModelSource
from tilbench.results.reading import reading_notes

__all__ = ["describe", "print_plan"]

_SHOWN = 400
"""Characters of a document shown as its first request."""
_NAME = "DATASET"
"""Stands for the name of each dataset, which the table has, where one reason holds for several."""


def describe(run: SuiteRun) -> dict[str, Any]:
    """Return the plan as plain data. Cards and tokenizers of the models are opened, and no weights.

    reading: of each model, the tasks of which it will not read everything as it is, with what it will not. failed: why
    a model cannot be run, or a task of it.
    """
    reading: dict[str, dict[str, Any]] = {}
    failed: dict[str, str] = {}
    for source in run.sources:
        try:
            reading[source.name] = _reading(source, run)
        except TilbenchError as error:
            failed[source.name] = str(error)
    return {
        "suite": run.suite.name,
        "models": [source.name for source in run.sources],
        "tasks": [_task(task) for task in run.tasks],
        "reading": reading,
        "failed": failed,
        "out": str(run.out),
    }


def _reading(source: ModelSource, run: SuiteRun) -> dict[str, object]:
    """Return what a model will not read of each task; nothing for one that is still to be trained."""
    if source.on_demand:
        return {}
    source.check(run.worker.options)
    if (reader := source.reader(run.worker.options)) is None:
        return {}
    from tilbench.evaluation.truncation import predict_reading, refuse_truncation

    found = [(task, predict_reading(reader, task)) for task in run.tasks if not task.missing]
    refuse_truncation(source.name, reader.length, found)
    return {
        task.used.name: {**reading.model_dump(exclude_defaults=True), "said": said}
        for task, reading in found
        if reading and (said := reading_notes(reading))
    }


def _task(task: PlannedTask) -> dict[str, Any]:
    used = task.used
    return {
        "task": used.name,
        "metric": used.metric,
        "dataset": used.dataset.name,
        "origin": used.dataset.origin,
        "language": used.dataset.language,
        "rows": used.dataset.rows,
        "total": used.dataset.total,
        "requests": dict(task.counts),
        "distinct_requests": len({request for each in task.requests.values() for request in each}),
        "missing": task.missing,
        "equal_options": used.dataset.equal_options,
        "fingerprint": used.fingerprint,
        "first_request": {"kind": task.first_request.kind, **asdict(task.first_request)}
        if task.first_request
        else None,
    }


def _missing(tasks: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield a line for each reason why tasks cannot be run; what differs by the dataset's name alone is one reason."""
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for task in tasks:
        if task["missing"]:
            groups.setdefault(task["missing"].replace(task["dataset"], _NAME), []).append(task)
    for reason, those in groups.items():
        said = {task["missing"] for task in those}
        yield f"not run: {', '.join(task['task'] for task in those)}: {said.pop() if len(said) == 1 else reason}"


def _not_read(reading: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Yield a line for each thing that a model will not read, with the tasks that it is of."""
    for model, tasks in reading.items():
        groups: dict[str, list[str]] = {}
        for task, found in tasks.items():
            for said in found["said"]:
                groups.setdefault(said, []).append(task)
        yield from (f"{model}, {', '.join(where)}: {said}" for said, where in groups.items())


def print_plan(plan: dict[str, Any], console: Console) -> None:
    """Print the plan for people."""
    table = Table(title=f"{plan['suite']}: what would run", title_justify="left")
    for column in ("task", "metric", "dataset", "rows", "requests"):
        table.add_column(column, justify="right" if column == "rows" else "left")
    for task in plan["tasks"]:
        rows = f"{task['rows']:,}" if task["rows"] == task["total"] else f"{task['rows']:,} of {task['total']:,}"
        requests = ", ".join(f"{count:,} {kind}" for kind, count in task["requests"].items())
        table.add_row(task["task"], task["metric"], task["dataset"], rows, requests or "not run")
    console.print(table)
    for line in _missing(plan["tasks"]):
        console.print(line)
    for task in plan["tasks"]:
        if task["equal_options"]:
            names = ", ".join(task["equal_options"])
            console.print(f"{task['task']}: {len(task['equal_options'])} questions have two equal options: {names}")
    for task in plan["tasks"]:
        if request := task["first_request"]:
            console.rule(f"{task['task']}: first request ({request['kind']})", align="left")
            for field in ("context", "continuation", "text", "prompt", "target"):
                if field in request:
                    text = request[field]
                    more = f" … ({len(text):,} characters)" if len(text) > _SHOWN else ""
                    console.print(
                        f"{field}: {text[:_SHOWN]!r}{more}" if field == "continuation" else f"{text[:_SHOWN]}{more}"
                    )
    console.print(f"models: {', '.join(plan['models'])}")
    for line in _not_read(plan["reading"]):
        console.print(line)
    for model, why in plan["failed"].items():
        console.print(f"cannot be run: {why if why.startswith(model) else f'{model}: {why}'}")
    console.print("nothing was computed")

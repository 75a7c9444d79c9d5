"""`tilbench records verify` finds every edit of a record that the record, its items and installed plugins can show."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tilbench.evaluation.verify import verify_records
from tilbench.loader import Host

SUITE = """
name: small
baselines: [uniform-bytes]
tasks:
  - {name: bpb-kk, metric: bpb, dataset: text/kk/heldout}
  - {name: bpb-ru, metric: bpb, dataset: text/ru/heldout}
  - {name: exam, metric: choice, dataset: questions/kk/test, settings: {form: cloze}, limit: 20}
macros:
  - {name: both, tasks: [bpb-kk, bpb-ru], value: bpb}
"""

FREE = {
    "task.suite_version", "task.position", "task.dataset.name", "task.dataset.origin",
    "model.parameters", "model.step", "model.prefix", "model.tokenizer", "model.max_length", "model.lineage",
    "model.details",
    "environment.hardware", "environment.device", "environment.dtype", "environment.threads", "environment.python",
    "environment.platform", "environment.versions",
    "measured.finished", "measured.command", "measured.wall_seconds", "measured.reused", "measured.engine",
    "measured.tokens", "measured.peak_memory_bytes",
    "citation", "notes", "contamination",
}  # fmt: skip
"""Nothing but the run itself knows them: docs/scoring.md says so."""
FREE_OF_MACRO = FREE - {"task.dataset.name", "task.dataset.origin", "measured.reused", "measured.tokens"} | {
    "task.seed", "task.machine", "task.shots", "task.examples", "task.truncation", "task.version",
    "task.metric_version", "task.dataset.language", "task.dataset.equal_options",
}  # fmt: skip
"""A macro asks nothing, so these say nothing of it."""
OTHERS: dict[str, Any] = {
    "schema_version": 99, "source": "reported", "status": "n/a", "task.truncation": "error", "task.metric": "fertility",
    "contamination": None, "reading": {"scored_bytes": 1},
}  # fmt: skip


_OPENED = {"task", "task.dataset", "model", "environment", "measured", "values"}


def leaves(record: dict[str, Any], path: str = "") -> Iterator[str]:
    """Yield the dotted path of every field; settings, details, versions and the like are one field."""
    for name, value in record.items():
        place = f"{path}{name}"
        if isinstance(value, dict) and (place in _OPENED or path == "values."):
            yield from leaves(value, f"{place}.")
        else:
            yield place


def edited(record: dict[str, Any], path: str) -> dict[str, Any]:
    """Return the record with another value in one place."""
    copy: dict[str, Any] = json.loads(json.dumps(record))
    *parents, last = path.split(".")
    at = copy
    for name in parents:
        at = at[name]
    at[last] = OTHERS[path] if path in OTHERS else _another(at[last], last)
    return copy


def _another(value: Any, name: str) -> Any:
    if name == "direction":
        return "higher" if value != "higher" else "lower"
    match value:
        case str():
            return f"{value}x"
        case int():
            return value + 1
        case float():
            return 1.1 * value + 1
        case list():
            return [*value, "x"]
        case dict():
            return {**value, "x": "1"}
        case _:
            return ["x", "y"] if name == "of" else "x" if name == "prefix" else 1


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from click.testing import CliRunner

    from tilbench.cli import cli

    folder = tmp_path_factory.mktemp("verify")
    (folder / "small.yaml").write_text(SUITE, encoding="utf-8")
    done = CliRunner().invoke(cli, ["run", str(folder / "small.yaml"), "--out", str(folder / "records")])
    assert done.exit_code == 0, done.output
    return folder / "records"


@pytest.mark.parametrize(("task", "free"), [("bpb-kk", FREE), ("exam", FREE), ("both", FREE_OF_MACRO)])
def test_every_edited_field_is_found_but_those_that_only_the_run_knows(
    run: Path, host: Host, task: str, free: set[str]
) -> None:
    (path,) = (run / "small" / task).glob("*.json")
    honest = path.read_text(encoding="utf-8")
    record = json.loads(honest)
    fields = list(leaves(record))
    assert {field for field in fields if not field.startswith("values.")} >= free
    assert any(field.startswith("values.") for field in fields)
    found = {}
    try:
        for field in fields:
            path.write_text(json.dumps(edited(record, field)), encoding="utf-8")
            (verdict,) = verify_records(path, host.registry)
            found[field] = verdict.fault
    finally:
        path.write_text(honest, encoding="utf-8")
    assert {field for field, fault in found.items() if not fault} == free
    assert [verdict.fault for verdict in verify_records(path, host.registry)] == [""]


def test_another_value_of_the_record_is_not_its_headline(run: Path, host: Host) -> None:
    (path,) = (run / "small" / "exam").glob("*.json")
    honest = path.read_text(encoding="utf-8")
    record = json.loads(honest)
    other = next(name for name in record["values"] if name != record["task"]["headline"])
    try:
        path.write_text(json.dumps({**record, "task": {**record["task"], "headline": other}}), encoding="utf-8")
        (verdict,) = verify_records(path, host.registry)
    finally:
        path.write_text(honest, encoding="utf-8")
    assert f"task.headline is {other!r}, and that of choice is {record['task']['headline']!r}" in verdict.fault

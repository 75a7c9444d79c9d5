"""A shipped suite means the same as long as its version is the same, however its file is written."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tilbench.config.suite import Macro, Suite, Task
from tilbench.config.yaml import load
from tilbench.evaluation.plan import plan_tasks
from tilbench.loader import Host
from tilbench.results.macro_parts import MACRO
from tilbench.results.store import RecordStore

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "suites").glob("*.yaml"))
PINNED: dict[str, Any] = json.loads((Path(__file__).parent / "meaning.json").read_text(encoding="utf-8"))
"""Suite → version, seed, and digest of each task and macro; the fingerprint of a task depends on these and on rows."""


def digest(entry: Task | Macro) -> str:
    fields = entry.model_dump(mode="json", exclude={"name", "summary"}, exclude_defaults=True)
    return hashlib.sha256(json.dumps(fields, sort_keys=True, ensure_ascii=False).encode()).hexdigest()[:16]


def meaning(path: Path) -> dict[str, Any]:
    suite = load(path, Suite)
    entries: dict[str, Sequence[Task | Macro]] = {"tasks": suite.tasks, "macros": suite.macros}
    return {"version": suite.version, "seed": suite.seed} | {
        kind: {entry.name: digest(entry) for entry in each} for kind, each in entries.items()
    }


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_suite_of_the_same_version_has_the_same_tasks(path: Path) -> None:
    found, pinned = meaning(path), PINNED[path.stem]
    if found != pinned and found["version"] == pinned["version"]:
        changed = [name for name in found["tasks"] if found["tasks"][name] != pinned["tasks"].get(name)]
        pytest.fail(f"suite {path.stem} changed ({', '.join(changed) or 'order, macros or seed'}): raise its version")
    assert found == pinned, f"write {path.stem}'s new meaning into meaning.json: {json.dumps(found)}"
    assert list(found["tasks"]) == list(pinned["tasks"])


def test_the_records_of_the_leaderboard_are_of_the_tasks_that_suites_have_now(host: Host, data_dir: Path) -> None:
    used = [record.task for _, record in RecordStore(ROOT / "leaderboard" / "records" / "tiny").records()]
    tasks = {(task.suite, task.name): task.fingerprint for task in used if task.metric != MACRO}
    assert len(tasks) > 20
    for name in sorted({suite for suite, _ in tasks}):
        suite = load(ROOT / "suites" / f"{name}.yaml", Suite)
        scored = [task for task in suite.tasks if (name, task.name) in tasks]
        planned = {each.used.name: each.used for each in plan_tasks(suite, scored, host.registry, data_dir)}
        for task, used_now in planned.items():
            assert used_now.fingerprint == tasks[name, task], f"{name} / {task}"

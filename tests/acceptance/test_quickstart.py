"""The demo: what `make demo` runs learns, says so with intervals, and does nothing twice."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tilbench.config.references import parse_spec
from tilbench.kinds.metric import Value
from tilbench.loader import Host
from tilbench.resolve.specs import load_spec
from tilbench.resolve.suites import find_suite
from tilbench.results.store import RecordStore

pytestmark = pytest.mark.long


@pytest.mark.timeout(1200)
def test_every_tiny_model_learns_its_languages_and_a_second_run_is_free(
    host: Host, tmp_path: Path, tilbench: Callable[..., Any]
) -> None:
    command = ("run", "quickstart", "--out", tmp_path / "records", "--runs", tmp_path / "runs")
    began = time.process_time()
    first = tilbench(*command)
    took = time.process_time() - began
    assert first.status == 0, first.err
    records = [record for _, record in RecordStore(tmp_path / "records").records()]
    suite = find_suite("quickstart", host.registry)
    assert {record.model.name for record in records} == {*suite.models, *suite.baselines}
    scores = {(record.model.name, record.task.name): record.values.get("bpb") for record in records}
    languages = {task.name: task.language for task in suite.tasks if task.metric == "bpb"}
    learned = 0
    for model in [name for name in suite.models if "@" not in name]:
        own = load_spec(parse_spec(model), host.registry).languages
        for task in [task for task, language in languages.items() if language in own]:
            trained, untrained = bounds(scores[model, task]), bounds(scores[f"{model}@0", task])
            assert trained[1] < min(untrained[0], 8.0), (model, task)
            learned += 1
    assert learned >= 10
    began = time.process_time()
    second = tilbench(*command)
    assert time.process_time() - began < took / 20  # no model is built, no training is looked into
    assert "0 results new" in second.err
    assert "0 requests answered" in second.err
    assert second.out == first.out


def bounds(score: Value | None) -> tuple[float, float]:
    assert score is not None
    assert score.low is not None
    assert score.high is not None
    return score.low, score.high

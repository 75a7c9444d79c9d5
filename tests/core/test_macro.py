"""The mean of a value over tasks: its weights, its standard error and its interval, by hand."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import scipy.stats
from tests.support.records import entries, record

from tilbench.cli.table import render
from tilbench.config.suite import Suite
from tilbench.kinds.metric import ItemScore, Value
from tilbench.results.frame import records_frame
from tilbench.results.macro import macro_items, macro_score, record_macros
from tilbench.results.macro_parts import MACRO, macro_parts
from tilbench.results.reading import joined, reading_notes
from tilbench.results.record import Reading
from tilbench.results.statistics import mean_interval, proportion_interval
from tilbench.results.store import RecordStore
from tilbench.results.table import make_board


def parts(*scores: Value) -> list[ItemScore]:
    return macro_items(
        [record(task=f"t{place}", rows=200 + place, value=score) for place, score in enumerate(scores)], "bpb"
    )


def mean_of(values: list[float], unit: str = "bits/byte") -> Value:
    names = [str(place) for place in range(len(values))]
    interval = (proportion_interval if unit == "fraction" else mean_interval)(values, names)
    assert interval is not None
    mean = sum(values) / len(values)
    return Value(
        value=mean,
        n=len(values),
        unit=unit,
        direction="lower",
        stderr=interval.stderr,
        low=interval.low,
        high=interval.high,
    )


ONE, TWO = [1.0, 1.5, 1.2, 1.9, 1.4], [2.0, 2.2, 2.9, 2.1, 2.5, 2.3, 2.6, 2.8]


def test_every_task_counts_once_with_welchs_interval() -> None:
    """The mean of two means is half their sum, whose interval is Welch's (scipy, on one sample turned round)."""
    found = macro_score(parts(mean_of(ONE), mean_of(TWO)), "bits/byte", "lower")
    welch = scipy.stats.ttest_ind(ONE, [-each for each in TWO], equal_var=False)
    bounds = welch.confidence_interval(0.95)
    assert found.value == pytest.approx((sum(ONE) / 5 + sum(TWO) / 8) / 2)
    assert (found.low, found.high) == pytest.approx((bounds.low / 2, bounds.high / 2))
    assert found.stderr == pytest.approx(math.hypot(scipy.stats.sem(ONE), scipy.stats.sem(TWO)) / 2)
    assert (found.n, found.unit, found.direction) == (13, "bits/byte", "lower")


def test_tasks_on_the_same_rows_are_no_more_evidence_than_one() -> None:
    one = mean_of(ONE)
    items = [replace(each, cluster="exam") for each in parts(one, one, one)]
    found = macro_score(items, "bits/byte", "lower")
    assert found.value == pytest.approx(one.value)
    assert found.n == 5
    assert found.stderr == pytest.approx(one.stderr)
    assert (found.low, found.high) == pytest.approx(scipy.stats.t.interval(0.95, 4, one.value, one.stderr))


def test_the_chance_level_is_the_mean_of_the_tasks() -> None:
    scores = [replace(mean_of(ONE), chance=chance) for chance in (0.25, 0.5)]
    assert macro_score(parts(*scores), "bits/byte", "lower").chance == 0.375
    assert macro_score(parts(scores[0], mean_of(TWO)), "bits/byte", "lower").chance is None


def test_by_rows_a_task_counts_as_often_as_it_has_rows() -> None:
    found = macro_score(parts(mean_of(ONE), mean_of(TWO)), "bits/byte", "lower", "row")
    assert found.value == pytest.approx((sum(ONE) + sum(TWO)) / 13)
    error = math.hypot(5 / 13 * float(scipy.stats.sem(ONE)), 8 / 13 * float(scipy.stats.sem(TWO)))
    assert found.stderr == pytest.approx(error)


def test_one_task_keeps_its_value_and_error_and_students_interval() -> None:
    alone = mean_of(ONE)
    found = macro_score(parts(alone), "bits/byte", "lower")
    assert alone.stderr is not None
    bounds = scipy.stats.t.interval(0.95, 4, alone.value, alone.stderr)
    assert found.value == alone.value
    assert found.stderr == pytest.approx(alone.stderr)
    assert (found.low, found.high) == pytest.approx(bounds)


def test_a_task_with_every_answer_right_still_adds_doubt() -> None:
    """Its standard error is 0, and its interval is not."""
    right, half = mean_of([1.0] * 20, "fraction"), mean_of([1.0, 0.0] * 10, "fraction")
    assert right.stderr == 0
    found = macro_score(parts(right, half), "fraction", "higher")
    certain = macro_score(parts(replace(right, low=1.0), half), "fraction", "higher")
    assert found.low is not None
    assert found.high is not None
    assert certain.low is not None
    assert found.low < certain.low
    assert found.high <= 1


def test_no_interval_where_a_task_has_none() -> None:
    found = macro_score(
        parts(mean_of(ONE), Value(value=2, n=1, unit="bits/byte", direction="lower")), "bits/byte", "lower"
    )
    assert (found.stderr, found.low, found.high) == (None, None, None)
    assert found.value == pytest.approx((1.4 + 2) / 2)


def test_what_was_lost_in_a_task_stands_beside_the_mean_of_tasks(tmp_path: Path) -> None:
    """A macro's record has no reading of its own: the table, the page and the data frame take that of its tasks."""
    found = []
    for model, lost in (("lossy", 5), ("whole", 0)):
        tasks = [record(model, "news", mean_of(ONE)), record(model, "books", mean_of(TWO))]
        reading = Reading(scored_bytes=1000, lost_bytes=lost, unanswered={"too long": lost} if lost else {})
        tasks[0] = tasks[0].model_copy(update={"reading": reading})
        suite = Suite.model_validate(
            {
                "name": "kazakh",
                "tasks": [{"name": name, "metric": "bpb", "dataset": "text/kk/heldout"} for name in ("news", "books")],
                "macros": [{"name": "mean", "tasks": ["news", "books"], "value": "bpb"}],
            }
        )
        found += [*tasks, *record_macros(suite, tasks, RecordStore(tmp_path))]
    macros = [each for each in found if each.task.metric == MACRO]
    assert [each.reading for each in macros] == [None, None]
    board = make_board(entries(*found))
    (column,) = (column for column in board.columns if column.name == "mean")
    lossy, whole = (row.cells[column.key].reading for row in board.rows)
    assert lossy is not None
    assert (lossy.lost_bytes, lossy.unanswered) == (5, {"too long": 5})
    assert not reading_notes(whole)
    text = "\n".join(str(part) for part in render(board).renderables)
    assert "lossy on news, lossy on mean – 5 rows left out: too long" in text
    frame = records_frame(entries(*found))
    shares = frame[frame["task"] == "mean"].set_index("model")["lost_share"]
    assert (shares["lossy"], shares["whole"]) == (0.005, 0.0)
    others = [each for each in found if each.task.metric == MACRO]
    assert make_board(entries(*others)).rows[0].cells[column.key].reading is None, "its tasks' records are not here"


def test_the_parts_of_a_macro_are_of_the_versions_that_it_was_made_of(tmp_path: Path) -> None:
    old, new = record("a", "news", mean_of(ONE)), record("a", "news", mean_of(TWO), fingerprint="another")
    books = record("a", "books", mean_of(TWO))
    tasks = [{"name": name, "metric": "bpb", "dataset": "text/kk/heldout"} for name in ("news", "books")]
    macros = [{"name": "mean", "tasks": ["news", "books"], "value": "bpb"}]
    suite = Suite.model_validate({"name": "kazakh", "tasks": tasks, "macros": macros})
    (made,) = record_macros(suite, [new, books], RecordStore(tmp_path))
    assert macro_parts(made, [old, new, books]) == [new, books]
    assert macro_parts(made, [old, books]) is None
    assert macro_parts(made, [new]) == []


def test_what_was_read_of_several_tasks_is_the_sum() -> None:
    first = Reading(scored_bytes=10, lost_bytes=1, unanswered={"too long": 1})
    second = Reading(scored_bytes=5, lost_bytes=2, unanswered={"too long": 2, "empty": 1})
    assert joined([first, None, second]) == Reading(
        scored_bytes=15, lost_bytes=3, unanswered={"too long": 3, "empty": 1}
    )
    assert joined([None]) is None

"""What a model did not read of a task: counted for every metric, kept in the record, and recomputed from its items."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tilbench.kinds.metric import ItemScore
from tilbench.kinds.requests import (
    Answer,
    Continuation,
    Document,
    Generated,
    Generation,
    Likelihood,
    NextWord,
    Ranked,
    Request,
    Unanswered,
    answer_from_json,
    answer_to_json,
)
from tilbench.results.reading import (
    metric_scores,
    misfits,
    read_row,
    reading_marks,
    reading_notes,
    reading_of,
    too_lossy,
    unanswered_row,
)
from tilbench.results.record import Reading

Tilbench = Callable[..., Any]

PLUGIN = """
import math
from tilbench import hookimpl
from tilbench.kinds.requests import Likelihood, Unanswered
from tilbench_baselines.uniform import UniformBytes, UniformBytesLoader
from dataclasses import replace

class Partial(UniformBytes):
    def __init__(self, every):
        super().__init__()
        self.card = replace(self.card, name=f"partial-{every}", fingerprint=f"partial-{every}")
        self._every = every

    def _one(self, request):
        if len(request.continuation) % self._every == 0:
            return Unanswered("its tokens cannot be told apart")
        return replace(super()._one(request), lost_context=2, cut=3, dropped=1)

class Loader(UniformBytesLoader):
    def recognises(self, reference):
        return reference.startswith("partial-")
    def card(self, reference, options):
        return self.open(reference, options).card
    def open(self, reference, options):
        return Partial(int(reference.removeprefix("partial-")))

@hookimpl
def register_loaders(register):
    register("partial", Loader)
"""
SUITE = """
name: small
tasks: [{name: exam, metric: choice, dataset: questions/kk/test, settings: {form: cloze}, limit: 30}]
"""


@pytest.fixture
def run(tmp_path: Path, tilbench: Tilbench) -> Callable[[str], tuple[Path, dict[str, Any]]]:
    """Return a function that scores a model which answers only some rows, and returns its record."""
    (tmp_path / "partial.py").write_text(PLUGIN, encoding="utf-8")
    (tmp_path / "small.yaml").write_text(SUITE, encoding="utf-8")

    def score(model: str) -> tuple[Path, dict[str, Any]]:
        arguments = ("run", tmp_path / "small.yaml", "--models", model, "--out", tmp_path / "records")
        outcome = tilbench("--plugin", tmp_path / "partial.py", *arguments)
        assert outcome.status == 0, outcome.err
        (path,) = (tmp_path / "records/small/exam").glob(f"{model}-*.json")
        return path, json.loads(path.read_text(encoding="utf-8"))

    return score


def test_a_row_without_an_answer_is_left_out_and_counted(run: Any, tilbench: Tilbench) -> None:
    path, record = run("partial-5")
    reading = record["reading"]
    (count,) = reading["unanswered"].values()
    assert 0 < count < 30
    assert list(reading["unanswered"]) == ["its tokens cannot be told apart"]
    assert record["values"]["acc"]["n"] == 30 - count
    assert reading["cut_rows"] == reading["dropped_rows"] == 30 - count
    assert reading["cut_tokens"] == 3 * (30 - count)
    assert tilbench("records", "verify", path).status == 0


def test_a_task_without_any_answer_is_not_applicable(run: Any) -> None:
    _, record = run("partial-1")
    assert (record["status"], record["values"]) == ("n/a", {})
    assert "its tokens cannot be told apart" in record["reason"]
    assert record["reading"]["unanswered"] == {"its tokens cannot be told apart": 30}


def test_a_model_that_cannot_be_asked_before_has_no_value_where_rows_may_not_be_cut(run: Any, tmp_path: Path) -> None:
    strict = SUITE.replace("limit: 30", "limit: 30, truncation: error")
    (tmp_path / "small.yaml").write_text(strict, encoding="utf-8")
    _, record = run("partial-5")
    assert (record["status"], record["values"]) == ("n/a", {})
    assert "did not fit" in record["reason"]
    assert "truncation: error" in record["reason"]


def test_rows_that_both_models_answered_are_paired(run: Any, tmp_path: Path, tilbench: Tilbench) -> None:
    counts = [sum(run(model)[1]["reading"]["unanswered"].values()) for model in ("partial-5", "partial-7")]
    outcome = tilbench("compare", "partial-5", "partial-7", "--records", tmp_path / "records", "--json")
    assert outcome.status == 0, outcome.err
    (task,) = json.loads(outcome.out)["tasks"]
    assert max(counts) < task["left_out"] <= sum(counts)
    assert task["n"] == 30 - task["left_out"]
    assert task["caveats"][-1] == f"paired on the {task['n']} rows that both answered; {task['left_out']} left out"
    assert f"partial-5: {counts[0]} rows left out: its tokens cannot be told apart" in task["caveats"]
    assert "note: partial-5" in tilbench("compare", "partial-5", "partial-7", "--records", tmp_path / "records").out


def test_a_reading_that_was_edited_is_found(run: Any, tilbench: Tilbench) -> None:
    path, record = run("partial-5")
    record["reading"]["cut_tokens"] = 0
    path.write_text(json.dumps(record), encoding="utf-8")
    outcome = tilbench("records", "verify", path)
    assert outcome.status == 1
    assert "its items give" in outcome.out


def test_rows_that_were_edited_are_found(run: Any, tilbench: Tilbench) -> None:
    path, record = run("partial-5")
    record["task"]["dataset"]["rows"] += 1
    path.write_text(json.dumps(record), encoding="utf-8")
    outcome = tilbench("records", "verify", path)
    assert outcome.status == 1
    assert "task.dataset.rows is 31, and there are 30 items" in outcome.out


def test_bytes_are_counted_of_what_was_scored_and_of_each_context_once() -> None:
    requests: list[Request] = [
        Continuation("Сұрақ", " иә"),
        Continuation("Сұрақ", " жоқ"),
        NextWord("ab", "c"),
        Generation("de"),
        Document("ғ"),
    ]
    answers: list[Answer] = [
        Likelihood(-1.0, 2, lost=1, lost_context=4, cut=5),
        Likelihood(-1.0, 2, lost_context=4, cut=7, dropped=2),
        Ranked(1, -1.0, 1),
        Generated("x", 1, True, lost_context=1),
        Likelihood(-1.0, 1, lost=2),
    ]
    reading = reading_of([read_row(requests, answers)], [{}])
    assert reading is not None
    assert reading.scored_bytes == len(" иә".encode()) + len(" жоқ".encode()) + len(b" c") + len("ғ".encode())
    assert (reading.lost_bytes, reading.context_bytes, reading.lost_context_bytes) == (3, 10 + 2 + 2, 5)
    assert (reading.cut_rows, reading.cut_tokens, reading.dropped_rows, reading.dropped_examples) == (1, 7, 1, 2)
    assert reading.lost_share == 3 / reading.scored_bytes


@pytest.mark.parametrize(
    ("lost", "scored", "usable"), [(0, 0, True), (10, 1000, True), (11, 1000, False), (5, 5, False)]
)
def test_one_percent_of_the_scored_bytes_may_be_lost(lost: int, scored: int, usable: bool) -> None:
    assert bool(too_lossy(lost, scored)) is not usable
    assert usable or f"{lost / scored:.1%}" in too_lossy(lost, scored)


def test_the_commonest_reasons_are_told() -> None:
    reading = Reading(unanswered={"a": 1, "b": 5, "c": 2, "d": 3, "e": 1})
    told = ["5 rows left out: b", "3 rows left out: d", "2 rows left out: c", "2 rows left out for 2 other reasons"]
    assert reading_notes(reading) == told


def test_a_metric_sees_neither_unanswered_rows_nor_counts_that_are_not_its_own() -> None:
    counts = read_row([Document("ab")], [Likelihood(-1.0, 1, lost=1)])
    why = unanswered_row([Likelihood(-1.0, 1), Unanswered("no room")])
    items = [ItemScore("one", "c", {"acc": 1.0, **counts}, {"word": "a"}), ItemScore("two", "c", {}, why)]
    (score,) = metric_scores(items)
    assert (score.item, score.values, score.texts) == ("one", {"acc": 1.0}, {"word": "a"})


def test_items_of_older_records_say_nothing_of_reading() -> None:
    assert reading_of([{"bits": 1.0}, {"bits": 2.0}], [{}, {}]) is None


@pytest.mark.parametrize(
    "answer",
    [
        Likelihood(-0.1, 2, True, 1, 2, 3, 4),
        Ranked(3, -0.1, 2, 1, 2, 3, 4),
        Generated("а", 1, False, 0, 2, 3, 4),
        Unanswered("an id beyond the embedding"),
        Unanswered("the instruction leaves no room", too_long=True),
    ],
)
def test_answers_keep_what_was_not_read(answer: Answer) -> None:
    assert answer_from_json(answer_to_json(answer)) == answer


def test_rows_that_kept_no_example_are_told_from_rows_that_kept_some() -> None:
    request = Continuation("one two three", "x", optional=((0, 4), (4, 8)))
    rows = [read_row([request], [Likelihood(-1.0, 1, dropped=dropped)]) for dropped in (0, 1, 2, 2)]
    reading = reading_of(rows, [{}] * 4)
    assert reading is not None
    assert (reading.dropped_rows, reading.bare_rows) == (3, 2)
    assert reading_marks(reading) == ["1 row with fewer shots", "2 rows with no examples left"]
    assert reading_notes(reading) == ["3 rows did not fit: 5 few-shot examples left out; 2 rows kept none"]


def test_only_rows_without_an_answer_that_are_too_long_are_misfits() -> None:
    requests = [Document("a"), Document("b")]
    long, other = Unanswered("no room", too_long=True), Unanswered("an id beyond the embedding")
    answers: list[list[Answer]] = [[Likelihood(-1.0, 1, dropped=1), long], [Likelihood(-1.0, 1), other]]
    reading = reading_of([read_row(requests, each) for each in answers], [unanswered_row(each) for each in answers])
    assert reading == Reading(unanswered={"no room": 1, "an id beyond the embedding": 1}, too_long_rows=1)
    assert misfits(reading) == ["1 row did not fit: the instruction leaves no room for an answer"]
    assert misfits(Reading(unanswered={"an id beyond the embedding": 1})) == []


def test_short_answers_and_windows_are_counted_by_rows_and_said() -> None:
    request, document = Generation("a"), Document("b")
    rows = [
        read_row([request, request], [Generated("", 9, False, short=4), Generated("", 9, False, short=2)]),
        read_row([request], [Generated("", 9, False)]),
        read_row([document], [Likelihood(-1.0, 9, windows=2)]),
        read_row([document], [Likelihood(-1.0, 9)]),
    ]
    reading = reading_of(rows, [{}] * 4)
    assert reading is not None
    assert (reading.short_rows, reading.windowed_rows) == (1, 1)
    assert reading_marks(reading) == ["1 answer cut short"]
    assert "1 row did not fit: the prompt leaves fewer tokens than 'max_new_tokens'" in reading_notes(reading)[0]

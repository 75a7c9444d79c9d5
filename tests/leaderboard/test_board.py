from __future__ import annotations

import hashlib
import re
from dataclasses import replace
from typing import Any

import pytest
from tests.support.records import accuracy, entries, record, score, showcase

from tilbench.kinds.metric import Value
from tilbench.results.record import Record
from tilbench.results.table import Board, Cell, differences, format_value, make_board, unrun


def names(board: Board) -> list[str]:
    return [row.label for row in board.rows]


def cell(board: Board, label: str, column: int = 0) -> Cell:
    row = next(row for row in board.rows if row.label == label)
    return row.cells[board.columns[column].key]


def test_one_row_a_model_and_one_column_a_task_in_order_of_appearance() -> None:
    board = make_board(
        entries(
            record("b", "news", score(1.0), suite="z"),
            record("a", "news", score(2.0), suite="z", step=300),
            record("a", "exam", accuracy(0.5), suite="a", headline="acc", language="tr-Latn"),
        )
    )
    assert names(board) == ["b", "a"]
    assert [(column.suite, column.name) for column in board.columns] == [("z", "news"), ("a", "exam")]
    assert board.suites == ("z", "a")
    assert board.languages == ("kk-Cyrl", "tr-Latn")
    exam = board.columns[1]
    assert (exam.headline, exam.unit, exam.direction, exam.chance, exam.n) == ("acc", "fraction", "higher", 0.25, 200)
    assert board.rows[1].step == 300
    assert exam.key not in board.rows[0].cells


def test_no_records_make_an_empty_board() -> None:
    board = make_board([])
    assert (board.columns, board.rows, board.suites) == ((), (), ())


@pytest.mark.parametrize(
    ("value", "order"),
    [
        (score(0, None, direction="lower"), ["one", "two", "three", "none"]),
        (score(0, None, direction="higher"), ["three", "two", "one", "none"]),
        (score(0, None, direction="none"), ["three", "two", "one", "none"]),
    ],
)
def test_sorting_puts_the_best_first_and_the_missing_last(value: Value, order: list[str]) -> None:
    values = {"two": 2.0, "none": float("nan"), "three": 3.0, "one": 1.0}
    made = [record(name, value=score(number, None, direction=value.direction)) for name, number in values.items()]
    board = make_board(entries(*made))
    key = board.columns[0].key
    assert names(board.sort(key)) == order
    assert names(board.sort(key, worst_first=True)) == [*order[2::-1], "none"]
    assert names(board.sort("no such column")) == list(values)


def test_sorting_by_what_the_models_are() -> None:
    board = make_board(
        entries(
            record("Beta", value=score(1), parameters=5, step=20),
            record("alpha", value=score(2), parameters=0),
            record("gamma", value=score(3), parameters=2, step=0),
        )
    )
    assert names(board.sort("model")) == ["alpha", "Beta", "gamma"]
    assert names(board.sort("parameters")) == ["gamma", "Beta", "alpha"]
    assert names(board.sort("step")) == ["gamma", "Beta", "alpha"]


def test_values_of_unlike_tasks_stand_apart_and_say_what_differs() -> None:
    board = make_board(
        entries(
            record("a", value=score(1.0), settings={"window": 256}, finished="2026-01-01"),
            record("a", value=score(2.0), settings={"window": 512}, finished="2026-02-01"),
            record("b", value=score(1.5), settings={"window": 512}, rows=50, version=3, finished="2026-01-02"),
        )
    )
    assert len(board.rows) == 2
    assert [column.newest for column in board.columns] == [True, False, False]
    assert [column.versions for column in board.columns] == [3, 3, 3]
    assert board.columns[0].differs == ()
    assert board.columns[1].differs == (
        "task version: 3, not 1",
        "dataset fingerprint: data-50, not data-200",
        "rows (limit): 50, not 200",
    )
    assert board.columns[2].differs == ("setting window: 256, not 512",)
    assert len({column.label for column in board.columns}) == 3
    assert cell(board, "a", 0).value == 2.0
    assert cell(board, "a", 2).value == 1.0
    assert [column.label for column in board.newest().columns] == ["news-bpb"]
    assert names(board.newest()) == ["a"]


def test_differences() -> None:
    a = record(settings={"window": 1, "stride": 2}).task
    assert differences(a, a) == []
    b = record(settings={"window": 1}).task
    assert differences(a, b) == ["setting stride: 2, not unset"]
    hidden = a.model_copy(update={"fingerprint": "other"})
    assert len(differences(a, hidden)) == 1
    assert "do not carry" in differences(a, hidden)[0]


def test_a_reported_figure_never_stands_among_measured_ones() -> None:
    measured = record("a", value=score(1.0))
    reported = record("a", value=score(0.5), source="reported")
    board = make_board(entries(measured, reported))
    assert [column.reported for column in board.columns] == [False, True]
    assert [column.newest for column in board.columns] == [True, True]
    assert board.columns[1].label == "news-bpb (reported)"
    assert len({column.key for column in board.columns}) == 2
    assert [row.cells[column.key].value for row in board.rows for column in board.columns] == [1.0, 0.5]
    assert cell(board, "a").mark == ""


def test_filters() -> None:
    board = make_board(entries(*showcase()))
    assert board.only(suites=["turkish"]).suites == ("turkish",)
    assert board.only(languages=["tr-Latn"]).languages == ("tr-Latn",)
    assert names(board.only(sources=["reported"])) == ["til-mini:1b"]
    assert board.only(suites=["nowhere"]).columns == ()
    assert board.only() == board


def test_marks_say_which_intervals_overlap_the_best() -> None:
    board = make_board(
        entries(
            record("best", value=score(1.00, 0.02)),
            record("near", value=score(1.03, 0.02)),
            record("far", value=score(1.05, 0.02)),
            record("bare", value=score(1.01, None)),
        )
    )
    assert [cell(board, name).mark for name in names(board)] == ["best", "overlaps", "", ""]
    alone = make_board(entries(record("best", value=score(1.0))))
    assert cell(alone, "best").mark == ""


def test_marks_follow_the_filter() -> None:
    theirs = record("theirs", value=score(0.5), source="community")
    board = make_board(entries(theirs, record("a", value=score(1.0)), record("b", value=score(2.0))))
    assert cell(board, "a").mark == ""
    assert cell(board.only(sources=["measured"]), "a").mark == "best"


def test_above_chance_asks_for_the_whole_interval() -> None:
    board = make_board(
        entries(
            record("above", value=accuracy(0.31, 0.05)),
            record("touching", value=accuracy(0.30, 0.05)),
            record("below", value=accuracy(0.1, 0.05)),
            record("unsure", value=score(0.9, None, chance=0.25)),
            record("lower", value=score(6.0, 1.0, chance=8.0)),
            record("no chance", value=score(1.0)),
        )
    )
    found = [cell(board, name).above_chance for name in names(board)]
    assert found == [True, False, False, None, True, None]


def commonest(name: str, value: Value, majority: Value) -> Record:
    made = record(name, "exam", value, headline="acc")
    return made.model_copy(update={"values": {"acc": value, "majority": majority}})


def test_above_chance_asks_for_more_than_the_commonest_answer() -> None:
    share = score(0.38, None, unit="fraction", direction="none")
    board = make_board(
        entries(
            commonest("above", accuracy(0.45, 0.05), share),
            commonest("above chance alone", accuracy(0.40, 0.05), share),
            commonest("below the chance", accuracy(0.45, 0.05, chance=0.5), share),
            commonest("another unit", accuracy(0.40, 0.05), replace(share, unit="questions")),
            commonest("no chance", replace(accuracy(0.40, 0.05), chance=None), share),
        )
    )
    assert [cell(board, name).above_chance for name in names(board)] == [True, False, False, True, False]
    assert board.columns[0].majority == 0.38


def test_a_value_outside_its_interval_is_never_the_best() -> None:
    edited = replace(score(1.0), value=0.2)
    rounded = replace(score(1.3), value=1.3, low=1.3 + 1e-15, high=1.3 + 1e-15)
    board = make_board(
        entries(
            record("edited", value=edited),
            record("a", value=score(1.0)),
            record("rounded", value=rounded),
            record("below", value=replace(score(1.01), value=5.0)),
        )
    )
    found = [cell(board, name) for name in names(board)]
    assert [each.status for each in found] == ["does not hold", "done", "done", "does not hold"]
    assert [each.mark for each in found] == ["", "best", "", ""]
    assert found[0].value is None
    assert "tilbench records verify" in found[0].reason


def test_columns_that_no_model_ran_can_be_left_out() -> None:
    missing: dict[str, Any] = {"status": "not run", "reason": "no data"}
    board = make_board(
        entries(
            record("a", "news", score(1.0)),
            record("b", "news", **missing),
            record("a", "exam", **missing),
            record("a", "poems", status="n/a"),
            record("c", "exam", **missing),
        )
    )
    assert [column.name for column in unrun(board.columns, board.rows)] == ["exam"]
    assert [column.name for column in board.ran().columns] == ["news", "poems"]
    assert names(board.ran()) == ["a", "b"]


def test_statuses_fill_the_column_of_their_task() -> None:
    board = make_board(
        entries(
            record("blind", fingerprint="unknown", status="not run", reason="no data"),
            record("xz", status="n/a", reason="documents only"),
            record("a", value=score(1.0)),
            record("odd", value=score(1.0)).model_copy(update={"values": {"other": score(1.0)}}),
        )
    )
    assert len(board.columns) == 1
    assert (cell(board, "blind").status, cell(board, "blind").reason) == ("not run", "no data")
    assert cell(board, "xz").status == "n/a"
    assert cell(board, "odd").status == "n/a"
    assert "no value 'bpb'" in cell(board, "odd").reason
    assert names(board.sort(board.columns[0].key))[0] == "a"


def test_a_task_that_nobody_ran_still_has_a_column() -> None:
    board = make_board(
        entries(
            record("a", fingerprint="1", status="not run", reason="no data"),
            record("b", fingerprint="2", status="not run", reason="no data"),
        )
    )
    assert len(board.columns) == 1
    assert [cell(board, name).status for name in names(board)] == ["not run", "not run"]


def test_a_model_that_was_never_opened_joins_its_name() -> None:
    board = make_board(
        entries(
            record("ngram", "wiki", model_fingerprint="none", status="not run", reason="no text"),
            record("ngram", "news", score(3.0)),
        )
    )
    assert names(board) == ["ngram"]
    assert len(board.rows[0].cells) == 2


def test_of_two_records_the_measured_and_then_the_newest_is_shown() -> None:
    board = make_board(
        entries(
            record("a", value=score(1.0), finished="2026-01-01"),
            record("a", value=score(2.0), finished="2026-01-02"),
            record("a", value=score(3.0), finished="2026-01-03", source="community"),
            record("a", status="not run", finished="2026-01-04"),
        )
    )
    assert cell(board, "a").value == 2.0
    assert {path.name for path in cell(board, "a").older} == {"0.json", "2.json", "3.json"}


def test_models_of_one_name_have_different_labels() -> None:
    board = make_board(
        entries(
            record("a", value=score(1.0), model_fingerprint="1" * 32),
            record("a", value=score(2.0), model_fingerprint="2" * 32),
            record("a #111111", value=score(2.0), model_fingerprint="3" * 32),
        )
    )
    assert len(set(names(board))) == 3
    assert all(re.fullmatch(r"a #[0-9a-f]{6}", name) for name in names(board))


def test_labels_are_short_whatever_the_fingerprint_and_longer_only_while_ambiguous() -> None:
    first, second = (f"ngram:1:order-6:{sign * 64}" for sign in "ab")
    digest = hashlib.sha256(first.encode()).hexdigest()
    board = make_board(
        entries(
            record("ngram", value=score(1.0), model_fingerprint=first),
            record("ngram", value=score(2.0), model_fingerprint=second),
            record(f"ngram #{digest[:6]}", value=score(2.0), model_fingerprint="other"),
        )
    )
    assert names(board)[0] == f"ngram #{digest[:7]}"
    assert names(board)[1] == f"ngram #{hashlib.sha256(second.encode()).hexdigest()[:6]}"
    assert len(set(names(board))) == 3


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (score(1.2341, 0.035), "1.234 [1.20, 1.27]"),
        (score(1.2341, 0.003), "1.234 [1.231, 1.237]"),
        (accuracy(0.4519, 0.041), "45.2% [41.1, 49.3]"),
        (score(1.5, None), "1.500"),
        (score(1234.5, 20.0), "1234.5 [1214.5, 1254.5]"),
        (score(12.0, None), "12.00"),
        (score(float("inf"), None), "inf"),
        (score(8.0, 0.0), "8.000 [8.00, 8.00]"),
        (score(8.0, 1e-15), "8.000 [8.00, 8.00]"),
        (score(1.0, 2e-6), "1.000000 [0.999998, 1.000002]"),
    ],
)
def test_values_read_well(value: Value, text: str) -> None:
    assert format_value(value) == text


def test_no_value_on_too_few_rows_is_marked_as_best() -> None:
    """`compare` names no winner there either."""
    for rows, marks in ((5, ["", ""]), (6, ["best", ""])):
        made = [record(name, value=score(value, 0.01, n=rows)) for name, value in (("alpha", 1.0), ("beta", 2.0))]
        board = make_board(entries(*made))
        assert [cell.mark for row in board.rows for cell in row.cells.values()] == marks

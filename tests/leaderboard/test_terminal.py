from __future__ import annotations

import io
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from rich.console import Console
from tests.support.records import HOSTILE, accuracy, entries, record, save, score, showcase

from tilbench.cli.leaderboard import leaderboard
from tilbench.cli.table import render
from tilbench.kinds.metric import Value
from tilbench.results.record import Reading
from tilbench.results.table import Board, make_board
from tilbench.results.wording import format_interval


def shown(board: Board, width: int = 240) -> str:
    stream = io.StringIO()
    Console(file=stream, width=width, color_system=None).print(render(board))
    return stream.getvalue()


def test_an_empty_board_says_what_to_do() -> None:
    assert "tilbench run" in shown(make_board([]))


def test_the_board_with_its_notes() -> None:
    text = shown(make_board(entries(*showcase())))
    for part in (
        "kazakh",
        "turkish",
        "1.021 [1.00, 1.04]",
        "42.5% [39.0, 46.0]",
        "bpb ↓",
        "acc ↑",
        "chance 25.0%",
        "≈ chance",
        "1,235,814,400",
        "n/a: xz scores documents only",
        "not run: no dataset 'kk-news' here",
        "setting window: 256, not 512",
        "unt-history (reported)",
    ):
        assert part in text


def test_ties_stand_with_their_value() -> None:
    tied = score(12.0, None, unit="questions", direction="none")
    some = record("a", "exam", accuracy(0.5), headline="acc")
    more = record("b", "exam", accuracy(0.4), headline="acc")
    text = shown(make_board(entries(some.model_copy(update={"values": {**some.values, "tied": tied}}), more)))
    assert text.count("12 of 200 tied") == 1
    assert "tied: several choices score best" in text
    assert "tied" not in shown(make_board(entries(some, more)))


def test_what_a_model_did_not_read_stands_with_its_value() -> None:
    reading = Reading(
        scored_bytes=1000, lost_bytes=8, context_bytes=50, dropped_rows=2, dropped_examples=3, cut_rows=1, cut_tokens=7
    ).model_copy(update={"unanswered": {"no room for an answer": 4}})
    text = shown(make_board(entries(record("a", value=score(1.5), reading=reading), record("b", value=score(1.9)))))
    for part in (
        "0.8% of bytes lost",
        "2 rows with fewer shots",
        "1 row cut",
        "4 rows left out",
        "a on news-bpb – 0.8% of the scored bytes are not in the model's tokens, and cost 8 bits each",
        "a on news-bpb – 2 rows did not fit: 3 few-shot examples left out",
        "a on news-bpb – 1 row did not fit: 7 tokens of context cut",
        "a on news-bpb – 4 rows left out: no room for an answer",
    ):
        assert part in text


def test_what_a_metric_says_of_its_values_stands_under_the_table_once() -> None:
    rule = "verdict: a loop is FAIL"
    text = shown(make_board(entries(*(record(name, value=score(1.5), notes=[rule]) for name in "ab"))))
    assert text.count(f"news-bpb: {rule}") == 1
    assert "loop" not in shown(make_board(entries(record("a", status="n/a", reason="none", notes=[rule]))))


def test_the_best_is_told_without_colours() -> None:
    made = [record("a", value=score(1.5)), record("b", value=score(1.9)), record("c", value=score(1.51))]
    text = shown(make_board(entries(*made)))
    assert "*1.50" in text
    assert "*: best of its task" in text
    assert "green" not in text
    assert not re.search(r"[*†]1\.90", text)


def test_the_commonest_answer_stands_beside_chance() -> None:
    value = accuracy(0.40, 0.05)
    share = score(0.382, None, unit="fraction", direction="none")
    made = record("a", "exam", value, headline="acc").model_copy(update={"values": {"acc": value, "majority": share}})
    text = shown(make_board(entries(made)))
    assert "chance 25.0%" in text
    assert "commonest answer 38.2%" in text
    assert "≈ chance: 95% interval does not clear chance or the commonest answer" in text


def test_tasks_that_no_model_ran_are_one_line() -> None:
    blank: dict[str, Any] = {"status": "not run", "reason": "no dataset here"}
    made = [record(name, f"task-{number}", **blank) for name in "ab" for number in range(7)]
    line = "7 tasks not run, their data is not on this machine: task-0, task-1, task-2, task-3, task-4, …; "
    line += "'tilbench run … --dry-run' says how to get each"
    for more in ([], [record("a", "news", score(1.0))]):
        text = shown(make_board(entries(*made, *more)))
        assert line in text
        assert text.count("task-0") == 1
        assert "no dataset here" not in text
        assert "kazakh" in text


def test_an_edited_number_does_not_hold() -> None:
    edited = replace(score(1.0), value=0.2)
    text = shown(make_board(entries(record("edited", value=edited), record("b", value=score(1.0)))))
    assert "does not hold" in text
    assert "edited on news-bpb – does not hold: the value lies outside its own 95% interval" in text
    assert "0.200" not in text


def test_one_unreadable_record_does_not_end_the_board(tmp_path: Path) -> None:
    save(tmp_path, [record("a", value=score(1.0))])
    (tmp_path / "kazakh" / "news-bpb" / "bad.json").write_text("{", encoding="utf-8")
    for flag in ("--table", "--json"):
        result = CliRunner().invoke(leaderboard, ["--records", str(tmp_path), flag], standalone_mode=False)
        assert result.exception is None
        assert "news-bpb" in result.stdout
        assert len(result.stderr.splitlines()) == 1
        assert "bad.json" in result.stderr


def test_names_are_shown_as_they_are() -> None:
    names = [*HOSTILE, "[bold]b[/bold]", "esc\x1b[2Jape"]
    text = shown(make_board(entries(*(record(name, value=score(1.0)) for name in names))))
    for name in (*HOSTILE, "[bold]b[/bold]", "esc�[2Jape"):
        assert name in text
    assert "\x1b" not in text


def test_an_end_of_an_interval_that_is_not_0_is_not_written_as_0() -> None:
    value = replace(score(0.034), low=0.0021, high=0.066)
    assert format_interval(value) == "[0.002, 0.07]"
    assert format_interval(replace(value, low=0.0)) == "[0.00, 0.07]"


@pytest.mark.parametrize(("rows", "said"), [(3, "[too few rows]"), (5, "[too few rows]"), (6, "[100.0, 100.0]")])
def test_a_few_rows_without_any_spread_have_no_interval_of_width_0(rows: int, said: str) -> None:
    value = Value(value=100.0, n=rows, unit="of 100", direction="higher", low=100.0, high=100.0, stderr=0.0)
    assert format_interval(value) == said
    assert format_interval(replace(value, low=99.0)) == "[99.0, 100.0]"


def test_a_note_names_every_model_and_its_task_once() -> None:
    reading = Reading(scored_bytes=1000, lost_bytes=8)
    lossy = [record(name, "verdict", score(1.5), reading=reading, notes=["verdict: a rule"]) for name in "abcde"]
    text = shown(make_board(entries(*lossy)))
    assert "a on verdict, b on verdict, c on verdict, d on verdict, e on verdict – 0.8%" in text
    assert "verdict: a rule" in text
    assert "verdict: verdict:" not in text

"""Datasets that make their rows out of a source's: prepared rows, answers that count from 1, ids of two columns."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from tilbench.config.suite import Suite
from tilbench.config.yaml import validate
from tilbench.data.dataset import Dataset
from tilbench.data.resolve import load_rows, source_rows
from tilbench.data.rows import Question
from tilbench.errors import ConfigError, DataError, PluginError

Raw = Mapping[str, Any]


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    def write(*rows: Raw) -> Path:
        lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
        (tmp_path / "set.jsonl").write_text("".join(lines), encoding="utf-8")
        return tmp_path

    return write


def halved(rows: Sequence[Raw]) -> list[Raw]:
    """Keep every second text, doubled."""
    return [{"id": row["id"], "text": row["word"] * 2} for row in rows[::2]]


WORDS = [
    {"word": word, "kind": "noun" if word != "бар" else "verb"} for word in ("су", "от", "бар", "ай", "күн", "жер")
]
PREPARED = Dataset(kind="documents", prepare=halved, where={"kind": "noun"})


def test_rows_are_prepared_after_where_and_before_the_sample(write: Callable[..., Path]) -> None:
    folder = write(*WORDS)
    rows = load_rows("set", PREPARED, folder)
    assert [(row.id, row.text) for row in rows.rows] == [("1", "сусу"), ("4", "айай"), ("6", "жержер")]  # type: ignore[union-attr]
    assert (rows.total, rows.source_total) == (3, 5)
    some = load_rows("set", PREPARED, folder, limit=1)
    assert (len(some.rows), some.total, some.source_total) == (1, 3, 5)
    assert set(some.rows) < set(rows.rows)


def test_rows_of_the_source_are_had_as_they_were_read(write: Callable[..., Path]) -> None:
    folder = write(*WORDS)
    read = source_rows("set", PREPARED, folder)
    assert [row["word"] for _, row in read] == ["су", "от", "ай", "күн", "жер"]
    assert read[2][0] == f"{folder / 'set.jsonl'}:4"


def test_without_preparation_the_source_is_the_rows(write: Callable[..., Path]) -> None:
    rows = load_rows("set", Dataset(kind="documents", columns={"text": "word"}), write(*WORDS), limit=2)
    assert (len(rows.rows), rows.total, rows.source_total) == (2, 6, 6)


def test_a_suite_cannot_name_code() -> None:
    dataset = {"path": "x.jsonl", "kind": "documents", "prepare": "os:system"}
    data = {"name": "s", "tasks": [{"name": "t", "metric": "bpb", "dataset": dataset}]}
    with pytest.raises(ConfigError, match=r"tasks\.0\.dataset"):
        validate(data, Suite, "suite")


def test_preparation_that_fails_is_one_line(write: Callable[..., Path]) -> None:
    def broken(rows: Sequence[Raw]) -> list[Raw]:
        return [{"text": row["none"]} for row in rows]

    def refusing(rows: Sequence[Raw]) -> list[Raw]:
        raise DataError("no column 'none'")

    folder = write(*WORDS)
    with pytest.raises(PluginError, match=r"dataset 'set' cannot prepare its rows: KeyError: 'none'"):
        load_rows("set", Dataset(kind="documents", prepare=broken), folder)
    with pytest.raises(DataError, match=r"set\.jsonl: no column 'none'"):
        load_rows("set", Dataset(kind="documents", prepare=refusing), folder)
    with pytest.raises(DataError, match=r"set\.jsonl, prepared row 1: no 'text'"):
        load_rows("set", Dataset(kind="documents", prepare=lambda rows: [{"id": "1"}]), folder)


PASSAGE = {"link": "page", "number": 2, "text": "Су туралы.", "q": "Не?", "a1": "су", "a2": "от", "right": "2"}
COUNTED = Dataset(
    kind="questions",
    columns={"id": ("link", "number"), "passage": "text", "question": "q", "choices": ("a1", "a2"), "answer": "right"},
    answers_from=1,
)


def test_answers_may_count_from_one_and_ids_join_columns(write: Callable[..., Path]) -> None:
    (row,) = load_rows("set", COUNTED, write(PASSAGE)).rows
    assert row == Question("page#2", "Не?", ("су", "от"), 1, passage="Су туралы.")
    assert row.cluster == "page"


def test_a_file_with_our_own_fields_needs_no_renaming(write: Callable[..., Path]) -> None:
    ours = {"id": "page#2", "passage": "Су туралы.", "question": "Не?", "choices": ["су", "от"], "answer": 1}
    (row,) = load_rows("set", COUNTED, write(ours)).rows
    assert row == load_rows("set", COUNTED, write(PASSAGE)).rows[0]
    with pytest.raises(DataError, match=r"no column 'link'"):
        load_rows("set", COUNTED, write({key: value for key, value in ours.items() if key != "answer"}))


@pytest.mark.parametrize("answer", ["0", 0, "A", None, True, "3"])
def test_an_answer_that_is_no_choice_is_refused(write: Callable[..., Path], answer: Any) -> None:
    with pytest.raises(DataError, match=r"jsonl:1: (no right answer|'answer' is)"):
        load_rows("set", COUNTED, write({**PASSAGE, "right": answer}))


def test_an_option_missing_before_others_is_refused(write: Callable[..., Path]) -> None:
    """Leaving it out would move the letters after it."""
    dataset = Dataset(kind="questions", columns={"choices": ("A", "B", "C", "D")})
    row = {"question": "?", "A": "x", "B": None, "C": "z", "D": None, "answer": "C"}
    with pytest.raises(DataError, match="a choice is empty"):
        load_rows("set", dataset, write(row))

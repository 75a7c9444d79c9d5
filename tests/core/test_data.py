"""Rows from every kind of file: strict, seeded, fingerprinted, and found under one id."""

from __future__ import annotations

import csv
import gzip
import io
import json
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tilbench.data.dataset import Dataset
from tilbench.data.resolve import Rows, load_rows, sample
from tilbench.data.rows import KINDS, Document, Question, kind_of, parse_row, rows_fingerprint
from tilbench.errors import DataError, MissingDataset

ROWS = [{"id": str(number), "text": f"Мәтін {number}\nекінші жол"} for number in range(7)]


def _lines(rows: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def _csv(rows: list[dict[str, Any]]) -> bytes:
    out = io.StringIO()
    writer = csv.DictWriter(out, rows[0])
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue().encode()


def _parquet(rows: list[dict[str, Any]]) -> bytes:
    out = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), out)
    return out.getvalue()


FORMATS = {
    ".jsonl": _lines,
    ".jsonl.gz": lambda rows: gzip.compress(_lines(rows)),
    ".csv": _csv,
    ".parquet": _parquet,
}


def rows_in(folder: Path, name: str = "text/xx", **options: Any) -> Rows:
    return load_rows(name, Dataset(), folder, **options)


@pytest.fixture
def write(tmp_path: Path) -> Any:
    def put(content: bytes, name: str = "text/xx.jsonl") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return tmp_path

    return put


@pytest.mark.parametrize("extension", FORMATS)
def test_every_format_gives_the_same_rows_and_fingerprint(write: Any, extension: str) -> None:
    found = rows_in(write(FORMATS[extension](ROWS), f"text/xx{extension}"))
    assert found.kind == "documents"
    assert found.rows == tuple(Document(row["id"], row["text"]) for row in ROWS)
    assert found.fingerprint == rows_fingerprint(found.rows)


def test_text_files_hold_documents_between_blank_lines(write: Any) -> None:
    found = rows_in(write("бір\nекі\n\n\nүш\n".encode(), "text/xx.txt"))
    assert [row.text for row in found.rows if isinstance(row, Document)] == ["бір\nекі", "үш"]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b'{"id": "1", "text": ""}\n', "'text' is empty"),
        (b'{"id": "1", "text": "a"}\n{"id": "1", "text": "b"}\n', "a second row with the id '1'"),
        (b'{"id": "1", "text": "\xff"}\n', "not UTF-8"),
        (b'{"id": "1", "text": \n', "xx.jsonl:1: not JSON"),
        (b'{"id": "1", "text": "\\ud800"}\n', "half a surrogate pair"),
        (b'{"id": "1", "text": "a\\u0000b"}\n', "NUL"),
        (b'["a"]\n', "a row must be an object"),
        (b'{"id": "1", "word": "a"}\n', "fit no kind of dataset"),
        (b"", "has no rows"),
        (b'{"id": "1", "question": "?", "choices": ["a", "b"], "answer": 2}\n', "no right answer"),
        (b'{"id": "1", "question": "?", "choices": ["a", "b"], "answer": null}\n', "fit no kind|no 'answer'"),
        (b'{"id": "1", "question": "?", "choices": ["a"], "answer": 0}\n', "at least two"),
        (b'{"id": "1", "question": "?", "choices": ["a", " "], "answer": 0}\n', "a choice is empty"),
    ],
)
def test_a_bad_row_is_refused_in_one_line(write: Any, content: bytes, says: str) -> None:
    with pytest.raises(DataError, match=says) as caught:
        rows_in(write(content))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["text/xx.jsonl.gz", "text/xx.parquet"])
def test_a_damaged_file_is_refused_in_one_line(write: Any, name: str) -> None:
    with pytest.raises(DataError, match="xx") as caught:
        rows_in(write(gzip.compress(_lines(ROWS))[:-20], name))
    assert "\n" not in str(caught.value)


def test_a_document_of_a_megabyte_on_one_line_is_read(write: Any) -> None:
    text = "қазақ тілі " * 50_000
    found = rows_in(write(_lines([{"id": "1", "text": text}])))
    assert found.rows == (Document("1", text),)


def test_a_missing_dataset_says_where_to_put_it(tmp_path: Path) -> None:
    with pytest.raises(MissingDataset, match="text/xx.jsonl"):
        rows_in(tmp_path)


def test_a_data_directory_comes_before_the_datasets_own_source(write: Any, tmp_path: Path) -> None:
    own = tmp_path / "own.jsonl"
    own.write_bytes(_lines(ROWS[:1]))
    dataset = Dataset(path=str(own))
    assert load_rows("text/xx", dataset, None).total == 1
    assert load_rows("text/xx", dataset, write(_lines(ROWS))).total == 7


def test_a_hub_dataset_is_found_by_its_own_id_in_the_data_directory(write: Any) -> None:
    folder = write(_lines(ROWS), "org/name/cfg/test.jsonl")
    assert load_rows("ours", Dataset(hub="org/name", config="cfg"), folder).total == 7


@pytest.mark.parametrize("name", ["../secret", "text/../../secret"])
def test_no_name_leaves_the_data_directory(tmp_path: Path, name: str) -> None:
    (tmp_path / "secret.jsonl").write_bytes(_lines(ROWS))
    (tmp_path / "data").mkdir()
    with pytest.raises(DataError, match="leaves its folder|not on this machine"):
        rows_in(tmp_path / "data", name)


def test_columns_are_renamed_and_option_columns_joined(write: Any) -> None:
    row = {"Question": "Қай қала?", "Option A": "Алматы", "Option B": "Астана", "Option C": None, "Correct Answer": "B"}
    dataset = Dataset(
        kind="questions",
        columns={"question": "Question", "choices": ("Option A", "Option B", "Option C"), "answer": "Correct Answer"},
    )
    found = load_rows("text/xx", dataset, write(_lines([row])))
    assert found.rows == (Question("1", "Қай қала?", ("Алматы", "Астана"), 1),)


def test_equal_options_are_counted_not_fatal(write: Any) -> None:
    row = {"id": "q", "question": "?", "choices": ["a", "a", "b"], "answer": 2}
    assert rows_in(write(_lines([row]))).equal_options == ("q",)


def test_a_passage_makes_a_cluster() -> None:
    raw = {"question": "?", "choices": ["a", "b"], "answer": "B", "passage": "p"}
    rows = [parse_row("questions", {**raw, "id": f"page#{number}"}, "here") for number in (1, 2)]
    assert {row.cluster for row in rows} == {"page"}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_told_by_its_required_columns(kind: str) -> None:
    assert kind_of(dict.fromkeys(KINDS[kind].required, "x")) == kind


@given(st.integers(0, 30), st.integers(1, 40), st.integers(0, 5))
def test_a_sample_is_seeded_ordered_and_of_the_asked_size(count: int, limit: int, seed: int) -> None:
    rows = [Document(str(number), "x") for number in range(count)]
    chosen = sample(rows, limit, seed)
    assert len(chosen) == min(limit, count)
    assert list(chosen) == sorted(chosen, key=lambda row: int(row.id))
    assert chosen == sample(rows, limit, seed)


def test_a_sample_is_not_the_first_rows() -> None:
    rows = [Document(str(number), "x") for number in range(1000)]
    assert sample(rows, 10, 0) != rows[:10]
    assert sample(rows, 10, 0) != sample(rows, 10, 1)


@pytest.fixture
def hub(tmp_path: Path) -> Path:
    """A dataset laid out as on the Hub, opened by the same loading code."""
    (tmp_path / "hub").mkdir()
    (tmp_path / "hub" / "test.jsonl").write_bytes(_lines([{"text": f"мәтін {number}"} for number in range(40)]))
    return tmp_path / "hub"


@pytest.mark.parametrize("streaming", [False, True])
def test_a_hub_dataset_is_read_through_datasets(hub: Path, streaming: bool) -> None:
    found = load_rows("ours", Dataset(hub=str(hub), streaming=streaming), None)
    assert [row.text for row in found.rows if isinstance(row, Document)] == [f"мәтін {number}" for number in range(40)]


def test_a_stream_is_sampled_by_seed_and_read_no_further(hub: Path) -> None:
    dataset = Dataset(hub=str(hub), streaming=True)
    one, again, other = (load_rows("ours", dataset, None, limit=5, seed=seed) for seed in (0, 0, 1))
    assert one.total == len(one.rows) == 5
    assert one.fingerprint == again.fingerprint != other.fingerprint


def test_a_hub_that_cannot_be_reached_says_how_to_get_the_data() -> None:
    with pytest.raises(MissingDataset, match=r"DIR/ours.parquet .* --data DIR"):
        load_rows("ours", Dataset(hub="org/none-such"), None)

"""A record as JSON: what it keeps of a value and of a model, and that records of older versions read back whole."""

from __future__ import annotations

import json
import math
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from tests.support.records import record

from tilbench.errors import DataError
from tilbench.kinds.language_model import ModelCard
from tilbench.kinds.metric import ItemScore, Value
from tilbench.kinds.requests import RequestKind
from tilbench.results.record import Record
from tilbench.results.store import RecordStore
from tilbench_leaderboard import __file__ as package

RECORDS = Path(package).parents[1] / "records"


def written(made: Record) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(made.model_dump_json())
    return found


def with_value(value: Value) -> Record:
    return record(value=value)


def test_a_value_is_written_with_every_field_in_order() -> None:
    kept = written(with_value(Value(value=3, n=2, unit="rows", direction="none", of=("rows", ""))))["values"]["bpb"]
    assert list(kept) == [field.name for field in fields(Value)]
    assert (repr(kept["value"]), kept["of"]) == ("3.0", ["rows", ""])  # a number is written as its type says


def test_a_value_without_end_reads_back() -> None:
    made = with_value(Value(value=math.inf, n=2, unit="bits/byte", direction="lower"))
    assert written(made)["values"]["bpb"]["value"] == "Infinity"
    assert Record.model_validate_json(made.model_dump_json()) == made


def test_what_a_model_supports_is_no_part_of_a_record(tmp_path: Path) -> None:
    card = ModelCard(name="a", fingerprint="a1", supports=frozenset(RequestKind), lineage=("b",), details={"order": 5})
    made = Record(**{**dict(record()), "model": card})
    assert list(written(made)["model"]) == [field.name for field in fields(ModelCard) if field.name != "supports"]
    store = RecordStore(tmp_path)
    assert store.read(store.write(made, [])).model == card


def test_items_are_read_as_they_were_written(tmp_path: Path) -> None:
    items = [
        ItemScore("q1", "passage", {"bits": 0.1 + 0.2, "bytes": 3.0}, {"answer": "жоқ"}),
        ItemScore("q2", "passage", {"bits": 1.0}),
    ]
    store = RecordStore(tmp_path)
    assert store.items(store.write(record(), items)) == items


@pytest.mark.parametrize("part", ["model", "values"])
def test_an_unknown_field_is_refused(part: str, tmp_path: Path) -> None:
    content = written(with_value(Value(value=1.0, n=2, unit="", direction="none")))
    (content["values"]["bpb"] if part == "values" else content["model"])["more"] = 1
    path = tmp_path / "a.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(DataError, match=rf"{part}.*more"):
        RecordStore(tmp_path).read(path)


def test_published_records_are_read_and_written_without_a_change() -> None:
    found = list(RecordStore(RECORDS).records())
    assert len(found) > 100
    for path, each in found:
        before, now = json.loads(path.read_bytes()), written(each)
        assert (now["model"], now["values"]) == (before["model"], before["values"]), path

"""Two rows that were not made under the same conditions say so, in a comparison and on the board."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.support.records import entries
from tests.support.records import record as made

from tilbench.cli.table import render
from tilbench.comparison.conditions import conditions
from tilbench.kinds.metric import Value
from tilbench.results.record import Reading, Record
from tilbench.results.table import make_board

BPB = Value(value=2.0, n=9, unit="bits/byte", direction="lower")
BOS, OTHER, DOCUMENTS, NONE = "<s> (1)", "</s> (2)", "<s> (1), before whole documents only", "none"


def record(model: str, *, windowed: int = 0, settings: dict[str, Any] | None = None, **used: Any) -> Record:
    whole = made(model, "task", BPB, settings=settings or {})
    reading = Reading(scored_bytes=90, windowed_rows=windowed)
    return whole.model_copy(update={"model": replace(whole.model, **used), "reading": reading})


@pytest.mark.parametrize(
    ("prefixes", "said"),
    [
        ([BOS, BOS], ""),
        ([BOS, NONE], "the prefix before a text differs: <s> (1) for a; none for b"),
        ([DOCUMENTS, BOS], f"the prefix before a text differs: {DOCUMENTS} for a; <s> (1) for b"),
        ([BOS, OTHER], "the prefix before a text differs: <s> (1) for a; </s> (2) for b"),
        ([NONE, BOS, BOS], "the prefix before a text differs: <s> (1) for b, c; none for a"),
        ([NONE, NONE], ""),
        ([BOS, "id 1"], ""),  # a checkpoint of ours shows the id alone
        ([DOCUMENTS, "id 1, before whole documents only"], ""),
        (["<0x01> (5)", "id 1"], "the prefix before a text differs: <0x01> (5) for a; id 1 for b"),
    ],
)
def test_prefixes_that_differ_are_named(prefixes: list[str], said: str) -> None:
    made_of = [(name, record(name, prefix=prefix)) for name, prefix in zip("abc", prefixes, strict=False)]
    assert "".join(conditions(made_of)) == said


def test_every_model_is_named() -> None:
    made_of = [(name, record(name, prefix=NONE if name == "a" else BOS)) for name in "abcdefgh"]
    assert conditions(made_of) == ["the prefix before a text differs: <s> (1) for b, c, d, e, f, g, h; none for a"]


def test_other_tokenizers_have_other_ids_of_one_policy() -> None:
    two = [("a", record("a", prefix=BOS)), ("b", record("b", prefix="<|bos|> (9)", tokenizer="another"))]
    assert conditions(two) == []


def test_windows_are_named_where_a_text_took_several_and_they_differ() -> None:
    short, long = record("a", max_length=128, windowed=3), record("b", max_length=1024)
    (said,) = conditions([("a", short), ("b", long)])
    assert said == (
        "the windows of long texts differ (the prefix stands before the first only): "
        "128 tokens for a; 1,024 tokens for b"
    )
    assert conditions([("a", record("a", max_length=128)), ("b", long)]) == [], "no text took two windows"
    assert conditions([("a", short), ("b", record("b", max_length=128, windowed=3))]) == []
    alike: dict[str, Any] = {"settings": {"window": 64}, "windowed": 3}
    both = [("a", record("a", max_length=128, **alike)), ("b", record("b", max_length=256, **alike))]
    assert conditions(both) == []
    each: dict[str, Any] = {"settings": {"prefix_each_window": True}, "windowed": 3}
    (said,) = conditions([("a", record("a", max_length=128, **each)), ("b", record("b", max_length=256, **each))])
    assert "the prefix stands before each" in said


def test_the_board_says_under_which_conditions_its_rows_differ() -> None:
    board = make_board(entries(record("a", prefix=NONE), record("b", prefix=BOS)))
    lines = "\n".join(str(part) for part in render(board).renderables)
    assert "task: the prefix before a text differs: none for a; <s> (1) for b" in lines

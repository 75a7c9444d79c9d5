"""Few-shot examples: a row is never among its own, in whatever spelling, whatever its kind."""

import unicodedata
from dataclasses import replace

import pytest

from tilbench.data.rows import Labelled, Pair, Question, Reading, Row
from tilbench.errors import DataError
from tilbench.kinds.examples import ExamplePool
from tilbench.text.sameness import asked

PAIR = Pair("p", "Kırmızı İNCİR ağaçta", "Красный инжир на дереве")
READING = Reading("r", "Абай Семейде туды.", "Абай қайда туды?", ("Семейде",))
LABELLED = Labelled("l", "Өте жақсы тауар", "5")
QUESTION = Question("q", "Қазақстанның астанасы?", ("Алматы", "Астана"), 1, passage="Ел туралы йод.")


@pytest.mark.parametrize(
    ("row", "field", "text"),
    [
        (PAIR, "source", "KIRMIZI incir AĞAÇTA"),
        (PAIR, "source", " Kırmızı   İNCİR\tağaçta\n"),
        (PAIR, "source", unicodedata.normalize("NFD", PAIR.source)),
        (PAIR, "target", "Другой перевод"),
        (READING, "question", "Абай ҚАЙДА туды? "),
        (READING, "question", "Ол қай жерде дүниеге келді?"),
        (LABELLED, "text", "ӨТЕ ЖАҚСЫ ТАУАР"),
        (LABELLED, "label", "1"),
        (QUESTION, "choices", ("АСТАНА ", "Алматы")),
        (QUESTION, "passage", unicodedata.normalize("NFD", QUESTION.passage.upper())),
        (QUESTION, "question", "Осы мәтінде не айтылған?"),
    ],
)
def test_a_respelled_row_is_the_same_row(row: Row, field: str, text: str) -> None:
    copy = replace(row, id="another", **{field: text})  # type: ignore[arg-type]
    pool = ExamplePool([copy], 0)
    with pytest.raises(DataError, match="0 of 1 can be shown"):
        pool.pick(row, 1)


@pytest.mark.parametrize(
    ("row", "changes"),
    [
        (PAIR, {"source": "Kırmızı incir ağaçtan"}),
        (READING, {"context": "Абай Семейде өсті."}),
        (LABELLED, {"text": "Өте жаман тауар"}),
        (QUESTION, {"passage": "Басқа мәтін.", "choices": ("Алматы", "Шымкент")}),
    ],
)
def test_another_row_is_another(row: Row, changes: dict[str, str]) -> None:
    other = replace(row, id="another", **changes)  # type: ignore[arg-type]
    assert ExamplePool([other], 0).pick(row, 1) == [other]
    assert not asked(row).gives_away(asked(other))


def test_equal_ids_are_one_row_unless_they_only_count() -> None:
    edited = replace(PAIR, source="Kırmızı incir, ağaçta")
    assert asked(PAIR).gives_away(asked(edited))
    one, other = replace(PAIR, id="3"), replace(edited, id="3")
    assert not asked(one).gives_away(asked(other))


def test_the_order_is_the_seeds_and_not_the_pools() -> None:
    pool = [Labelled(f"l{index}", f"мәтін {index}", "1") for index in range(20)]
    assert ExamplePool(pool, 1).pick(LABELLED, 5) == ExamplePool(pool[::-1], 1).pick(LABELLED, 5)
    assert len({tuple(ExamplePool(pool, seed).pick(LABELLED, 5)) for seed in range(9)}) == 9
    assert ExamplePool(pool, 1).pick(LABELLED, 0) == []


def test_preferred_examples_are_shown_where_there_are_enough() -> None:
    pool = [Labelled(f"l{index}", f"мәтін {index}", str(index % 2)) for index in range(6)]
    assert {row.label for row in ExamplePool(pool, 0).pick(LABELLED, 3, prefer=lambda row: row.label == "1")} == {"1"}
    mixed = ExamplePool(pool, 0).pick(LABELLED, 4, prefer=lambda row: row.label == "1")
    assert mixed == ExamplePool(pool, 0).pick(LABELLED, 4)

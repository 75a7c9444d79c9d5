import doctest
import importlib
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tilbench.data.resolve import load_rows
from tilbench.data.rows import Document, Pair
from tilbench.errors import ConfigError, DataError
from tilbench.kinds.language import Cues, Language
from tilbench.kinds.metric import ItemScore, Metric, TaskContext, Value
from tilbench.kinds.requests import Generated, Generation
from tilbench_correction import edits as module
from tilbench_correction.correction import Correction, CorrectionSettings
from tilbench_correction.edits import Edit, distance, edits, tokens

KAZAKH = Language(
    tag="kk-Cyrl",
    name="Kazakh",
    native_name="Қазақша",
    script="Cyrl",
    alphabet="аә",
    cues=Cues(passage="Мәтін", question="Сұрақ", options="Нұсқалар", answer="Жауап"),
)
TOKENS = st.lists(st.sampled_from("abc"), max_size=6)


def metric(context: TaskContext | None = None, **given: Any) -> Correction:
    return Correction(CorrectionSettings(**given), context or TaskContext(KAZAKH))


def values(rows: Sequence[tuple[str, str, str]]) -> dict[str, Value]:
    """Return the values of rows of source, target and the model's text."""
    made = metric()
    scores = [
        made.score(Pair(str(number), source, target), [Generated(text, 1, complete=True)])
        for number, (source, target, text) in enumerate(rows)
    ]
    return dict(made.aggregate(scores))


def test_docstring_examples() -> None:
    assert doctest.testmod(module).failed == 0


def test_it_is_a_metric() -> None:
    assert isinstance(metric(), Metric)


def test_the_prompt_to_the_character() -> None:
    pool = [Pair("d", "Далада кар бар.", "Далада қар бар.")]
    made = metric(TaskContext(KAZAKH, pool, shots=1), template="{passage_cue}: {source}\nТүзетілген мәтін:")
    (request,) = made.requests(Pair("p", "Кун жылы.", "Күн жылы."))
    assert isinstance(request, Generation)
    solved = "Мәтін: Далада кар бар.\nТүзетілген мәтін: Далада қар бар."
    assert request.prompt == f"{solved}\n\nМәтін: Кун жылы.\nТүзетілген мәтін:"


def test_other_rows_and_no_language_are_refused() -> None:
    with pytest.raises(DataError, match="scores pairs, not documents"):
        metric().requests(Document("d", "мәтін"))
    with pytest.raises(ConfigError, match="'language'"):
        metric(TaskContext())


# Edits


@pytest.mark.parametrize(
    ("source", "target", "wanted"),
    [
        ("a b c", "a b c", set()),
        ("a b c", "a x c", {Edit(1, 2, ("x",))}),
        ("a b c", "x y c", {Edit(0, 1, ("x",)), Edit(1, 2, ("y",))}),
        ("a b c", "a c", {Edit(1, 2, ())}),
        ("a b c", "c", {Edit(0, 1, ()), Edit(1, 2, ())}),
        ("a c", "a x y c", {Edit(1, 1, ("x", "y"))}),
        ("", "x y", {Edit(0, 0, ("x", "y"))}),
        ("a b", "", {Edit(0, 1, ()), Edit(1, 2, ())}),
        ("ab c", "a b c", {Edit(0, 0, ("a",)), Edit(0, 1, ("b",))}),
    ],
)
def test_edits_in_closed_form(source: str, target: str, wanted: set[Edit]) -> None:
    assert edits(source.split(), target.split()) == wanted


@given(TOKENS, TOKENS)
@settings(max_examples=200, deadline=None)
def test_edits_turn_the_source_into_the_target_and_are_as_few_as_can_be(source: list[str], target: list[str]) -> None:
    found = edits(source, target)
    result = list(source)
    for edit in sorted(found, key=lambda edit: (edit.start, edit.end), reverse=True):
        result[edit.start : edit.end] = edit.replacement
    assert result == target
    assert sum(max(edit.end - edit.start, len(edit.replacement)) for edit in found) == distance(
        "".join(source), "".join(target)
    )


@given(st.text("аб ,.3-'\u0301\n", max_size=12))
def test_tokens_lose_nothing_but_white_space(text: str) -> None:
    assert "".join(tokens(text)) == "".join(text.split())


# Scores


def test_f05_in_closed_form() -> None:
    # wanted 3 edits, made 3, of which 2 are right: P = R = 2/3
    (row,) = [("a b c d", "x y c z", "x y q d")]
    found = values([row])
    assert [found[name].value for name in ("precision", "recall", "f05")] == pytest.approx([2 / 3] * 3)
    # wanted 2 in all, made 1, and that right: P = 1, R = 1/2, F0.5 = 1.25 · 0.5 / (0.25 + 0.5)
    found = values([("a b", "x b", "x b"), ("a b", "a y", "a b")])
    assert [found[name].value for name in ("precision", "recall")] == [1, 0.5]
    assert found["f05"].value == pytest.approx(1.25 * 0.5 / (0.25 * 1 + 0.5))


def test_a_right_word_at_the_wrong_place_is_wrong() -> None:
    assert values([("a a", "a b", "b a")])["precision"].value == 0


def test_leaving_texts_as_they_are() -> None:
    found = values([("Күн жыылы.", "Күн жылы.", "Күн жыылы."), ("Бар.", "Бар.", "Бар.")])
    assert found["cer"].value == found["cer_source"].value == 1 / 13
    assert (found["recall"].value, found["f05"].value, found["exact_match"].value) == (0, 0, 0.5)
    assert found["over_correction_rate"].value == 0
    assert "precision" not in found


def test_changing_what_was_right_is_over_correction() -> None:
    found = values([("Бар.", "Бар.", "Бару."), ("Кел.", "Кел.", " Кел.\n"), ("Кун", "Күн", "Күн")])
    over = found["over_correction_rate"]
    assert (over.value, over.n, over.of) == (0.5, 2, ("over_corrected", "faultless"))
    assert found["precision"].value == 0.5


def test_white_space_and_composition_do_not_count() -> None:
    found = values([("Йод  бар", "Йод бар", " И\u0306од бар ")])
    assert (found["cer"].value, found["exact_match"].value) == (0, 1)


def test_values_are_the_ratios_that_they_say() -> None:
    made = metric()
    rows = [("a b", "x b", "x c"), ("a", "a", "b"), ("a b c", "a c", "a c"), ("q", "w", "w")]
    scores: list[ItemScore] = [
        made.score(Pair(str(number), *pair), [Generated(text, 1, complete=True)])
        for number, (*pair, text) in enumerate(rows)
    ]
    for name, value in made.aggregate(scores).items():
        assert value.of, name
        above, below = (sum(score.values[part] if part else 1 for score in scores) for part in value.of)
        assert value.value == pytest.approx(above / below), name


@given(st.text("абвк ", max_size=12), st.text("абвк ", max_size=12))
@settings(max_examples=200, deadline=None)
def test_the_distance_is_that_of_nltk(one: str, other: str) -> None:
    pytest.importorskip("nltk")
    public: Any = importlib.import_module("nltk.metrics.distance")
    assert distance(one, other) == public.edit_distance(one, other)


def test_the_kazakh_sentences_have_faults_to_correct(host: Any) -> None:
    for split, faultless in (("test", 2), ("dev", 1)):
        name = f"correction/kk/{split}"
        rows = [row for row in load_rows(name, host.registry.get("datasets", name), None).rows if isinstance(row, Pair)]
        language = host.registry.get("languages", "kk-Cyrl")
        assert sum(row.source == row.target for row in rows) == faultless
        for row in rows:
            assert {letter for letter in row.target.lower() if letter.isalpha()} <= set(language.alphabet)
            assert row.source == row.target or 0 < distance(row.source, row.target) <= 4

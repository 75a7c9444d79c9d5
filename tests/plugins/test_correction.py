import doctest
import importlib
import random
from collections import Counter
from collections.abc import Sequence
from functools import cache
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
from tilbench.loader import load_plugins
from tilbench_metrics_generation import edits as module
from tilbench_metrics_generation.correction import Correction, CorrectionSettings
from tilbench_metrics_generation.edits import Edit, distance, edits, tokens

KAZAKH = Language(
    tag="kk-Cyrl",
    name="Kazakh",
    native_name="Қазақша",
    script="Cyrl",
    alphabet="аә",
    cues=Cues(passage="Мәтін", question="Сұрақ", options="Нұсқалар", answer="Жауап"),
)
Counted = frozenset[tuple[Edit, int]]
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
        ("a b c", "a x c", {Edit(1, 2, "x")}),
        ("a b c", "x y c", {Edit(0, 1, "x"), Edit(1, 2, "y")}),
        ("a b c", "a c", {Edit(1, 2, "")}),
        ("a b c", "c", {Edit(0, 1, ""), Edit(1, 2, "")}),
        ("a c", "a x y c", {Edit(1, 1, "x"), Edit(1, 1, "y")}),
        ("", "x y", {Edit(0, 0, "x"), Edit(0, 0, "y")}),
        ("a b", "", {Edit(0, 1, ""), Edit(1, 2, "")}),
        ("ab c", "a b c", {Edit(0, 0, "a"), Edit(0, 1, "b")}),
        ("Абай жтік білгең", "Абай жетік білген", {Edit(1, 2, "жетік"), Edit(2, 3, "білген")}),
        (
            "Абай жтік білгең",
            "Абай жетік білген және",
            {Edit(1, 2, "жетік"), Edit(2, 3, "білген"), Edit(3, 3, "және")},
        ),
        (
            "Абай жтік білгең",
            "Ол Абай жетік білген",
            {Edit(0, 0, "Ол"), Edit(1, 2, "жетік"), Edit(2, 3, "білген")},
        ),
        (
            "Абай жтік тез білгең",
            "Абай жетік білген",
            {Edit(1, 2, "жетік"), Edit(2, 3, ""), Edit(3, 4, "білген")},
        ),
        ("кітап окыды бала", "кітапты оқыды", {Edit(0, 1, "кітапты"), Edit(1, 2, "оқыды"), Edit(2, 3, "")}),
    ],
)
def test_edits_in_closed_form(source: str, target: str, wanted: set[Edit]) -> None:
    assert edits(source.split(), target.split()) == Counter(wanted)


@given(TOKENS, TOKENS)
@settings(max_examples=200)
def test_edits_turn_the_source_into_the_target_and_are_as_few_as_can_be(source: list[str], target: list[str]) -> None:
    found = edits(source, target)
    assert found.total() == distance("".join(source), "".join(target))
    result: list[str] = []
    for place in range(len(source) + 1):
        inserted = {
            edit.replacement: times for edit, times in found.items() if (edit.start, edit.end) == (place, place)
        }
        here = [token for token, times in inserted.items() for _ in range(times)]
        result += sorted(here)
        changed = [edit.replacement for edit in found if (edit.start, edit.end) == (place, place + 1)]
        assert len(changed) <= 1
        result += [token for token in changed if token] if changed else source[place : place + 1]
    assert sorted(result) == sorted(target)


def most_matches(source: list[str], target: list[str], wanted: Counter[Edit]) -> int:
    """Return how many of the wanted edits the best of all shortest alignments has: MaxMatch, computed by search.

    Dahlmeier and Ng (2012), section 3, with edits as here: each token by itself.
    """

    @cache
    def fewest(i: int, j: int) -> int:
        if i == len(source) or j == len(target):
            return len(source) - i + len(target) - j
        return min(fewest(i + 1, j + 1) + (source[i] != target[j]), fewest(i + 1, j) + 1, fewest(i, j + 1) + 1)

    @cache
    def best(i: int, j: int, left: Counted) -> int:
        if (i, j) == (len(source), len(target)):
            return 0
        steps = []
        if i < len(source) and j < len(target):
            steps.append((i + 1, j + 1, source[i] != target[j], Edit(i, i + 1, target[j])))
        if i < len(source):
            steps.append((i + 1, j, True, Edit(i, i + 1, "")))
        if j < len(target):
            steps.append((i, j + 1, True, Edit(i, i, target[j])))
        found = []
        for row, column, edited, edit in steps:
            if fewest(row, column) + edited == fewest(i, j):
                rest = Counter(dict(left))
                right = edited and rest[edit] > 0
                rest -= Counter({edit: right})
                found.append(right + best(row, column, frozenset(rest.items())))
        return max(found)

    return best(0, 0, frozenset(wanted.items()))


def disturbed(words: list[str], generator: random.Random) -> list[str]:
    """Return words of which some are misspelled, left out, doubled or joined by a foreign one."""
    found: list[str] = []
    for word in words:
        chance = generator.random()
        if chance < 0.15 and len(word) > 1:
            place = generator.randrange(len(word))
            word = word[:place] + generator.choice("аеіқңөұ") + word[place + generator.randrange(2) :]
        elif chance < 0.2:
            continue
        found += [word, *generator.choices(["және", "мен", "өте"], k=chance > 0.92)]
    return found


def test_the_right_edits_are_those_of_the_best_alignment() -> None:
    """MaxMatch takes, of all shortest alignments, the one that agrees most with the reference."""
    registry, generator = load_plugins().registry, random.Random(5)
    rows = [
        row
        for split in ("test", "dev")
        for row in load_rows(split, registry.datasets.get(f"correction/kk/{split}"), None).rows
    ]
    ours = best = made = 0
    for row in [row for row in rows if isinstance(row, Pair)] * 20:
        target = tokens(row.target)
        source, answer = disturbed(target, generator), disturbed(target, generator)
        wanted = edits(source, target)
        given = edits(source, answer, wanted)
        ours += (given & wanted).total()
        best += most_matches(source, answer, wanted)
        made += given.total()
    assert made > 800
    assert best > 300
    assert 0.99 * best <= ours <= best  # a wanted edit that stands once may be found twice


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


def test_a_word_more_does_not_take_right_corrections_away() -> None:
    found = values([("Абай жтік білгең", "Абай жетік білген", "Абай жетік білген және")])
    assert [found[name].value for name in ("precision", "recall")] == pytest.approx([2 / 3, 1])


def test_of_equal_alignments_the_one_counts_that_agrees_most_with_the_reference() -> None:
    """What became of "x" or of "yy" is "z": the reference says which."""
    found = values([("x yy", "z yy", "z")])
    assert [found[name].value for name in ("precision", "recall")] == [0.5, 1]


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
@settings(max_examples=200)
def test_the_distance_is_that_of_nltk(one: str, other: str) -> None:
    pytest.importorskip("nltk")
    public: Any = importlib.import_module("nltk.metrics.distance")
    assert distance(one, other) == public.edit_distance(one, other)


def test_the_kazakh_sentences_have_faults_to_correct(host: Any) -> None:
    for split, faultless in (("test", 2), ("dev", 1)):
        name = f"correction/kk/{split}"
        rows = [row for row in load_rows(name, host.registry.datasets.get(name), None).rows if isinstance(row, Pair)]
        language = host.registry.languages.get("kk-Cyrl")
        assert sum(row.source == row.target for row in rows) == faultless
        for row in rows:
            assert {letter for letter in row.target.lower() if letter.isalpha()} <= set(language.alphabet)
            assert row.source == row.target or 0 < distance(row.source, row.target) <= 4

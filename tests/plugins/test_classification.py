"""Labelled texts: F1 as scikit-learn computes it, ties, baselines, and the prompt."""

import random
from collections.abc import Sequence
from typing import Any

import pytest
from pydantic import ValidationError
from sklearn.metrics import accuracy_score, f1_score

from tilbench.data.rows import Labelled, kind_of, parse_row
from tilbench.errors import ConfigError, DataError
from tilbench.kinds.language import Cues, Language
from tilbench.kinds.metric import Metric, TaskContext, Value
from tilbench.kinds.requests import Continuation, Likelihood
from tilbench_metrics_likelihood.classification import Classification, ClassificationSettings

KAZAKH = Language(
    tag="kk-Cyrl",
    name="Kazakh",
    native_name="Қазақша",
    script="Cyrl",
    alphabet="аә",
    cues=Cues(passage="Мәтін", question="Сұрақ", options="Нұсқалар", answer="Жауап"),
)
LABELS = {"science": "ғылым", "sports": "спорт", "travel": "саяхат"}
WORDS = list(LABELS.values())
ROW = Labelled("r", "Командамыз екі доп соқты.", "sports")


def metric(context: TaskContext | None = None, **settings: Any) -> Classification:
    return Classification(ClassificationSettings(**{"labels": LABELS, **settings}), context or TaskContext(KAZAKH))


def chosen(place: int, of: int = 3) -> list[Likelihood]:
    """Return answers that choose one label."""
    return [Likelihood(-1.0 if each == place else -2.0, 1) for each in range(of)]


def values(gold: Sequence[int], picked: Sequence[int], **settings: Any) -> dict[str, Value]:
    names = list(LABELS)
    rows = [Labelled(f"r{index}", f"мәтін {index}", names[place]) for index, place in enumerate(gold)]
    made = metric(**settings)
    return dict(made.aggregate([made.score(row, chosen(place)) for row, place in zip(rows, picked, strict=True)]))


def test_the_prompt_to_the_character() -> None:
    assert isinstance(metric(), Metric)
    requests = metric().requests(ROW)
    found = [(each.context, each.continuation, each.beside) for each in requests if isinstance(each, Continuation)]
    words = (" ғылым", " спорт", " саяхат")
    assert found == [("Мәтін: Командамыз екі доп соқты.\nЖауап:", word, words) for word in words]
    (first, *_) = metric(template="{text}\nТақырып ({labels}):", instruction="Тақырыбын таңда.").requests(ROW)
    assert isinstance(first, Continuation)
    assert first.context == "Тақырыбын таңда.\n\nКомандамыз екі доп соқты.\nТақырып (ғылым, спорт, саяхат):"


def test_solved_examples_never_hold_the_text_itself() -> None:
    pool = [Labelled("copy", "КОМАНДАМЫЗ екі доп соқты. ", "travel"), Labelled("other", "Пойызға міндік.", "travel")]
    (first, *_) = metric(TaskContext(KAZAKH, pool, shots=1)).requests(ROW)
    assert isinstance(first, Continuation)
    assert first.context == ("Мәтін: Пойызға міндік.\nЖауап: саяхат\n\nМәтін: Командамыз екі доп соқты.\nЖауап:")
    assert [first.context[begin:end].count("саяхат") for begin, end in first.optional] == [1]


def test_f1_by_hand() -> None:
    """Two of three sports found, one travel taken for sports: F1 2·2/(3 + 3), and 2·1/(1 + 2) of travel."""
    found = values([1, 1, 1, 2, 2], [1, 1, 0, 1, 2])
    assert found["f1:sports"].value == pytest.approx(2 / 3)
    assert found["f1:travel"].value == pytest.approx(2 / 3)
    assert found["f1:science"].value == 0  # chosen once and never right
    assert found["macro_f1"].value == pytest.approx((2 / 3 + 2 / 3 + 0) / 3)
    assert found["acc"].value == 3 / 5


@pytest.mark.parametrize("seed", range(20))
def test_f1_is_scikit_learns(seed: int) -> None:
    generator = random.Random(seed)
    classes = generator.choice([[0, 1, 2], [0, 2]])
    gold = [generator.choice(classes) for _ in range(generator.randint(2, 40))]
    picked = [place if generator.random() < 0.6 else generator.randrange(3) for place in gold]
    found = values(gold, picked)
    assert found["macro_f1"].value == pytest.approx(f1_score(gold, picked, average="macro"))
    assert found["acc"].value == pytest.approx(accuracy_score(gold, picked))
    for place, number in enumerate(f1_score(gold, picked, average=None, labels=[0, 1, 2], zero_division=0)):
        name = f"f1:{list(LABELS)[place]}"
        assert (name in found) == (place in {*gold, *picked})
        assert name not in found or found[name].value == pytest.approx(number)


def test_the_interval_holds_what_resampling_gives() -> None:
    """The jackknife's standard error beside that of a bootstrap of scikit-learn's F1."""
    generator = random.Random(1)
    gold = [generator.randrange(3) for _ in range(200)]
    picked = [place if generator.random() < 0.7 else generator.randrange(3) for place in gold]
    value = values(gold, picked)["macro_f1"]
    draws = []
    for _ in range(400):
        rows = generator.choices(range(200), k=200)
        draws.append(f1_score([gold[row] for row in rows], [picked[row] for row in rows], average="macro"))
    mean = sum(draws) / 400
    deviation = (sum((draw - mean) ** 2 for draw in draws) / 399) ** 0.5
    assert value.stderr == pytest.approx(deviation, rel=0.15)
    assert value.low is not None
    assert value.high is not None
    assert value.low < value.value < value.high
    assert value.of is None


def test_labels_that_tie_share_the_choice_and_score_chance() -> None:
    rows = [Labelled(f"r{index}", f"мәтін {index}", label) for index, label in enumerate(["science"] * 6 + ["travel"])]
    alike = [Likelihood(-2.0, 1)] * 3
    found = metric().aggregate([metric().score(row, alike) for row in rows])
    assert found["acc"].value == pytest.approx(1 / 3)
    assert found["macro_f1"].value == pytest.approx(found["macro_f1"].chance)
    assert found["macro_f1"].chance == pytest.approx((2 * 2 / (7 / 3 + 6) + 0 + 2 * (1 / 3) / (7 / 3 + 1)) / 3)
    assert found["tied"].value == 7


def test_baselines_are_in_the_headlines_terms() -> None:
    gold = [0] * 6 + [2] * 2
    always = values(gold, [0] * 8)
    assert always["majority"].value == pytest.approx(always["macro_f1"].value) == pytest.approx(2 * 6 / (8 + 6) / 2)
    by_accuracy = values(gold, [0] * 8, headline="acc")
    assert by_accuracy["majority"].value == by_accuracy["acc"].value == 6 / 8
    assert (by_accuracy["acc"].chance, by_accuracy["acc"].of) == (1 / 3, ("acc", ""))
    assert metric(headline="acc").headline == "acc"
    assert metric().headline == "macro_f1"


def test_words_of_different_lengths_can_be_divided_by_them() -> None:
    given = [Likelihood(-10.0, 1), Likelihood(-11.0, 1), Likelihood(-11.5, 1)]  # 5, 5 and 6 letters
    assert metric().score(ROW, given).values["chosen_0"] == 1
    assert metric(normalise="char").score(ROW, given).values["chosen_2"] == 1
    assert (
        metric(normalise="byte", labels={"sports": "спорт", "x": "sport"})
        .score(ROW, [Likelihood(-10.0, 1), Likelihood(-9.0, 1)])
        .values["acc"]
        == 1
    )


def test_faults_are_named() -> None:
    with pytest.raises(DataError, match="'r' has the label 'weather'; settings.labels has 'science', 'sports'"):
        metric().requests(Labelled("r", "Күн жылынды.", "weather"))
    with pytest.raises(ConfigError, match="needs a language"):
        metric(TaskContext())
    with pytest.raises(ValidationError, match="a word of its own"):
        metric(labels={"a": "иә", "b": "иә "})
    with pytest.raises(ValidationError, match="at least 2"):
        metric(labels={"a": "иә"})
    with pytest.raises(ValidationError, match="no {text}"):
        metric(template="{labels}:")
    assert metric().aggregate([]) == {}


def test_rows_have_a_text_and_a_label() -> None:
    raw = {"id": 7, "text": "Тауар тез келді.", "label": 5}
    assert kind_of(raw) == "labelled"
    assert parse_row("labelled", raw, "reviews.csv:7") == Labelled("7", "Тауар тез келді.", "5")
    with pytest.raises(DataError, match="no 'label'"):
        parse_row("labelled", {"id": 1, "text": "x"}, "here")

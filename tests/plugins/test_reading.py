import importlib
import random
import string
import warnings
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from tilbench.data.rows import Pair, kind_of, parse_row
from tilbench.data.rows import Reading as Row
from tilbench.errors import ConfigError, DataError
from tilbench.kinds.language import Cues, Language
from tilbench.kinds.metric import ItemScore, Metric, TaskContext
from tilbench.kinds.requests import Generated, Generation
from tilbench_metrics_generation.answers import compare, words_of
from tilbench_metrics_generation.reading import Reading, ReadingSettings

CONTEXT = "Абай Құнанбайұлы 1845 жылы дүниеге келді."
ROW = Row("q1", CONTEXT, "Абай қай жылы дүниеге келді?", ("1845 жылы", "1845"))
OTHER = Row("q2", "Астана – Қазақстанның астанасы.", "Қазақстанның астанасы қай қала?", ("Астана",))


def language(tag: str, alphabet: str = "abc") -> Language:
    cues = Cues(passage="Мәтін", question="Сұрақ", options="Нұсқалар", answer="Жауап")
    return Language(tag=tag, name="?", native_name="?", script=tag[-4:], alphabet=alphabet, cues=cues)


KAZAKH, ENGLISH, ITALIAN = language("kk-Cyrl", "аәбв"), language("en-Latn"), language("it-Latn")
TURKISH = language("tr-Latn", "abcçdefgğhıijklmnoöprsştuüvyz")


def metric(context: TaskContext | None = None, **given: Any) -> Reading:
    return Reading(ReadingSettings(**given), context or TaskContext(KAZAKH))


def score(text: str, row: Row = ROW) -> ItemScore:
    return metric().score(row, [Generated(text, 1, complete=True)])


@pytest.fixture(scope="module")
def mlqa() -> Any:
    """Return the public evaluation script of MLQA, which is SQuAD's in English."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytest.importorskip("lm_eval")
        return importlib.import_module("lm_eval.tasks.mlqa.utils")


def test_it_is_a_metric() -> None:
    assert isinstance(metric(), Metric)


def test_the_prompt_to_the_character() -> None:
    (request,) = metric().requests(ROW)
    assert isinstance(request, Generation)
    assert request.prompt == f"Мәтін: {CONTEXT}\nСұрақ: Абай қай жылы дүниеге келді?\nЖауап:"


def test_an_example_shows_its_first_answer_and_another_text() -> None:
    pool = [OTHER, Row("q3", CONTEXT, "Кім дүниеге келді?", ("Абай",))]
    (request,) = metric(TaskContext(KAZAKH, pool, shots=1)).requests(ROW)
    assert isinstance(request, Generation)
    assert request.prompt.startswith(f"Мәтін: {OTHER.context}\nСұрақ: {OTHER.question}\nЖауап: Астана\n\nМәтін: Абай")
    with pytest.raises(DataError, match="1 of 2 can be shown"):
        metric(TaskContext(KAZAKH, pool, shots=2)).requests(ROW)


@pytest.mark.parametrize(
    ("text", "exact", "f1"),
    [
        ("1845", 1, 1),
        (" «1845 ЖЫЛЫ».", 1, 1),
        ("1845 жылы дүниеге келді", 0, 2 * 2 / (4 + 2)),
        ("1845 жылы 1845 жылы", 0, 2 * 2 / (4 + 2)),
        ("1846", 0, 0),
        ("", 0, 0),
    ],
)
def test_the_best_of_the_accepted_answers_counts(text: str, exact: float, f1: float) -> None:
    values = score(text).values
    assert [values["exact_match"], values["f1"]] == pytest.approx([exact, f1])


@pytest.mark.parametrize(
    ("spoken", "text", "words"),
    [
        (ENGLISH, "The A-team, an  apple!", ["ateam", "apple"]),
        (ITALIAN, "L'acqua, la casa e un'amica", ["acqua", "casa", "e", "amica"]),
        (ITALIAN, "a the dell’anno", ["a", "the", "dellanno"]),
        (KAZAKH, "«Ел – 1,5 млн» the", ["ел", "15", "млн", "the"]),
        (TURKISH, "IĞDIR İzmir", ["ığdır", "izmir"]),
        (ENGLISH, "IŞIK", ["işik"]),
        (KAZAKH, "ҚАЗАҚ\u00a0ТІЛІ ﬁ ①", ["қазақ", "тілі", "fi", "1"]),
        (KAZAKH, "и\u0306од", ["йод"]),
    ],
)
def test_what_does_not_count(spoken: Language, text: str, words: list[str]) -> None:
    assert words_of(text, spoken) == words


@given(st.text(st.sampled_from([*"aAntheT", *string.punctuation, *"019 \n’É"])))
@settings(max_examples=100)
def test_normalising_twice_changes_nothing(text: str) -> None:
    words = words_of(text, ENGLISH)
    assert words_of(" ".join(words), ENGLISH) == words


def test_english_scores_are_those_of_the_public_script(mlqa: Any) -> None:
    draw = random.Random(0)
    pieces = [
        "the ",
        "a ",
        "An ",
        "cat",
        "Cat's",
        "sat-on",
        " ",
        "  ",
        ".",
        "“",
        "”",
        "—",
        "$5",
        "3.14",
        "a",
        "l'eau",
        "_",
    ]
    for _ in range(3000):
        answer, accepted = ("".join(draw.choices(pieces, k=draw.randrange(8))) for _ in range(2))
        if not words_of(accepted, ENGLISH):
            continue  # the script calls an empty answer right here
        exact, f1 = compare(answer, accepted, ENGLISH)
        assert exact == mlqa.exact_match_score(answer, accepted, "en"), (answer, accepted)
        assert f1 == pytest.approx(mlqa.f1_score(answer, accepted, "en"), abs=1e-12), (answer, accepted)


@pytest.mark.parametrize(
    ("spoken", "accepted", "answer", "exact", "f1"),
    [
        (ENGLISH, "A", " a.", 1, 1),
        (ENGLISH, "A", "The A", 0, 2 / 3),
        (ENGLISH, "A", "%", 0, 0),
        (ENGLISH, "The A", "the a", 1, 1),
        (ITALIAN, "I", "i", 1, 1),
        (ENGLISH, "%", "%", 1, 1),
        (ENGLISH, "%", "the %", 0, 2 / 3),
        (ENGLISH, "%", "the", 0, 0),
        (ENGLISH, "?!", "!", 0, 2 / 3),
        (KAZAKH, "«—»", "«—»", 1, 1),
        (ENGLISH, "vitamin A", "vitamin", 1, 1),  # as in SQuAD
    ],
)
def test_what_normalisation_would_empty_is_compared_as_it_is(
    spoken: Language, accepted: str, answer: str, exact: float, f1: float
) -> None:
    assert compare(answer, accepted, spoken) == pytest.approx((exact, f1))


@pytest.mark.parametrize("spoken", [ENGLISH, ITALIAN, KAZAKH, TURKISH])
@pytest.mark.parametrize("silence", ["", " \n"])
@given(accepted=st.text(st.sampled_from([*"aAnTheiIl1%.—' ", "\u0301"]), min_size=1).filter(str.strip))
@settings(max_examples=60)
def test_every_answer_matches_itself_and_silence_matches_none(spoken: Language, silence: str, accepted: str) -> None:
    assert compare(accepted, accepted, spoken) == (1, 1)
    assert compare(silence, accepted, spoken) == (0, 0)


def test_a_model_that_is_silent_scores_nothing() -> None:
    reading = Reading(ReadingSettings(), TaskContext(ENGLISH))
    row = Row("r1", "Her blood group is A. His is O.", "What is her blood group?", ("A",))
    silent, right = (
        reading.aggregate([reading.score(row, [Generated(text, 1, complete=True)])]) for text in ("", " A")
    )
    assert [silent[name].value for name in ("exact_match", "f1", "empty_rate")] == [0, 0, 1]
    assert [right[name].value for name in ("exact_match", "f1", "empty_rate")] == [1, 1, 0]
    blank, sign = (reading.score(row, [Generated(text, 1, complete=True)]).values["empty"] for text in (" \n", " %"))
    assert (blank, sign) == (1, 0)


def test_questions_on_one_text_are_resampled_together() -> None:
    rows = [Row(str(index), f"{CONTEXT} {index // 4}", "?", ("иә",)) for index in range(40)]
    texts = ["иә" if index // 4 % 2 else "жоқ" for index in range(40)]
    scores = [score(text, row) for text, row in zip(texts, rows, strict=True)]
    alone = [ItemScore(each.item, each.item, each.values) for each in scores]
    for name in ("f1", "exact_match"):
        together, apart = (metric().aggregate(some)[name] for some in (scores, alone))
        assert together.value == apart.value == 0.5
        assert together.stderr is not None
        assert apart.stderr is not None
        assert together.stderr > 1.5 * apart.stderr


def test_answers_may_be_a_list_or_squad_s_mapping_or_one_text() -> None:
    raw = {"id": "1", "context": "c", "question": "q"}
    squad = {"text": ["x", "x", "y"], "answer_start": [0, 0, 2]}
    for answers, wanted in ((["x", "y"], ("x", "y")), (squad, ("x", "y")), ("x", ("x",))):
        assert parse_row("readings", {**raw, "answers": answers}, "here") == Row("1", "c", "q", wanted)
    assert kind_of({**raw, "answers": []}) == "readings"


@pytest.mark.parametrize("answers", [[], {"text": []}, {}, [" "], [3], 3])
def test_rows_without_an_accepted_answer_are_refused(answers: Any) -> None:
    with pytest.raises(DataError, match="here: 'answers'"):
        parse_row("readings", {"id": "1", "context": "c", "question": "q", "answers": answers}, "here")


def test_other_rows_no_language_and_bad_templates_are_refused() -> None:
    with pytest.raises(DataError, match="scores readings, not pairs"):
        metric().requests(Pair("p", "a", "b"))
    with pytest.raises(ConfigError, match="'language'"):
        metric(TaskContext())
    with pytest.raises(ValidationError, match="no {context}"):
        ReadingSettings(template="{question}")


def test_kazqad_can_be_read(data_dir: Path, host: Any) -> None:
    from tilbench.resolve.datasets import rows_of

    rows = rows_of("qa/kazqad/validation", host.registry, data_dir).rows
    assert len(rows) == 764
    assert all(isinstance(row, Row) and row.answers[0] in row.context for row in rows)
    echoed = [score(row.answers[-1], row) for row in rows if isinstance(row, Row)]
    assert metric().aggregate(echoed)["f1"].value == 1

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from tilbench.data.rows import Document, Prompt
from tilbench.errors import ConfigError, DataError, PluginError
from tilbench.kinds.language import Cues, Language
from tilbench.kinds.metric import ItemScore, Metric, TaskContext, Value
from tilbench.kinds.requests import Decoding, Generated, Generation, Likelihood
from tilbench.loader import load_plugins
from tilbench_behavior import texts
from tilbench_behavior.behavior import Behavior, BehaviorSettings

CUES = Cues(passage="P", question="Q", options="O", answer="A")
ALPHABETS = {
    "kk-Cyrl": "аәбвгғдеёжзийкқлмнңоөпрстуұүфхһцчшщъыіьэюя",
    "ru-Cyrl": "абвгдеёжзийклмнопрстуфхцчшщъыьэюя",
    "tr-Latn": "abcçdefgğhıijklmnoöprsştuüvyz",
    "it-Latn": "abcdefghilmnopqrstuvzàèéìòù",
}


def language(tag: str) -> Language:
    script = tag.partition("-")[2]
    return Language(tag=tag, name=tag, native_name=tag, script=script, alphabet=ALPHABETS.get(tag, ""), cues=CUES)


def metric(tag: str | None = "tr-Latn", **values: object) -> Behavior:
    context = TaskContext(language(tag) if tag else None, seed=7)
    return Behavior(BehaviorSettings.model_validate(values), context)


def score(text: str, tag: str | None = "tr-Latn", complete: bool = True, name: str = "p") -> ItemScore:
    return metric(tag).score(Prompt(name, "Bir gün"), [Generated(text, 9, complete)])


def aggregate(written: list[str], tag: str | None = "tr-Latn", complete: bool = True) -> dict[str, Value]:
    scores = [score(text, tag, complete, f"p{index}") for index, text in enumerate(written)]
    return dict(metric(tag).aggregate(scores))


def looping(text: str, complete: bool = True) -> bool:
    return texts.loops(text, texts.words_of(text), complete)


# Requests


def test_it_is_a_metric() -> None:
    assert isinstance(metric(), Metric)
    assert metric().headline == "loop_rate"


def test_the_defaults_are_the_preset_balanced() -> None:
    assert metric().requests(Prompt("p", "Bir gün")) == [
        Generation("Bir gün", Decoding(64, 0.8, 50, 0.95, 1.1, 0), (), 7)
    ]


def test_every_setting_reaches_the_request() -> None:
    bound = metric(
        max_new_tokens=3, temperature=0, top_k=0, top_p=1, repetition_penalty=1, no_repeat_ngram=4, stop=["\n"]
    )
    assert bound.requests(Prompt("p", "x")) == [Generation("x", Decoding(3, 0, 0, 1, 1, 4), ("\n",), 7)]


@pytest.mark.parametrize(
    "fault",
    [
        *({"max_new_tokens": 0}, {"temperature": -1}, {"temperature": math.inf}, {"top_k": -1}, {"top_p": 0}),
        *({"top_p": 1.1}, {"repetition_penalty": 0}, {"no_repeat_ngram": -1}, {"stop": [""]}, {"seed": 1}),
    ],
)
def test_settings_that_make_no_sense_are_refused(fault: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        BehaviorSettings.model_validate(fault)


# Loops


@pytest.mark.parametrize(
    "text",
    [
        "Сонда ол үйге келді, ол үйге келді, Ол үйге келді.",  # kk, whatever the signs and capitals
        "Evin önünde bir ağaç, bir ağaç, bir ağaç",  # tr
        "C'era una volta il re e il re e il re e il",  # it, cut inside the phrase
        "no no no no no no",  # a word six times is a phrase of two three times
        "oldu " + "çok güzel bir gün " * 5,
        "Алматы " + "а" * 20,
        "Fine. " + "!" * 20,
        "e così " + "... " * 7,
        "abc" * 7,
        "IŞIK ve ışık VE Işık ve",
    ],
)
def test_these_loop(text: str) -> None:
    alphabet = ALPHABETS["tr-Latn"] if "Ş" in text else ""
    assert texts.loops(text, texts.words_of(text, alphabet), True)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " \n",
        "Абай — қазақтың ұлы ақыны.",
        "no, no, no!",
        "Evet, evet, evet, evet, evet.",  # five times
        "ağır ağır yürüdü, ağır ağır yürüdü",  # twice
        "un passo avanti, un passo avanti, un passo avanti e poi si fermò",  # it left the loop
        "1, 2, 3, 4, 5, 6, 7, 8, 9, 10",
        "!" * 19,
        "аааааа",
    ],
)
def test_these_do_not_loop(text: str) -> None:
    assert not looping(text)
    assert not looping(text, complete=False)


def test_a_cut_text_may_loop_up_to_half_a_word() -> None:
    text = "la casa la casa la casa la c"
    assert looping(text, complete=False)
    assert not looping(text, complete=True)


@given(st.lists(st.sampled_from(["қала", "ağaç", "città", "бар", "üç"]), min_size=2, max_size=5), st.integers(0, 4))
def test_any_phrase_three_times_loops_wherever_it_is_cut(phrase: list[str], more: int) -> None:
    assert looping(" ".join((phrase * 5)[: len(phrase) * texts.LOOP_TIMES + more]))


@given(st.integers(6, 60))
def test_different_words_never_loop(count: int) -> None:
    assert not looping(" ".join(f"söz{index}x" for index in range(count)))


# N-grams


def test_distinct_by_hand() -> None:
    words = texts.words_of("Il gatto, il gatto e il cane")  # 7 words, 4 distinct; 6 pairs, 5 distinct
    assert texts.distinct(words, 1) == pytest.approx(4 / 7)
    assert texts.distinct(words, 2) == pytest.approx(5 / 6)
    assert texts.distinct(words, 3) == pytest.approx(1)
    assert texts.distinct(words[:1], 2) is None


def test_distinct_is_a_mean_over_texts_that_have_such_n_grams() -> None:
    values = aggregate(["бір екі", "бір бір", "бір", ""], "kk-Cyrl")
    assert values["distinct_1"].value == pytest.approx((1 + 0.5 + 1) / 3)
    assert values["distinct_1"].n == 3
    assert (values["distinct_2"].value, values["distinct_2"].n) == (1, 2)
    assert "distinct_3" not in values


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("bir iki üç dört beş Bir, iki; üç dört", True),
        ("bir iki üç dört beş bir iki üç beş", False),
        ("uno uno uno uno uno", True),  # the two overlap
        ("бір екі үш төрт", False),
        ("", False),
    ],
)
def test_a_4gram_that_comes_twice(text: str, wanted: bool) -> None:
    assert texts.repeats(texts.words_of(text), 4) is wanted
    assert score(text).values["repeated_4gram_rate"] == wanted


# Language


def consistency(text: str, tag: str) -> tuple[float, float]:
    values = score(text, tag).values
    return values["language_consistency"], values["alphabet_consistency"]


def test_letters_in_script_and_alphabet_by_hand() -> None:
    assert consistency("Қала 2024: city!", "kk-Cyrl") == (0.5, 0.5)
    assert consistency("Ол қала", "kk-Cyrl") == (1, 1)
    assert consistency("Ол қала", "ru-Cyrl") == pytest.approx((1, 5 / 6))  # қ
    assert consistency("Москва — столица России", "kk-Cyrl") == (1, 1)  # one way only, as documented
    assert consistency("wax", "it-Latn") == pytest.approx((1, 1 / 3))
    assert consistency("IĞDIR'dan İzmir'e", "tr-Latn") == (1, 1)
    assert (
        consistency("cafe\u0301", "tr-Latn") == consistency("caf\u00e9", "tr-Latn") == (1, 0.75)
    )  # one é, however coded
    assert consistency("ab ʼʼʼʼ", "it-Latn") == (1, 1)  # a modifier letter is of no one script


def test_a_text_without_letters_has_no_consistency() -> None:
    values = score("12 + 3 = 15 !!").values
    assert "language_consistency" not in values
    assert values["switch_rate"] == 0
    assert "alphabet_consistency" not in aggregate(["1", "2 3"])


@pytest.mark.parametrize(
    ("text", "tag", "wanted"),
    [
        ("Ол маған said hello again деп айтты", "kk-Cyrl", True),
        ("Ол маған said hello 24 again деді", "kk-Cyrl", True),  # a number does not end the run
        ("Ол маған said hello деп again", "kk-Cyrl", False),
        ("Windows-та said hello", "kk-Cyrl", False),  # two, for a word with a letter of one's own is none
        ("Ankara'da это было давно", "tr-Latn", True),
        ("Il Presidente Владимир Путин ha detto", "it-Latn", False),
        ("1 2 3 4", "it-Latn", False),
    ],
)
def test_a_switch_is_three_words_on_end(text: str, tag: str, wanted: bool) -> None:
    assert score(text, tag).values["switch_rate"] == wanted


def test_no_language_or_no_script_has_no_values_of_language() -> None:
    for tag in (None, "code-Zyyy"):
        assert set(aggregate(["one two three", "four"], tag)) == {
            *("loop_rate", "repeated_4gram_rate", "completion_rate", "empty_rate", "mean_words"),
            *("distinct_1", "distinct_2", "distinct_3"),
        }


def test_writing_systems_of_several_scripts() -> None:
    own = texts.letters_of("Jpan")
    assert own
    assert own.findall("日本のカナ abc") == list("日本のカナ")
    with pytest.raises(ConfigError, match="'Xxxx' is no script of Unicode"):
        metric("xx-Xxxx")


def test_every_registered_language_can_be_measured() -> None:
    registry = load_plugins().registry
    for name in registry.names("languages"):
        found: Language = registry.get("languages", name)
        bound = Behavior(BehaviorSettings(), TaskContext(found))
        values = bound.score(Prompt("p", "x"), [Generated(found.alphabet, 1, True)]).values
        if found.domain:
            assert "switch_rate" not in values
        else:
            assert (values["language_consistency"], values["alphabet_consistency"]) == (1, 1)


# Values


def test_values_by_hand() -> None:
    answers = [("Бір күні.", True), ("а б а б а б", False), ("", True), ("  \n", False)]
    scores = [
        metric("kk-Cyrl").score(Prompt(f"p{index}", "x"), [Generated(text, 1, complete)])
        for index, (text, complete) in enumerate(answers)
    ]
    values = metric("kk-Cyrl").aggregate(scores)
    assert {name: value.value for name, value in values.items()} == pytest.approx(
        {
            "loop_rate": 1 / 4,
            "repeated_4gram_rate": 1 / 4,
            "completion_rate": 2 / 4,
            "switch_rate": 0,
            "empty_rate": 2 / 4,
            "distinct_1": (1 + 2 / 6) / 2,
            "distinct_2": (1 + 2 / 5) / 2,
            "distinct_3": 2 / 4,
            "language_consistency": 1,
            "alphabet_consistency": 1,
            "mean_words": (2 + 6) / 4,
        }
    )
    assert {name: value.n for name, value in values.items() if value.n != 4} == {
        "distinct_1": 2,
        "distinct_2": 2,
        "distinct_3": 1,
        "language_consistency": 2,
        "alphabet_consistency": 2,
    }
    assert values["loop_rate"].direction == "lower"


def test_empty_texts_alone_are_counted() -> None:
    values = aggregate(["", ""])
    assert (values["empty_rate"].value, values["loop_rate"].value, values["mean_words"].value) == (1, 0, 0)
    assert "distinct_1" not in values
    assert metric().aggregate([]) == {}


WRITTEN = st.lists(
    st.one_of(
        st.text(max_size=40),
        st.lists(st.sampled_from(["үй", "ев", "casa", "kedi", "猫", "3", "!", "\n"]), max_size=30).map(" ".join),
    ),
    min_size=1,
    max_size=8,
)


@settings(max_examples=60)
@given(WRITTEN, st.sampled_from(sorted(ALPHABETS)), st.booleans(), st.randoms())
def test_ranges_intervals_and_order(written: list[str], tag: str, complete: bool, shuffler: random.Random) -> None:
    scores = [score(text, tag, complete, f"p{index}") for index, text in enumerate(written)]
    values = metric(tag).aggregate(scores)
    assert "loop_rate" in values
    for name, value in values.items():
        top = math.inf if name == "mean_words" else 1.0
        assert 0 <= value.value <= top
        assert 0 < value.n <= len(written)
        if value.low is not None and value.high is not None:
            assert 0 <= value.low <= value.value + 1e-12
            assert value.value - 1e-12 <= value.high <= top
    shuffler.shuffle(scores)
    assert metric(tag).aggregate(scores) == values


def test_faults_are_named() -> None:
    with pytest.raises(DataError, match="scores prompts, not documents"):
        metric().requests(Document("d", "text"))
    with pytest.raises(PluginError, match="'p' was not answered by one Generated"):
        metric().score(Prompt("p", "x"), [Likelihood(-1.0, 1)])

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from tilbench.config.decoding import Decoding
from tilbench.data.resolve import load_rows
from tilbench.data.rows import Document, Prompt
from tilbench.errors import ConfigError, DataError, PluginError, UnknownName
from tilbench.kinds.language import Cues, Language
from tilbench.kinds.metric import ItemScore, Metric, TaskContext, Value
from tilbench.kinds.requests import Generated, Generation, Likelihood
from tilbench.loader import load_plugins
from tilbench.text.language_classes import profile_text
from tilbench.text.scripts import letters_of
from tilbench_metrics_generation import texts
from tilbench_metrics_generation.behavior import Behavior, BehaviorSettings
from tilbench_metrics_generation.verdict import LABELS, Verdict, VerdictSettings, judge

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
        Generation(
            "Bir gün", Decoding(max_new_tokens=64, temperature=0.8, top_k=50, top_p=0.95, repetition_penalty=1.1), (), 7
        )
    ]


def test_every_setting_reaches_the_request() -> None:
    bound = metric(
        max_new_tokens=3, temperature=0, top_k=0, top_p=1, repetition_penalty=1, no_repeat_ngram=4, stop=["\n"]
    )
    assert bound.requests(Prompt("p", "x")) == [
        Generation("x", Decoding(max_new_tokens=3, no_repeat_ngram=4), ("\n",), 7)
    ]


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
    return values["script_consistency"], values["alphabet_consistency"]


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
    assert "script_consistency" not in values
    assert values["script_switch_rate"] == 0
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
    assert score(text, tag).values["script_switch_rate"] == wanted


def test_no_language_or_no_script_has_no_values_of_language() -> None:
    for tag in (None, "code-Zyyy"):
        assert set(aggregate(["one two three", "four"], tag)) == {
            *("loop_rate", "repeated_4gram_rate", "completion_rate", "empty_rate", "mean_words"),
            *("distinct_1", "distinct_2", "distinct_3"),
        }


def test_writing_systems_of_several_scripts() -> None:
    own = letters_of("Jpan")
    assert own
    assert own.findall("日本のカナ abc") == list("日本のカナ")
    with pytest.raises(ConfigError, match="'Xxxx' is no script of Unicode"):
        metric("xx-Xxxx")


def test_every_registered_language_can_be_measured() -> None:
    registry = load_plugins().registry
    for name in registry.languages.names():
        found: Language = registry.languages.get(name)
        bound = Behavior(BehaviorSettings(), TaskContext(found))
        values = bound.score(Prompt("p", "x"), [Generated(found.alphabet, 1, True)]).values
        if found.domain:
            assert "script_switch_rate" not in values
        else:
            assert (values["script_consistency"], values["alphabet_consistency"]) == (1, 1)


# Language by n-grams

KAZAKH = "Біз бүгін таңертең ерте тұрып, атаммен бірге тауға бардық. Жол бойында құстардың әні естіліп тұрды."
RUSSIAN = "Потом мы долго шли по лесной дороге. Вечером бабушка напекла пирогов и позвала соседей."
KYRGYZ = "Сатуучулар жер-жемиш менен жашылчаларды тизип коюшкан. Түндө катуу шамал болуп, бутактар сынып калыптыр."
TURKISH = "Pazarda bugün çok insan vardı. Doktor hastaya ilacı günde üç kez içmesini söyledi."
AZERBAIJANI = "Həkim xəstəyə dərmanı gündə üç dəfə içməyi tapşırdı. Dünən bizim komanda uddu."
ITALIAN = "Al mercato oggi c'era molta gente. La nonna cuoce il pane e in tutta la casa si sente un buon profumo."
ENGLISH = "There were many people at the market today. The children are coming home from school."


def told(text: str, tag: str, languages: tuple[str, ...] = ()) -> dict[str, float]:
    registry = load_plugins().registry
    known = [each for _, each in registry.languages.all()]
    context = TaskContext(registry.languages.get(tag), languages=known)
    bound = Behavior(BehaviorSettings(languages=languages), context)
    return dict(bound.score(Prompt("p", "x"), [Generated(text, 9, True)]).values)


@pytest.mark.parametrize(
    ("tag", "own", "spoken", "other"),
    [
        ("kk-Cyrl", KAZAKH, "ru-Cyrl", RUSSIAN),
        ("kk-Cyrl", KAZAKH, "ky-Cyrl", KYRGYZ),
        ("ru-Cyrl", RUSSIAN, "kk-Cyrl", KAZAKH),
        ("tr-Latn", TURKISH, "az-Latn", AZERBAIJANI),
        ("az-Latn", AZERBAIJANI, "tr-Latn", TURKISH),
        ("it-Latn", ITALIAN, "en-Latn", ENGLISH),
        ("en-Latn", ENGLISH, "it-Latn", ITALIAN),
    ],
    ids=["kk-ru", "kk-ky", "ru-kk", "tr-az", "az-tr", "it-en", "en-it"],
)
def test_another_language_of_the_same_script(tag: str, own: str, spoken: str, other: str) -> None:
    whole, half, none = (told(text, tag, (spoken,)) for text in (own, f"{own} {other}", other))
    letters = [sum(map(str.isalpha, text)) for text in (own, other)]
    assert (whole["language_consistency"], whole["language_switch_rate"]) == (1, 0)
    assert half["language_consistency"] == pytest.approx(letters[0] / sum(letters), abs=0.02)
    assert half["language_switch_rate"] == 1
    assert (none["language_consistency"], none["language_switch_rate"]) == (0, 1)
    for values in (whole, half, none):  # their script says nothing
        assert (values["script_consistency"], values["script_switch_rate"]) == (1, 0)


def test_another_script_is_another_language() -> None:
    values = told(f"{KAZAKH} {ENGLISH}", "kk-Cyrl")
    assert values["script_switch_rate"] == values["language_switch_rate"] == 1
    assert 0.4 < values["language_consistency"] < 0.6


def test_what_is_undecided_does_not_count() -> None:
    assert "language_consistency" not in told("Иә. 12.", "kk-Cyrl")
    assert told(f"Иә. {KAZAKH} Жоқ.", "kk-Cyrl")["language_consistency"] == 1


def test_candidates_can_be_named() -> None:
    both = "Бірақ ертең, мүмкін, қайта келеді, деді ол"  # Kazakh
    assert told(both, "kk-Cyrl", ("ky-Cyrl", "tt-Cyrl"))["language_consistency"] == 1
    assert told(KYRGYZ, "kk-Cyrl", ("ky-Cyrl", "tt-Cyrl"))["language_consistency"] == 0
    assert told(KYRGYZ, "kk-Cyrl", ("ru-Cyrl",))["language_consistency"] == 0  # a language that nobody named
    with pytest.raises(UnknownName, match="'ky-Cyr'; did you mean ky-Cyrl"):
        told(KYRGYZ, "kk-Cyrl", ("ky-Cyr",))


@pytest.mark.parametrize("tag", [*load_plugins().registry.languages.names(), None])
def test_a_language_without_a_profile_is_not_told(tag: str | None) -> None:
    language = load_plugins().registry.languages.get(tag) if tag else None
    bound = Behavior(BehaviorSettings(), TaskContext(language))
    values = bound.score(Prompt("p", "x"), [Generated(TURKISH + " " + KAZAKH, 9, True)]).values
    has = language is not None and bool(language.profile) and not language.domain
    assert ("language_consistency" in values) == has
    assert [note.split(":")[0] for note in bound.notes] == ["language_consistency"] * (
        language is not None and not language.domain
    )
    assert all(("has no profile" in note) != has for note in bound.notes)


def test_the_languages_that_are_installed_decide_nothing() -> None:
    registry = load_plugins().registry
    known = [each for _, each in registry.languages.all()]
    for tag in ("kk-Cyrl", "tr-Latn", "crh-Latn"):
        own = registry.languages.get(tag)
        alone, among = (Behavior(BehaviorSettings(), TaskContext(own, languages=some)) for some in ([own], known))
        assert alone.deciding == among.deciding
        assert alone.notes == among.notes
        for text in (KAZAKH, RUSSIAN, KYRGYZ, TURKISH, AZERBAIJANI):
            assert alone.score(Prompt("p", "x"), [Generated(text, 9, True)]) == among.score(
                Prompt("p", "x"), [Generated(text, 9, True)]
            )


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
            "script_switch_rate": 0,
            "empty_rate": 2 / 4,
            "distinct_1": (1 + 2 / 6) / 2,
            "distinct_2": (1 + 2 / 5) / 2,
            "distinct_3": 2 / 4,
            "script_consistency": 1,
            "alphabet_consistency": 1,
            "mean_words": (2 + 6) / 4,
        }
    )
    assert {name: value.n for name, value in values.items() if value.n != 4} == {
        "distinct_1": 2,
        "distinct_2": 2,
        "distinct_3": 1,
        "script_consistency": 2,
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


# The verdict


def bound(**values: object) -> Verdict:
    return Verdict(VerdictSettings.model_validate(values), TaskContext(seed=3))


GOOD = "The river runs down from the hills and on to the sea."
LOOPING = "It was late and it was late and it was late and it was late"
NOTHING = " \n?"


@pytest.mark.parametrize(
    ("text", "label"),
    [
        (GOOD, "OK"),
        ("    if n < 2:\n        return n\n    return fibonacci(n - 1) + fibonacci(n - 2)", "OK"),
        ("Ол үйге келіп, шай ішті.", "OK"),
        (LOOPING, "WEAK"),
        ("a b " * 4 + "c d e", "OK"),  # it left the loop, and 5 of its 10 pairs are new
        ("a b " * 5 + "c d e", "WEAK"),  # 5 of 12
        ("the cat " * 9 + "sat there", "WEAK"),
        ("", "FAIL"),
        (NOTHING, "FAIL"),
        ("two words", "FAIL"),
        ("one two three \ufffd", "FAIL"),
        ("a b c " + "=" * 20, "FAIL"),
    ],
)
def test_a_text_is_judged(text: str, label: str) -> None:
    assert judge(text) == label


# Answers of every kind, in every language with a profile: right, in another language, a loop, …


def paragraphs(tag: str) -> list[str]:
    """Return paragraphs of some length that were written in a language for the project."""
    text = profile_text(load_plugins().registry.languages.get(tag).profile)
    return [part for part in text.splitlines() if len(part.split()) >= 30 and part.count(". ") >= 3][:6]


TOLD = [name for name, each in load_plugins().registry.languages.all() if each.profile and not each.domain]
OTHERS = dict(zip(TOLD, [*TOLD[1:], TOLD[0]], strict=True))


def labels(tag: str, prompt: str, *answers: str, complete: bool = True) -> list[str]:
    made = Verdict(VerdictSettings(temperatures=(0,)), TaskContext(load_plugins().registry.languages.get(tag)))
    scores = [made.score(Prompt("p", prompt), [Generated(text, 9, complete)]) for text in answers]
    return [LABELS[round(score.values["label_1"])] for score in scores]


@pytest.mark.parametrize("tag", TOLD)
def test_answers_of_every_kind_are_judged(tag: str) -> None:
    texts, foreign = paragraphs(tag), paragraphs(OTHERS[tag])
    assert len(texts) >= 5
    prompt = texts[0].partition(".")[0]
    assert set(labels(tag, prompt, *texts)) == {"OK"}
    assert set(labels(tag, prompt, *foreign)) == {"FAIL"}
    turned = [f"{prompt}. {text}" for text in foreign]
    assert set(labels(tag, prompt, *turned)) == {"FAIL"}
    assert set(labels(tag, prompt, *(f"{text} {(text.partition('.')[0] + '. ') * 3}" for text in texts))) == {"WEAK"}
    assert set(labels(tag, prompt, "", " \n", "?!", "…")) == {"FAIL"}
    cut = [text.encode()[: len(text.encode()) * 2 // 3].decode(errors="replace") for text in texts]
    assert set(labels(tag, prompt, *cut, complete=False)) == {"OK"}
    draw = random.Random(3)
    shuffled = [" ".join(draw.sample(text.split(), len(text.split()))) for text in texts]
    assert labels(tag, prompt, *shuffled).count("WEAK") >= 0.7 * len(shuffled)


def test_nonsense_in_another_language_is_no_answer() -> None:
    rows = load_rows("smoke", load_plugins().registry.datasets.get("prompts/english-python"), None).rows
    prompts = [row.prompt for row in rows if isinstance(row, Prompt)]
    draw = random.Random(0)
    words = " ".join(paragraphs("kk-Cyrl")).split()
    nonsense = " ".join(draw.choices(words, k=60))
    found = [label for prompt in prompts for label in labels("en-Latn", prompt, nonsense)]
    assert found.count("FAIL") >= 5  # not where the prompt is code
    code = "    if n < 2:\n        return n\n    return fibonacci(n - 1) + fibonacci(n - 2)"
    stack = "\n        self.items.append(item)\n\n    def pop(self):\n        return self.items.pop()"
    assert labels("en-Latn", prompts[1], code) == labels("en-Latn", prompts[4], stack) == ["OK"]


def test_what_is_not_judged_is_said_beside_the_value() -> None:
    registry = load_plugins().registry
    for tag in ("en-Latn", "crh-Latn"):
        made = Verdict(VerdictSettings(), TaskContext(registry.languages.get(tag)))
        (note,) = made.notes
        assert "fewer than 3 words, less than 30% letters and digits, U+FFFD or less than 50% in its language" in note
        assert ("not judged: crh-Latn has no profile" in note) == (tag == "crh-Latn")
    assert labels("crh-Latn", "Qırım", TURKISH, KAZAKH) == ["OK", "OK"]
    assert "the task has no language" in bound().notes[0]
    shuffled = "the hills down river from runs and sea on to"  # the order of words inside a sentence is not looked at
    assert judge(shuffled) == "OK"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("It rained. We left. The road was wet.", False),
        ("rained. It We the left. was Road wet.", True),
        ("It rained. we left.", False),  # one is too few to tell
        ("1. wash it\n2. dry it\n3. keep it. then rest", False),
        ("e.g. this, i.e. that, p. ten and p. eleven", False),
        ("نان. سۇ. تۇز. گۆش", False),
        ("Ол келді. «Сәлем!» деді. Біз күттік. Кеш болды. Жаттық.", False),
    ],
)
def test_sentences_that_do_not_begin_where_others_end(text: str, found: bool) -> None:
    assert texts.disordered(text) == found


CUT = "Бүгін ауа райы өте жақсы болды, біз тауға шықтық, ал кешке үйде шай іштік 😀."


@pytest.mark.parametrize("limit", range(40, len(CUT.encode())))
def test_where_the_limit_cuts_a_text_does_not_matter(limit: int) -> None:
    """A token may be a byte, so the limit may leave part of a letter: U+FFFD, one in all or one per byte."""
    text = CUT.encode()[:limit].decode(errors="ignore")
    left = limit - len(text.encode())
    for cut in {text + "\ufffd" * marks for marks in range(1, left + 1)} or {text}:
        answer = Generated(cut, limit, complete=False)
        assert answer.whole == text
        once = Verdict(VerdictSettings(temperatures=(0,)), TaskContext(seed=3))
        assert once.score(Prompt("p", "x"), [answer]).values["ok"] == 1
        assert score(cut, "kk-Cyrl", complete=False) == score(text, "kk-Cyrl", complete=False)


def test_only_the_limit_s_own_marks_are_left_out() -> None:
    assert Generated("аб\ufffd", 9, complete=True).whole == "аб\ufffd"
    assert Generated("а\ufffdб", 9, complete=False).whole == "а\ufffdб"
    assert Generated("аб" + "\ufffd" * 5, 9, complete=False).whole == "аб\ufffd\ufffd"
    broken = bound(temperatures=[0]).score(Prompt("p", "x"), [Generated(GOOD + "\ufffd", 9, complete=True)])
    assert broken.values["fail"] == 1
    loop = "о" * 40 + "\ufffd"
    assert score(loop, "kk-Cyrl", complete=False).values["loop_rate"] == 1


def test_each_prompt_is_asked_once_at_each_temperature() -> None:
    assert bound().requests(Prompt("p", "def f():")) == [
        Generation("def f():", Decoding(max_new_tokens=120, temperature=temperature, top_k=40), (), 3)
        for temperature in (0, 0.8)
    ]
    assert len(bound(temperatures=[1]).requests(Prompt("p", "x"))) == 1
    faults: list[dict[str, object]] = [{"temperatures": []}, {"temperatures": [-1]}, {"top_p": 1}]
    for fault in faults:
        with pytest.raises(ValidationError):
            VerdictSettings.model_validate(fault)


def verdicts(*pairs: tuple[str, str]) -> dict[str, Value]:
    scores = [
        bound().score(Prompt(f"p{place}", "x"), [Generated(text, 9, True) for text in pair])
        for place, pair in enumerate(pairs)
    ]
    return dict(bound().aggregate(scores))


def test_labels_are_counted() -> None:
    (found,) = [bound().score(Prompt("p", "x"), [Generated(LOOPING, 9, True), Generated(GOOD, 9, True)])]
    assert dict(found.values) == {"label_1": 1, "label_2": 2, "ok": 1, "weak": 1, "fail": 0, "texts": 2}
    values = verdicts(*[(GOOD, GOOD)] * 3, *[(LOOPING, GOOD)] * 3)  # as on the card: 9 / 3 / 0
    assert [values[name].value for name in ("ok", "weak", "fail", "verdict")] == [9, 3, 0, 2]
    assert [values[f"{name}_rate"].value for name in ("ok", "weak", "fail")] == [0.75, 0.25, 0]
    assert values["ok_rate"].of == ("ok", "texts")
    assert (values["ok_rate"].low or 0) < 0.75 < (values["ok_rate"].high or 0)
    even = verdicts(*[(LOOPING, GOOD)] * 6)["ok_rate"]  # every prompt has one: that is no certainty
    assert (even.low or 0) < 0.3 < 0.7 < (even.high or 0)
    assert verdicts((GOOD, GOOD), (LOOPING, GOOD), (LOOPING, GOOD))["verdict"].value == 1
    assert verdicts(*[(GOOD, GOOD)] * 20, (GOOD, NOTHING))["verdict"].value == 0
    assert bound().aggregate([]) == {}


def test_the_prompts_are_six() -> None:
    rows = load_rows("smoke", load_plugins().registry.datasets.get("prompts/english-python"), None).rows
    assert len(rows) == 6
    assert len([request for row in rows for request in bound().requests(row)]) == 12


def test_faults_of_the_verdict_are_named() -> None:
    with pytest.raises(DataError, match="verdict scores prompts, not documents"):
        bound().requests(Document("d", "text"))
    with pytest.raises(PluginError, match="'p' was not answered by 2 Generated"):
        bound().score(Prompt("p", "x"), [Generated("x", 1, True)])

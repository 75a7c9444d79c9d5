"""Lint: texts that were read in a wrong code page, typed with other letters, or hold signs nobody sees."""

from __future__ import annotations

import gzip
import json
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tilbench.data.dataset import Dataset
from tilbench.data.rows import Document, Question, Row
from tilbench.kinds.language import Language
from tilbench.lint import options, texts, writing
from tilbench.lint.finding import Fault
from tilbench.lint.subjects import DatasetSubject
from tilbench.loader import Host
from tilbench.text.language_classes import profile_text

Rule = Callable[[DatasetSubject], Iterator[Fault]]
RULES: list[Rule] = [
    texts.homoglyphs,
    writing.foreign_letters,
    writing.letters_missing,
    writing.invisible,
    writing.not_composed,
    writing.apostrophes_vary,
]
KAZAKH = (
    "Қазақстанның оңтүстігінде көктем ерте шығады. Әжем ұлыма таң ата ғана үйден шығып, өзен жағасында қой баққан "
    "күндерін айтып берді. Мұғаліміміз сұрақтарға жауап беруді өтінді, ал біз дәптерімізге қысқа жауаптарды жаздық. "
    "Жаңбырдан кейін һауаның тазаруын қалай түсіндіресіз?"
)
TURKISH = (
    "Türkiye'nin güneyinde ilkbahar erken gelir. Büyükannem küçükken ırmağın kıyısında koyun güttüğünü anlattı. "
    "Öğretmenimiz soruları yanıtlamamızı istedi, biz de defterlerimize kısa yanıtlar yazdık. Yağmurdan sonra havanın "
    "nasıl temizlendiğini açıklayabilir misiniz? Işıklar söndüğünde İzmir'in üstünde yıldızlar görünür."
)
TEXTS = {"kk-Cyrl": KAZAKH, "tr-Latn": TURKISH}


@pytest.fixture(scope="session")
def languages(host: Host) -> dict[str, Language]:
    return {name: host.registry.languages.get(name) for name in host.registry.languages.names()}


def subject(language: Language | None, *rows: Row | str) -> DatasetSubject:
    made = [Document(id=f"r{n}", text=row) if isinstance(row, str) else row for n, row in enumerate(rows)]
    return DatasetSubject("set", Dataset(kind="documents", language="kk-Cyrl", path="set.jsonl"), made, language)


def question(text: str, *choices: str) -> Question:
    return Question(id="q", question=text, choices=choices or ("1", "2"), answer=0)


def said(rule: Rule, found: DatasetSubject) -> str:
    faults = list(rule(found))
    assert len(faults) <= 1
    return faults[0].message if faults else ""


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("tag", TEXTS)
def test_good_text_is_clean(rule: Rule, tag: str, languages: dict[str, Language]) -> None:
    text = TEXTS[tag]
    assert not said(rule, subject(languages[tag], text, question(text), "🇰🇿 👩‍🚀 ❤️ " + text))


@pytest.mark.parametrize(
    ("tag", "right", "wrong"),
    [
        ("kk-Cyrl", "kz1048", "cp1251"),
        ("kk-Cyrl", "utf-8", "cp1252"),
        ("kk-Cyrl", "cp1251", "cp1252"),
        ("tr-Latn", "cp1254", "cp1252"),
        ("tr-Latn", "utf-8", "cp1252"),
    ],
)
def test_a_text_read_in_a_wrong_code_page_is_named_with_both(
    tag: str, right: str, wrong: str, languages: dict[str, Language]
) -> None:
    garbled = " ".join(word.encode(right, "ignore").decode(wrong, "ignore") for word in TEXTS[tag].split())
    message = said(writing.foreign_letters, subject(languages[tag], garbled))
    assert "1 of 1" in message
    assert message.endswith(f"this is {right} read as {wrong}")


def test_letters_of_an_old_kazakh_font_are_named(languages: dict[str, Language]) -> None:
    font = str.maketrans("әғқңөүұһӘҒҚҢӨҮҰҺ", "єѓќњґїџћЄЃЌЊҐЇЏЋ")
    message = said(writing.foreign_letters, subject(languages["kk-Cyrl"], KAZAKH.translate(font)))
    assert "letters that Kazakh lacks" in message
    assert "ќ" in message


def test_a_foreign_name_is_no_wrong_code_page(languages: dict[str, Language]) -> None:
    names = KAZAKH + " Київ пен Њу-Йорк, São Tomé, Kâzım."
    assert not said(writing.foreign_letters, subject(languages["kk-Cyrl"], names))


@pytest.mark.parametrize(
    ("tag", "letters"),
    [
        ("kk-Cyrl", str.maketrans("әғқңөүұһіӘҒҚҢӨҮҰҺІ", "агкноуухиАГКНОУУХИ")),
        ("tr-Latn", str.maketrans("çğıöşüÇĞİÖŞÜ", "cgiosuCGIOSU")),
    ],
)
def test_text_typed_on_another_keyboard_lacks_the_letters_of_its_language(
    tag: str, letters: dict[int, int], languages: dict[str, Language]
) -> None:
    (fault,) = writing.letters_missing(subject(languages[tag], TEXTS[tag], TEXTS[tag].translate(letters)))
    assert fault.rows == ["r1"]
    assert "1 of 2 (50.0%) rows have next to none" in fault.message


def pieces(language: Language) -> list[str]:
    """Return running text of a language in pieces that are too short to be judged alone."""
    return [" ".join(words) for words in zip(*[iter(profile_text(language.profile).split())] * 12, strict=False)]


def test_one_letter_that_is_replaced_everywhere_is_named(languages: dict[str, Language]) -> None:
    kazakh = languages["kk-Cyrl"]
    rows = [text.replace("қ", "к").replace("Қ", "К") for text in pieces(kazakh)]
    assert "; қ all but missing" in said(writing.letters_missing, subject(kazakh, *rows))
    assert not said(writing.letters_missing, subject(kazakh, *pieces(kazakh)))


def test_short_rows_say_something_together(languages: dict[str, Language]) -> None:
    rows = map(question, pieces(languages["ru-Cyrl"]))
    assert "0.0% of the letters" in said(writing.letters_missing, subject(languages["kk-Cyrl"], *rows))


def test_one_wording_in_every_row_says_nothing(languages: dict[str, Language]) -> None:
    rows = [question(f"Бұл {number} сұрақ қалай?", "дұрыс", "бұрыс") for number in range(200)]
    assert not said(writing.letters_missing, subject(languages["kk-Cyrl"], *rows))


@pytest.mark.parametrize(("letter", "look_alike"), [("і", "i"), ("һ", "h"), ("ә", "ə"), ("ө", "ɵ")])
def test_running_text_in_look_alikes_is_found(letter: str, look_alike: str, languages: dict[str, Language]) -> None:
    text = f"{KAZAKH} Гауһар, қаһарман, шаһар; әдемі, әлем, әдебиет; өнер, өлең, көл."
    message = said(texts.homoglyphs, subject(languages["kk-Cyrl"], text, text.replace(letter, look_alike)))
    assert "1 of 2" in message
    assert f"(Latin {look_alike})" in message


def test_a_slip_in_running_text_is_left_alone(languages: dict[str, Language]) -> None:
    assert not said(texts.homoglyphs, subject(languages["kk-Cyrl"], KAZAKH.replace("көктем", "көктeм")))


@pytest.mark.parametrize("sign", ["\u00ad", "\u200b", "\u2060", "\ufeff"])
def test_invisible_characters_are_named(sign: str, languages: dict[str, Language]) -> None:
    found = subject(languages["kk-Cyrl"], KAZAKH.replace("көктем", f"көк{sign}тем"))
    assert f"U+{ord(sign):04X}" in said(writing.invisible, found)


def test_joiners_belong_to_scripts_that_need_them(languages: dict[str, Language]) -> None:
    assert not said(writing.invisible, subject(languages["ug-Arab"], "مەن\u200cلەر"))


def test_decomposed_letters_are_counted(languages: dict[str, Language]) -> None:
    found = subject(languages["tr-Latn"], TURKISH, unicodedata.normalize("NFD", TURKISH))
    assert said(writing.not_composed, found) == "1 of 2 (50.0%) rows are not in Unicode's composed form (NFC)"


def test_apostrophes_that_vary_are_counted(languages: dict[str, Language]) -> None:
    rows = [question("Ankara'da ne var?"), question("İzmir’de ne var?"), question("Van'da ne var?")]
    message = said(writing.apostrophes_vary, subject(languages["tr-Latn"], *rows))
    assert "' (U+0027) in 2 rows, ’ (U+2019) in 1 rows" in message
    uzbek = [question("Oʻzbekiston sanʼati")]
    assert not said(writing.apostrophes_vary, subject(languages["uz-Latn"], *uzbek))


def test_options_are_alike_as_their_language_writes_case(languages: dict[str, Language]) -> None:
    def alike(tag: str, *choices: str) -> bool:
        return bool(list(options.answer_alike(subject(languages[tag], question("?", *choices)))))

    assert alike("tr-Latn", "Isparta ırmağı", "ISPARTA IRMAĞI")
    assert alike("tr-Latn", "İzmir", "izmir")
    assert alike("tr-Latn", "Ankara'da", "Ankara’da")
    assert alike("tr-Latn", "kırmızı", "kır\u00admızı")
    assert not alike("tr-Latn", "sınır", "sinir")
    assert not alike("tr-Latn", "SINIR", "sinir")
    assert not alike("tr-Latn", "uzunluk 10²", "uzunluk 102")


def test_a_re_cased_row_is_a_repeated_row(languages: dict[str, Language]) -> None:
    first, again = question("Irmağın adı nedir?", "Işık", "İnci"), question("IRMAĞIN ADI NEDİR?", "IŞIK", "İNCİ")
    rows = [first, Question(id="q2", question=again.question, choices=again.choices, answer=0)]
    assert "1 of 2" in said(texts.duplicates, subject(languages["tr-Latn"], *rows))
    other = Question(id="q3", question=again.question, choices=again.choices, answer=1)
    assert "2 rows" in said(texts.contradictions, subject(languages["tr-Latn"], first, other))


SETS = {
    "text/kk/heldout": "kk-Cyrl",
    "text/kk/train": "kk-Cyrl",
    "text/tr/train": "tr-Latn",
    "text/ru/train": "ru-Cyrl",
    "text/it/train": "it-Latn",
    "text/en/train": "en-Latn",
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SETS)
def test_real_text_is_clean(name: str, data_dir: Path, languages: dict[str, Language]) -> None:
    with gzip.open(data_dir / f"{name}.jsonl.gz", "rt", encoding="utf-8") as lines:
        rows = [json.loads(line)["text"] for line in lines]
    for rule in RULES:
        assert not said(rule, subject(languages[SETS[name]], *rows)), rule

"""Which language a text is in, on texts that are in no profile."""

from __future__ import annotations

import gzip
import json
import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tilbench.errors import DataError
from tilbench.kinds.language import Cues, Language
from tilbench.loader import load_plugins
from tilbench.text import language_classes, language_id
from tilbench.text.language_classes import LEAST_PROFILE, profile_text
from tilbench.text.language_id import deciding, identify, segments, untold

REGISTRY = load_plugins().registry
LANGUAGES: Sequence[Language] = [REGISTRY.languages.get(name) for name in REGISTRY.languages.names()]

SENTENCES = {
    "kk-Cyrl": """Базарда адам көп екен. Сатушылар жеміс-жидек пен көкөністі тізіп қойыпты.
        Дәрігер науқасқа дәріні күніне үш рет ішуді айтты. Кеше футболдан жарыс өтіп, біздің команда жеңді.
        Кітапта жазылғандай, бұл көпір жүз жыл бұрын салынған. Егер ертең күн ашық болса, орманға барамыз.
        Апам пеште нан пісіріп жатыр, үй ішіне хош иіс тарады. Балалар мектептен қайтып келе жатыр.""",
    "ru-Cyrl": """На рынке сегодня много людей. Продавцы разложили овощи и фрукты на длинных столах.
        Врач сказал больному принимать лекарство три раза в день. Вчера наша команда выиграла со счётом два ноль.
        В книге написано, что этот мост построили сто лет назад. Если завтра будет ясно, мы пойдём в лес за грибами.
        Бабушка печёт хлеб, и по всему дому идёт вкусный запах. Дети возвращаются из школы.""",
    "ky-Cyrl": """Базарда адам көп экен. Сатуучулар жер-жемиш менен жашылчаларды тизип коюшкан.
        Доктур оорулууга дарыны күнүнө үч жолу ичүүнү айтты. Кечээ футбол боюнча мелдеш болду, биздин команда утту.
        Китепте жазылгандай, бул көпүрө жүз жыл мурун курулган. Эгер эртең күн ачык болсо, токойго барабыз.
        Түндө катуу шамал болуп, эски дарактын бутагы сынып калыптыр. Короодогу ит үрө баштады.""",
    "tt-Cyrl": """Базарда халык күп иде. Сатучылар җиләк-җимешне һәм яшелчәләрне тезеп куйганнар.
        Табиб авыруга даруны көнгә өч тапкыр эчәргә кушты. Кичә футбол ярышы булды, безнең команда җиңде.
        Китапта язылганча, бу күпер йөз ел элек төзелгән. Әгәр иртәгә көн аяз булса, урманга гөмбә җыярга барабыз.
        Төнлә көчле җил булды, карт агачның ботагы сынып төште. Дәү әни мичтә ипи пешерә.""",
    "tr-Latn": """Pazarda bugün çok insan vardı. Satıcılar meyve ve sebzeleri tezgâhlara dizmişti.
        Doktor hastaya ilacı günde üç kez içmesini söyledi. Dün futbol maçı oynandı, bizim takım kazandı.
        Kitapta yazdığına göre bu köprü yüz yıl önce yapılmış. Yarın hava açık olursa ormana mantar toplamaya gideceğiz.
        Gece kuvvetli bir rüzgâr çıktı, yaşlı ağacın dalı kırıldı. Çocuklar okuldan dönüyor.""",
    "az-Latn": """Bazarda bu gün adam çox idi. Satıcılar meyvə və tərəvəzləri piştaxtaların üstünə düzmüşdülər.
        Həkim xəstəyə dərmanı gündə üç dəfə içməyi tapşırdı. Dünən futbol oyunu oldu, bizim komanda uddu.
        Kitabda yazıldığı kimi, bu körpü yüz il əvvəl tikilib. Sabah hava açıq olsa, meşəyə göbələk yığmağa gedəcəyik.
        Gecə güclü külək əsdi, qoca ağacın budağı sındı. Uşaqlar məktəbdən qayıdırlar.""",
    "uz-Latn": """Bugun bozorda odam koʻp edi. Sotuvchilar meva va sabzavotlarni rastalarga terib qoʻyishgan.
        Shifokor bemorga dorini kuniga uch mahal ichishni aytdi. Kecha futbol oʻyini boʻldi, bizning jamoa yutdi.
        Kitobda yozilishicha, bu koʻprik yuz yil oldin qurilgan. Agar ertaga havo ochiq boʻlsa, oʻrmonga boramiz.
        Kechasi kuchli shamol turdi, keksa daraxtning shoxi sindi. Bolalar maktabdan qaytishyapti.""",
    "it-Latn": """Al mercato oggi c'era molta gente. I venditori avevano disposto frutta e verdura sui banchi.
        Il medico ha detto al malato di prendere la medicina tre volte al giorno. Ieri la nostra squadra ha vinto.
        Nel libro si legge che questo ponte fu costruito cento anni fa. Se domani è sereno, andremo nel bosco.
        La nonna cuoce il pane e in tutta la casa si sente un buon profumo. I bambini tornano da scuola.""",
    "en-Latn": """There were many people at the market today. The sellers had set out fruit and vegetables.
        The doctor told the patient to take the medicine three times a day. Yesterday our team won the match.
        The book says that this bridge was built a hundred years ago. If it is clear tomorrow, we will go for a walk.
        Grandmother is baking bread, and the whole house smells of it. The children are coming home from school.""",
}

REAL = {
    "kk-Cyrl": ("text/kk/heldout", "text"),
    "ru-Cyrl": ("text/ru/heldout", "text"),
    "tr-Latn": ("text/tr/heldout", "text"),
    "it-Latn": ("text/it/heldout", "text"),
    "en-Latn": ("text/en/heldout", "text"),
    "az-Latn": ("mc/tumlu-azerbaijani/test", "question"),
    "uz-Latn": ("mc/tumlu-uzbek/test", "question"),
}


def pieces(text: str, size: int, count: int) -> list[str]:
    """Return `count` pieces of `size` characters that begin with a word and are letters for the most part."""
    text, generator = " ".join(text.split()), random.Random(size)
    found: list[str] = []
    while len(found) < count:
        place = text.find(" ", generator.randrange(len(text) - size - 30)) + 1
        piece = text[place : place + size]
        if sum(map(str.isalpha, piece)) >= 0.6 * size:
            found.append(piece)
    return found


def accuracy(tag: str, text: str, size: int, count: int) -> float:
    some = pieces(text, size, count)
    return sum(identify(piece, LANGUAGES) == tag for piece in some) / count


@pytest.mark.parametrize("tag", sorted(SENTENCES))
def test_accuracy_on_sentences_of_the_repository(tag: str) -> None:
    text = SENTENCES[tag]
    assert accuracy(tag, text, 50, 60) >= 0.8  # a few Azerbaijani words could be Turkish
    assert accuracy(tag, text, 100, 30) >= 0.95
    wrong = [each.text for each in segments(" ".join(text.split()), LANGUAGES) if each.language not in (tag, None)]
    assert len(wrong) <= 1  # "Bazarda bu gün adam çox idi." is nearly Turkish


@pytest.mark.slow
@pytest.mark.parametrize("tag", sorted(REAL))
def test_accuracy_on_real_text(tag: str, data_dir: Path) -> None:
    name, column = REAL[tag]
    with gzip.open(data_dir / f"{name}.jsonl.gz", "rt", encoding="utf-8") as file:
        text = " ".join(json.loads(line)[column] for line in file)
    # what is undecided counts as wrong
    assert accuracy(tag, text, 20, 200) >= 0.87
    assert accuracy(tag, text, 50, 200) >= 0.97
    assert accuracy(tag, text, 100, 200) >= 0.98
    assert accuracy(tag, text, 200, 200) >= 0.99


@pytest.mark.slow
@pytest.mark.parametrize("tag", sorted(REAL))
def test_real_text_in_a_task_of_its_language_and_of_others(tag: str, data_dir: Path) -> None:
    """Of the task's own text nearly nothing is said to be in another language, of any other nearly all of it."""
    task = [each for each in LANGUAGES if each.tag == tag]
    for spoken, (name, column) in REAL.items():
        with gzip.open(data_dir / f"{name}.jsonl.gz", "rt", encoding="utf-8") as file:
            some = pieces(" ".join(json.loads(line)[column] for line in file), 100, 200)
        elsewhere = sum(identify(piece, task) not in (tag, None) for piece in some) / len(some)
        assert elsewhere <= 0.01 if spoken == tag else elsewhere >= 0.95, spoken


@pytest.mark.parametrize("text", ["", "  ", "123 + 4", "Сәлем!"])
def test_too_short_is_undecided(text: str) -> None:
    assert identify(text, LANGUAGES) is None


def test_no_candidates_and_domains_decide_nothing() -> None:
    text = SENTENCES["en-Latn"]
    assert identify(text, []) is None
    assert identify(text, [each for each in LANGUAGES if each.domain]) is None


def test_a_language_that_is_no_candidate_is_not_given_to_one_that_is_near() -> None:
    turkish = [each for each in LANGUAGES if each.tag in ("az-Latn", "uz-Latn")]
    assert identify(SENTENCES["tr-Latn"], turkish) == "tr"
    for text, code in (
        ("Le médecin a dit au malade de prendre le médicament trois fois par jour.", "fr"),
        ("日本語の文章はここにあります、長いけれど", "ja"),
        ("ئۇيغۇر تىلىدىكى بىر جۈملە", "ug"),
    ):
        assert identify(text, LANGUAGES) == code


def test_script_decides_before_letters() -> None:
    uzbek = [each for each in LANGUAGES if each.tag == "uz-Latn"]
    assert identify("Бугун бозорда одам кўп эди, сотувчилар мева ва сабзавотларни териб қўйишган", uzbek) == "uz"
    mixed = "Бұл мәтінде Windows пен Linux туралы айтылады"
    assert identify(mixed, LANGUAGES) == "kk-Cyrl"


def test_apostrophes_make_no_difference() -> None:
    for piece in [piece for size in (18, 24) for piece in pieces(SENTENCES["uz-Latn"], size, 200)]:
        assert identify(piece, LANGUAGES) == identify(piece.replace("ʻ", "'"), LANGUAGES)
    assert identify("Bugun bozorda odam ko‘p edi, sotuvchilar qo`shni qishloqdan", LANGUAGES) == "uz-Latn"


def test_capitals_make_no_difference() -> None:
    for piece in pieces(SENTENCES["tr-Latn"], 24, 60):
        assert identify(piece, LANGUAGES) == identify(piece.replace("i", "İ"), LANGUAGES)
    for tag, text in SENTENCES.items():
        assert identify(text.upper(), LANGUAGES) == tag


def test_what_two_languages_share_is_undecided() -> None:
    assert identify("Ата мен бала бар", LANGUAGES) is None  # Kazakh and Kyrgyz
    kazakh = [each for each in LANGUAGES if each.tag in ("kk-Cyrl", "ru-Cyrl")]
    assert identify("Ата мен бала бар", kazakh) == "kk-Cyrl"


@pytest.mark.parametrize(
    ("found", "language"),
    [
        ({"kk-Cyrl": 0.2, "ky": 0.8}, "kk-Cyrl"),  # four times as likely, and not more
        ({"kk-Cyrl": 0.19, "ky": 0.81}, "ky"),
        ({"kk-Cyrl": 0.1, "ru-Cyrl": 0.2, "bg": 0.4, "mk": 0.3}, "ru-Cyrl"),
        ({"kk-Cyrl": 0.3, "ru-Cyrl": 0.3, "bg": 0.4}, None),  # two candidates alike
        ({"kk-Cyrl": 0.31, "ru-Cyrl": 0.3, "bg": 0.39}, "kk-Cyrl"),
        ({"kk-Cyrl": 0.1, "ru-Cyrl": 0.1, "zxx": 0.8}, None),  # no language at all
        ({"kk-Cyrl": 0.1, "en-Latn": 0.8, "bg": 0.1}, "en"),  # its letters are not Latin ones
    ],
)
def test_the_rule_in_closed_form(
    found: dict[str, float], language: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(language_id, "shares", lambda *_: {"ky": 0.0, **found})
    candidates = [each for each in LANGUAGES if each.tag in found]
    assert identify("Ата мен бала бар екен", candidates) == language


def test_order_of_candidates_makes_no_difference() -> None:
    for text in SENTENCES.values():
        assert identify(text[:60], LANGUAGES) == identify(text[:60], LANGUAGES[::-1])


def test_segments_show_where_a_text_turns() -> None:
    text = "Біз бүгін таңертең ерте тұрып, тауға бардық. Потом мы долго шли по лесной дороге домой.\nЖоқ."
    assert [segment.language for segment in segments(text, LANGUAGES)] == ["kk-Cyrl", "ru-Cyrl", None]


def test_a_switch_inside_a_long_sentence_is_seen() -> None:
    kazakh = " ".join(SENTENCES["kk-Cyrl"].replace(".", "").split())
    russian = " ".join(SENTENCES["ru-Cyrl"].replace(".", "").split())
    found = [segment.language for segment in segments(f"{kazakh} {russian}", LANGUAGES)]
    assert found[0] == "kk-Cyrl"
    assert found[-1] == "ru-Cyrl"


@settings(max_examples=50)
@given(st.text(max_size=400))
def test_segments_lose_nothing_but_white_space(text: str) -> None:
    assert "".join("".join(part.text for part in segments(text, LANGUAGES[:2])).split()) == "".join(text.split())


def language(tag: str, script: str, profile: str = "") -> Language:
    cues = Cues(passage="P", question="Q", options="O", answer="A")
    return Language(tag=tag, name=tag, native_name=tag, script=script, alphabet="a", cues=cues, profile=profile)


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of an importable package, to put profiles into."""
    package = tmp_path / f"shelf_{tmp_path.name.replace('-', '_')}"
    package.mkdir()
    (package / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    return package


def test_without_a_profile_nothing_is_said() -> None:
    for each in LANGUAGES:
        assert (not untold(each)) == bool(each.profile and not each.domain)
        if untold(each):
            texts = [*SENTENCES.values(), "Qaraqalpaqstan Respublikası quramındaǵı suveren respublika"]
            assert {identify(text, [each]) for text in texts} == {None}
    assert untold(language("qab-Cyrl", "Cyrl")).startswith("qab-Cyrl has no profile")


def test_a_short_profile_says_nothing(shelf: Path) -> None:
    short = language("qab-Cyrl", "Cyrl", f"{shelf.name}/short.txt")
    (shelf / "short.txt").write_text("а" * (LEAST_PROFILE - 1), encoding="utf-8")
    assert untold(short).startswith(f"the profile of qab-Cyrl has {LEAST_PROFILE - 1} letters and {LEAST_PROFILE}")
    assert identify(SENTENCES["ru-Cyrl"], [short]) is None


# A language that no library knows: each letter of Turkish or Kazakh is another letter.
CIPHERS = {
    "Latn": ("tr-Latn", str.maketrans("abcçdefgğhıijklmnoöprsştuüvyz", "ojzkvıghxwequfbñpraćldśmiáytn")),
    "Cyrl": (
        "kk-Cyrl",
        str.maketrans("аәбвгғдежзийкқлмнңоөпрстуұүфхһцчшыіэюя", "уһкпсжтәмлбхвғнрдщіөгзқцаыеүшфчйюэияңо"),
    ),
}


@pytest.mark.parametrize("script", sorted(CIPHERS))
def test_a_language_that_the_library_lacks_is_learned_from_its_profile(script: str, shelf: Path) -> None:
    source, cipher = CIPHERS[script]
    mine = next(each for each in LANGUAGES if each.tag == source)
    (shelf / "own.txt").write_text(profile_text(mine.profile).lower().translate(cipher)[:6000], encoding="utf-8")
    own = language(f"qab-{script}", script, f"{shelf.name}/own.txt")
    candidates = [own, *LANGUAGES]
    unseen = SENTENCES[source].lower().translate(cipher)
    for size, least in ((20, 0.8), (50, 0.95), (100, 1.0)):
        some = pieces(unseen, size, 60)
        assert sum(identify(piece, candidates) == own.tag for piece in some) >= least * len(some)
        assert sum(identify(piece, [own]) == own.tag for piece in some) >= least * len(some)
    for tag, text in SENTENCES.items():  # and it takes nothing from the others
        some = pieces(text, 50, 30)
        assert sum(identify(piece, candidates) == own.tag for piece in some) == 0
        assert identify(text, [own]) not in (own.tag, None)
        assert identify(text, candidates) == tag


def test_a_learned_class_in_closed_form(shelf: Path) -> None:
    """Its n-grams have the probabilities (count + 1000 · mean of the five nearest classes) / (counts + 1000)."""
    text = profile_text(next(each for each in LANGUAGES if each.tag == "tr-Latn").profile).lower()
    (shelf / "own.txt").write_text(text.translate(CIPHERS["Latn"][1]), encoding="utf-8")
    profile = language_classes.profile_of("qab-Latn", f"{shelf.name}/own.txt")
    plain, learned = language_classes._identifier(()), language_classes._identifier((profile,))
    state, found = 0, Counter[int]()
    for byte in profile_text(profile.file).encode():
        state = plain.tk_nextmove[(plain.tk_row[state] << 8) + byte]
        found[plain.tk_output[state]] += 1
    del found[-1]
    table = plain.nb_ptc.astype(float)
    likely = [sum(count * table[gram, place] for gram, count in found.items()) for place in range(table.shape[1])]
    nearest = sorted(range(len(likely)), key=likely.__getitem__)[-5:]
    prior = np.exp(table[:, nearest]).mean(axis=1)
    wanted = 1000 * prior / prior.sum()
    for gram, count in found.items():
        wanted[gram] += count
    wanted /= found.total() + 1000
    assert learned.nb_classes == [*plain.nb_classes, "qab-Latn"]
    assert learned.nb_ptc[:, -1].astype(float) == pytest.approx(np.log(wanted), rel=2e-3)
    assert wanted.sum() == pytest.approx(1)


def test_a_profile_that_changes_is_learned_anew_and_decides(shelf: Path) -> None:
    own = language("qab-Latn", "Latn", f"{shelf.name}/own.txt")
    cipher = CIPHERS["Latn"][1]
    unseen = SENTENCES["tr-Latn"].lower().translate(cipher)
    found = []
    for tag, change in (("it-Latn", {}), ("tr-Latn", cipher)):
        text = profile_text(next(each for each in LANGUAGES if each.tag == tag).profile)
        (shelf / "own.txt").write_text(text.lower().translate(change), encoding="utf-8")
        found.append((identify(unseen, [own]), deciding([own])))
    assert [language for language, _ in found][1] == "qab-Latn" != found[0][0]
    assert found[0][1] != found[1][1]


def test_profiles_are_read_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "shelf"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "a.txt").write_text("bir iki", encoding="utf-8")
    (package / "a.jsonl").write_text('{"text": "bir"}\n{"text": "iki"}\n', encoding="utf-8")
    (package / "bad.txt").write_bytes(b"\xff\xfe")
    (package / "bad.jsonl").write_text('{"words": 3}\n', encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert profile_text("shelf/a.txt") == "bir iki"
    assert profile_text("shelf/a.jsonl") == "bir\niki"
    for name, reason in (("bad.txt", "not UTF-8"), ("bad.jsonl", "no 'text'"), ("none.txt", "has no file")):
        with pytest.raises(DataError, match=reason):
            profile_text(f"shelf/{name}")
    with pytest.raises(DataError, match="not installed"):
        profile_text("no_such_shelf/a.txt")

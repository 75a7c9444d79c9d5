"""Exams by id: the Hub's schemas, the old protocol with its faults beside the exams as they are, and the prompts."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
import regex

from tilbench.config.suite import Suite, Task
from tilbench.config.yaml import load
from tilbench.data.dataset import Dataset
from tilbench.data.resolve import Rows, load_rows
from tilbench.data.rows import Pair, Question
from tilbench.errors import DataError
from tilbench.evaluation.plan import PlannedTask, plan_tasks
from tilbench.kinds.requests import Continuation, Document
from tilbench.loader import Host
from tilbench.testing.toys import ToyLanguageModel
from tilbench_datasets.causes import Connected
from tilbench_datasets.exams import exam_datasets
from tilbench_datasets.legacy12 import Legacy12
from tilbench_metrics_likelihood.choice import ChoiceSettings

ROOT = Path(__file__).parents[2]
UNT = "kz-transformers/kazakh-unified-national-testing-mc/biology"

# Question, options A …, key. Written for this test in the schema of the Unified National Testing.
BIOLOGY: list[tuple[str, list[str], str]] = [
    ("Адам денесіндегі қанды айдайтын мүше қайсы?", ["жүрек", "өкпе", "бауыр", "бүйрек"], "A"),
    (
        "Фотосинтез өсімдіктің негізінен қай мүшесінде жүреді?",
        ["тамырында", "жапырағында", "гүлінде", "тұқымында"],
        "B",
    ),
    ("Адамның тыныс алу мүшесі қайсы?", ["жүрек", "өкпе", "асқазан", "бүйрек"], "Б"),
    ("Оттекті тасымалдайтын қан жасушасы қайсы?", ["лейкоцит", "тромбоцит", "эритроцит", "лимфоцит"], "С"),
    ("Қанның ұюына қатысатын қан жасушасы қайсы?", ["эритроцит", "лейкоцит", "лимфоцит", "тромбоцит"], "D"),
    ("Төмендегілердің қайсысы сүтқоректі емес?", ["кит", "жарқанат", "қоян", "кірпі", "тотықұс"], "E"),
    ("Балықтар немен тыныс алады?", ["желбезекпен", "өкпемен", "демтүтікпен", "терімен"], "А"),
    (
        "Өсімдік жасушасына жасыл түс беретін зат қайсы?",
        ["крахмал", "хлорофилл", "целлюлоза", "инсулин", "гликоген", "меланин", "каротин", "гемоглобин"],
        "B",
    ),
]
CYRILLIC = {"А": "A", "Б": "B", "С": "C"}
KEPT_BY_THE_FORK = ["2", "3", "4", "5", "8"]
"""Not 1 and 7, whose answer is A (7 in Cyrillic), and not 6, whose answer is E."""


def right(number: int) -> str:
    """Return the text of the right option."""
    _, options, key = BIOLOGY[number]
    return options["ABCDEFGH".index(CYRILLIC.get(key, key))]


def unt_rows() -> list[dict[str, str | None]]:
    rows = []
    for question, options, key in BIOLOGY:
        padded = [*options, *[None] * (8 - len(options))]
        rows.append(
            {
                "question": question,
                **dict(zip("ABCDEFGH", padded, strict=True)),
                "correct_answer": key,
                "subject": "biology",
            }
        )
    return rows


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Return a data directory with the split biology, as the Hub has it."""
    file = tmp_path / f"{UNT}.parquet"
    file.parent.mkdir(parents=True)
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(unt_rows()), file)
    return tmp_path


@pytest.fixture
def read(host: Host, tmp_path: Path) -> Callable[..., Rows]:
    """Return a function that reads a registered dataset from rows in its source's own columns."""

    def read(name: str, *rows: Mapping[str, Any]) -> Rows:
        file = tmp_path / f"{name}.jsonl"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
        return load_rows(name, host.registry.datasets.get(name), tmp_path)

    return read


def questions(rows: Rows) -> list[Question]:
    return [row for row in rows.rows if isinstance(row, Question)]


def planned(suite: str, task: str, host: Host, data: Path) -> PlannedTask:
    loaded = load(ROOT / "suites" / f"{suite}.yaml", Suite)
    (one,) = plan_tasks(loaded, [each for each in loaded.tasks if each.name == task], host.registry, data)
    assert not one.missing
    return one


def asked(task: PlannedTask, row: str) -> list[tuple[str, str]]:
    """Return context and continuation of everything that is asked about a row."""
    return [(each.context, each.continuation) for each in task.requests[row] if isinstance(each, Continuation)]


def scored(task: PlannedTask) -> Mapping[str, Any]:
    """Return the task's values as a deterministic toy model earns them."""
    assert task.metric is not None
    model = ToyLanguageModel()
    answers = {row.id: [model.one(request) for request in task.requests[row.id]] for row in task.rows}
    values = task.metric.aggregate([task.metric.score(row, answers[row.id]) for row in task.rows])
    return {name: asdict(value) for name, value in values.items()}


# The Unified National Testing, as it is


def test_all_rows_are_kept_with_their_own_options_and_chance(host: Host, data: Path) -> None:
    task = planned("kazakh", "kk_unt_biology", host, data)
    for number, (row, (question, options, _)) in enumerate(zip(task.rows, BIOLOGY, strict=True)):
        assert isinstance(row, Question)
        assert (row.question, list(row.choices)) == (question, options)
        assert row.choices[row.answer] == right(number)
    assert scored(task)["acc"]["chance"] == pytest.approx((6 / 4 + 1 / 5 + 1 / 8) / 8)
    assert scored(task)["acc"]["n"] == 8
    assert task.used.dataset.total == 8


# The old protocol


def legacy(seed: int = 0) -> Legacy12:
    return Legacy12(question="question", options=tuple("ABCD"), answer="correct_answer", seed=seed)


def raw() -> list[dict[str, str | None]]:
    return [{"id": str(number), **row} for number, row in enumerate(unt_rows(), start=1)]


def test_the_old_protocol_drops_what_the_fork_dropped(host: Host, data: Path) -> None:
    task = planned("kazakh-legacy", "kk_legacy12_biology", host, data)
    assert [row.id for row in task.rows] == KEPT_BY_THE_FORK
    rows = load_rows("kk_legacy12_biology", host.registry.datasets.get("kk_legacy12_biology"), data)
    assert (rows.total, rows.source_total) == (5, 8)


def test_the_old_protocol_has_twelve_options_of_three_rows(host: Host, data: Path) -> None:
    task = planned("kazakh-legacy", "kk_legacy12_biology", host, data)
    for row in task.rows:
        assert isinstance(row, Question)
        number = int(row.id) - 1
        others = {0: (1, 2), 7: (6, 5)}.get(number, (number - 1, number + 1))
        near = [BIOLOGY[each][1][:4] for each in (number, *others)]
        assert sorted(row.choices) == sorted(option for options in near for option in options)
        assert row.choices[row.answer] == right(number)
    assert scored(task)["acc"]["chance"] == pytest.approx(1 / 12)


def test_the_old_protocol_takes_the_first_of_equal_texts_for_right() -> None:
    """`тромбоцит` is an option of rows 4 and 5, the answer of row 5."""
    for seed in range(30):
        (row,) = [row for row in legacy(seed)(raw()) if row["id"] == "5"]
        places = [place for place, choice in enumerate(row["choices"]) if choice == "тромбоцит"]
        assert len(places) == 2
        assert row["answer"] == places[0]


def test_the_old_split_of_all_subjects_is_biology_again(host: Host, data: Path) -> None:
    one, other = (planned("kazakh-legacy", f"kk_legacy12_{name}", host, data) for name in ("biology", "unified"))
    assert one.rows == other.rows
    assert one.used.fingerprint == other.used.fingerprint
    assert scored(one) == scored(other)


def test_the_old_shuffle_is_seeded() -> None:
    assert legacy()(raw()) == legacy()(raw())
    assert legacy()(raw()) != legacy(1)(raw())
    assert [row["id"] for row in legacy(1)(raw())] == KEPT_BY_THE_FORK


def test_the_old_protocol_prints_none_for_an_option_that_is_not_there() -> None:
    rows = raw()
    rows[1] = {**rows[1], "D": None, "C": ""}
    (row,) = [row for row in legacy()(rows) if row["id"] == "2"]
    assert row["choices"].count("None") == 2
    assert len(row["choices"]) == 12


def test_the_old_prompt_to_the_character(host: Host, data: Path) -> None:
    task = planned("kazakh-legacy", "kk_legacy12_biology", host, data)
    row = task.rows[0]
    assert isinstance(row, Question)
    listed = "".join(f"\n{letter}. {text}" for letter, text in zip("ABCDEFGHIJKL", row.choices, strict=True))
    wanted = [(f"{BIOLOGY[1][0]}{listed}\nЖауап:", f" {letter}") for letter in "ABCDEFGHIJKL"]
    assert asked(task, row.id) == wanted


OPTIONS = [
    ["Президент", "Парламент", "Үкімет", "Мәслихат"],
    ["бес", "алты", "жеті", "сегіз"],
    ["ай", "күн", "жыл", "апта"],
]
FOUR = Legacy12(question="Question", options=tuple(f"Option {each}" for each in "ABCD"), answer="Correct Answer")


def constitution(*keys: str) -> list[dict[str, str]]:
    """Return rows as kazakh-constitution-mc has them, with these keys."""
    return [
        {
            "Question": f"{number}-сұрақ?",
            **{f"Option {'ABCD'[place]}": f"{text} {number}" for place, text in enumerate(OPTIONS[number % 3])},
            "Correct Answer": key,
        }
        for number, key in enumerate(keys)
    ]


def test_the_old_protocol_on_the_sets_of_four_options(read: Callable[..., Rows]) -> None:
    rows = constitution("B", "C", "D")
    whole, old = (questions(read(name, *rows)) for name in ("kk_constitution", "kk_legacy12_constitution"))
    assert [row.answer for row in whole] == [1, 2, 3]
    assert [row.choices[row.answer] for row in old] == ["Парламент 0", "жеті 1", "апта 2"]
    everything = sorted(f"{text} {number}" for number, texts in enumerate(OPTIONS) for text in texts)
    assert [sorted(row.choices) for row in old] == [everything] * 3  # of three rows, each has the options of all


def test_the_old_protocol_keeps_answers_that_are_written_as_a_text(read: Callable[..., Rows]) -> None:
    rows = constitution("Парламент 0", "бес 1", "жыл 2", "answerD", "Жоқ мұндай", "answerA", "Д", "В")
    old = questions(read("kk_legacy12_constitution", *rows))
    assert {row.id: row.choices[row.answer] for row in old} == {
        "1": "Парламент 0",  # the second option; the text of the first is dropped like the letter A
        "3": "жыл 2",
        "4": "Мәслихат 3",
        "7": "Мәслихат 6",
    }


def test_the_old_protocol_finds_no_text_where_the_key_is_not_the_last_column() -> None:
    """The key is among the columns that are searched, and is found at its own place, which is no option's."""
    rows = [{**row, "id": str(number)} for number, row in enumerate(constitution("Парламент 0", "C", "D"))]
    assert [row["id"] for row in FOUR(rows)] == ["0", "1", "2"]
    assert [row["id"] for row in FOUR([{**row, "Subject": "заң"} for row in rows])] == ["1", "2"]


def test_the_old_protocol_takes_the_nearest_two_rows_at_either_end() -> None:
    rows = [{**row, "id": str(number)} for number, row in enumerate(constitution("B", "B", "B", "B", "B"))]
    made = Legacy12(question="Question", options=tuple(f"Option {each}" for each in "ABCD"), answer="Correct Answer")(
        rows
    )
    of = [sorted({int(choice.split()[-1]) for choice in row["choices"]}) for row in made]
    assert of == [[0, 1, 2], [0, 1, 2], [1, 2, 3], [2, 3, 4], [2, 3, 4]]
    with pytest.raises(DataError, match="needs 3 rows, whose options it mixes; there are 2"):
        legacy()(raw()[:2])


def test_the_old_protocol_names_a_column_that_is_missing(read: Callable[..., Rows]) -> None:
    with pytest.raises(DataError, match=r"kk_legacy12_mmlu\.jsonl: row '1' has no column 'Option A'; has "):
        read("kk_legacy12_mmlu", *[{"Question": "?", "A": "x"}] * 3)


def test_eleven_old_tasks_read_ten_sets(host: Host) -> None:
    suite = load(ROOT / "suites" / "kazakh-legacy.yaml", Suite)
    sources = [host.registry.datasets.get(str(task.dataset)) for task in suite.tasks]
    assert len(sources) == 11
    assert len({(source.hub, source.split) for source in sources}) == 10
    (macro,) = suite.macros
    assert len(macro.tasks) == 10
    assert "kk_legacy12_unified" not in macro.tasks


# The Hub's schemas


def test_belebele_counts_from_one_and_clusters_by_passage(read: Callable[..., Rows]) -> None:
    row = {
        "link": "https://example.org/page",
        "question_number": 2,
        "flores_passage": "Ырымчыл киши катуу жамгырдан корккон.",
        "question": "Киши эмнеден корккон?",
        **{f"mc_answer{number}": word for number, word in enumerate(("шамалдан", "жамгырдан", "кардан", "күндөн"), 1)},
        "correct_answer_num": "2",
        "dialect": "kir_Cyrl",
    }
    (found,) = questions(read("mc/belebele-kyrgyz/test", row))
    assert (found.id, found.cluster) == ("https://example.org/page#2", "https://example.org/page")
    assert found.choices[found.answer] == "жамгырдан"
    assert found.passage == row["flores_passage"]


def test_include_counts_from_zero(read: Callable[..., Rows]) -> None:
    options = dict(
        zip(("option_a", "option_b", "option_c", "option_d"), ("Roma", "Milano", "Torino", "Bari"), strict=True)
    )
    row = {"question": "Qual è la capitale d'Italia?", **options, "answer": 0, "subject": "Geography"}
    (found,) = questions(read("mc/include-italian/test", row))
    assert (found.choices[found.answer], found.subject) == ("Roma", "Geography")


def test_kazmmlu_has_four_or_five_options(read: Callable[..., Rows]) -> None:
    row = {
        "Question": "Судың формуласы қандай?",
        "Option A": "CO2",
        "Option B": "O2",
        "Option C": "NaCl",
        "Option D": "H2O",
    }
    four = {**row, "Option E": None, "Answer Key": "D"}
    five = {**row, "Option E": "H2SO4", "Answer Key": "D"}
    found = questions(read("kazmmlu/chemistry/test", four, five))
    assert [(len(each.choices), each.choices[each.answer]) for each in found] == [(4, "H2O"), (5, "H2O")]


def test_turkishmmlu_has_five_options(read: Callable[..., Rows]) -> None:
    choices = ["İzmir", "Bursa", "Ankara", "Konya", "Adana"]
    row = {"question": "Türkiye'nin başkenti neresidir?", "choices": choices, "answer": "C", "subject": "Geography"}
    (found,) = questions(read("turkishmmlu/geography/test", row))
    assert (len(found.choices), found.choices[found.answer]) == (5, "Ankara")


def test_multiblimp_scores_two_whole_sentences(host: Host, read: Callable[..., Rows], tmp_path: Path) -> None:
    rows = read("multiblimp/kk", {"sen": "Біз мектепке барамыз.", "wrong_sen": "Біз мектепке барамын."})
    assert rows.rows == (Pair("1", "Біз мектепке барамыз.", "Біз мектепке барамын."),)
    task = planned("kazakh", "multiblimp-kk", host, tmp_path)
    assert list(task.requests["1"]) == [Document("Біз мектепке барамыз."), Document("Біз мектепке барамын.")]


def test_kazmmlu_has_every_subject_that_was_published() -> None:
    configs = {dataset.config for _, dataset in exam_datasets() if dataset.hub == "MBZUAI/KazMMLU"}
    assert len([config for config in configs if config.endswith("in kaz)")]) == 12
    assert len([config for config in configs if config.endswith("in rus)")]) == 25


# Causes and effects

CAUSES = {
    "it": [
        {
            "premise": "La strada era bagnata.",
            "question": "cause",
            "choice1": "Aveva piovuto.",
            "choice2": "Era estate.",
        },
        {"premise": "Il bicchiere cadde.", "question": "effect", "choice1": "Si ruppe.", "choice2": "Era vuoto."},
    ],
    "tr": [
        {"premise": "Yol ıslaktı.", "question": "cause", "choice1": "Yağmur yağmıştı.", "choice2": "Hava sıcaktı."},
        {"premise": "Bardak yere düştü.", "question": "effect", "choice1": "Kırıldı.", "choice2": "Boştu."},
    ],
}


@pytest.mark.parametrize("language", CAUSES)
def test_xcopa_is_asked_as_lm_eval_asks_it(
    language: str, read: Callable[..., Rows], host: Host, tmp_path: Path
) -> None:
    from lm_eval.tasks.xcopa import utils

    documents = [{**row, "label": label, "idx": label} for label, row in enumerate(CAUSES[language])]
    read(f"xcopa/{language}", *documents)
    suite = {"it": "english-italian", "tr": "turkish"}[language]
    task = planned(suite, f"xcopa-{language}", host, tmp_path)
    for row, document in zip(task.rows, documents, strict=True):
        prompt = getattr(utils, f"doc_to_text_{language}")(document)
        assert asked(task, row.id) == [(prompt, f" {choice}") for choice in utils.doc_to_choice(document)]
        assert row.answer == document["label"]  # type: ignore[union-attr]


def test_turkish_capitals_become_turkish_small_letters(read: Callable[..., Rows]) -> None:
    """Where lm-eval writes `i̇nsanlar` with two signs, and `işık` for `Işık`."""
    row = {"premise": "Oda aydınlandı.", "question": "cause", "choice1": "Işık yandı.", "choice2": "İnsanlar gitti."}
    (found,) = questions(read("xcopa/tr", {**row, "label": 0}))
    assert found.choices == ("ışık yandı.", "insanlar gitti.")


def test_kkcopa_joins_with_kazakh_connectives(read: Callable[..., Rows]) -> None:
    row = {"a1_contents_kz": "Бұл мереке болды.", "a2_contents_kz": "Бұл жаз болды.", "correct_answers": "1"}
    cause = {**row, "p_contents_kz": "Кеңсе жабылды.", "asks-for_eng": "cause"}
    effect = {**row, "p_contents_kz": "Кеңсе жабылды.", "asks-for_eng": "effect", "correct_answers": "2"}
    first, second = questions(read("kk_copa", cause, effect))
    assert (first.question, first.choices[first.answer]) == ("Кеңсе жабылды, себебі", "бұл мереке болды.")
    assert (second.question, second.choices[second.answer]) == ("Кеңсе жабылды, сондықтан", "бұл жаз болды.")
    with pytest.raises(DataError, match="is 'why', not cause or effect"):
        read("kk_copa", {**cause, "asks-for_eng": "why"})
    with pytest.raises(DataError, match="has no 'correct_answers'"):
        read("kk_copa", {**cause, "correct_answers": None})


# Every prompt


def exam_tasks() -> Iterator[tuple[str, Task]]:
    for path in sorted((ROOT / "suites").glob("*.yaml")):
        for task in load(path, Suite).tasks:
            if task.metric == "choice":
                yield f"{path.stem}/{task.name}", task


EXAMS = dict(exam_tasks())


@pytest.mark.parametrize("name", EXAMS)
def test_cue_words_are_of_the_language_and_its_script(name: str, host: Host) -> None:
    task = EXAMS[name]
    settings = ChoiceSettings(**task.settings)
    language = host.registry.languages.get(task.language)
    overrides = settings.cues.model_dump(exclude_none=True)
    words = [{**asdict(language.cues), **overrides}[cue] for cue in ("passage", "question", "answer")]
    dataset = host.registry.datasets.get(task.dataset) if isinstance(task.dataset, str) else task.dataset
    assert isinstance(dataset, Dataset)
    if isinstance(dataset.prepare, Connected):
        words += [dataset.prepare.cause, dataset.prepare.effect]
    letters = regex.findall(r"\p{L}", " ".join([*words, settings.instruction]))
    assert letters
    assert {letter.lower() for letter in letters} <= set(language.alphabet)
    script = {"Cyrl": "Cyrillic", "Latn": "Latin", "Arab": "Arabic"}[language.script]
    assert not regex.findall(rf"\P{{Script={script}}}", "".join(letters))


def test_the_document_names_what_there_is(host: Host) -> None:
    text = (ROOT / "docs" / "exams.md").read_text(encoding="utf-8")
    registered = set(host.registry.datasets.names())
    named = set(regex.findall(r"`(kk_(?!unified)[a-z0-9_]+)`", text))
    assert len(named) == 22
    assert named == {name for name in registered if name.startswith("kk_")}
    patterns = set(regex.findall(r"`([a-z-]+/[a-zA-Z/-]+)`", text)) - {"multiblimp/CODE"}
    for pattern in patterns:
        form = regex.escape(pattern).replace("LANGUAGE", "[a-z-]+").replace("SUBJECT", "[a-z-]+")
        assert any(regex.fullmatch(form, name) for name in registered), pattern

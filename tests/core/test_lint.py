"""Lint: every rule says nothing of good data, and names its fault with numbers in bad data."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
import scipy.stats
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tilbench.config.suite import Suite
from tilbench.data.dataset import Dataset
from tilbench.data.rows import Document, Prompt, Question, Row
from tilbench.kinds.language import Language
from tilbench.lint import answers, options, texts
from tilbench.lint.chi_square import goodness_of_fit, independence, normal_tail, survival
from tilbench.lint.finding import Fault, Finding
from tilbench.lint.letters import disguised, mixed
from tilbench.lint.lint import lint
from tilbench.lint.rules import DATASET_RULES, SUITE_RULES, TASK_RULES
from tilbench.lint.subjects import DatasetSubject
from tilbench.loader import Host

DatasetRule = Callable[[DatasetSubject], Iterator[Fault]]
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def kazakh(host: Host) -> Language:
    found: Language = host.registry.languages.get("kk-Cyrl")
    return found


def question(number: int, answer: int = 0, *choices: str, text: str = "", passage: str = "") -> Question:
    texts = choices or tuple(f"нұсқа {number} {place}" for place in range(4))
    return Question(f"q{number}", text or f"Бұл {number} сұрақ қалай?", texts, answer, passage=passage)


def questions(count: int = 100) -> list[Question]:
    """Good ones: every option its own, all as long as one another, right answers evenly spread."""
    return [question(number + 100, number % 4) for number in range(count)]


def faults(rule: DatasetRule, rows: Sequence[Row], language: Language | None = None, **more: Any) -> list[Fault]:
    return list(rule(DatasetSubject("mine", Dataset(**more.pop("dataset", {})), rows, language, **more)))


def one(rule: DatasetRule, rows: Sequence[Row], language: Language | None = None, **more: Any) -> Fault:
    (fault,) = faults(rule, rows, language, **more)
    return fault


@pytest.mark.parametrize("rule", DATASET_RULES, ids=lambda rule: rule.id)
def test_good_questions_and_texts_have_no_finding(rule: Any, kazakh: Language) -> None:
    documents = [Document(str(number), f"Бұл {number} мәтін таза қазақ тілінде жазылған.") for number in range(5)]
    prompts = [Prompt(str(number), f"{number} күні таңертең") for number in range(5)]
    for rows in (questions(), documents, prompts):
        assert not faults(rule.check, rows, kazakh)


# Tests of significance


@given(st.floats(0, 400), st.integers(1, 60))
def test_p_of_chi_square_is_that_of_scipy_stats(statistic: float, freedom: int) -> None:
    expected = scipy.stats.chi2.sf(statistic, freedom)
    assert survival(statistic, freedom) == pytest.approx(expected, rel=1e-9, abs=1e-13)


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(5, 50)), min_size=2, max_size=8))
def test_tables_are_tested_as_scipy_tests_them(columns: list[tuple[int, int]]) -> None:
    table = [[one for one, _ in columns], [other for _, other in columns]]
    if sum(table[0]) == 0:
        assert independence(table) == (0.0, 1.0)
        return
    expected = scipy.stats.chi2_contingency(table, correction=False)
    assert independence(table) == pytest.approx((expected.statistic, expected.pvalue), rel=1e-9, abs=1e-13)


@given(st.lists(st.integers(0, 40), min_size=2, max_size=6))
def test_counts_are_tested_as_scipy_tests_them(observed: list[int]) -> None:
    total = sum(observed)
    if total < 5 * len(observed):
        return
    expected = scipy.stats.chisquare(observed)
    found = goodness_of_fit(observed, [total / len(observed)] * len(observed))
    assert found == pytest.approx((expected.statistic, expected.pvalue), rel=1e-9, abs=1e-13)


def test_cells_with_little_expected_are_put_together() -> None:
    assert goodness_of_fit([30, 10, 3, 1], [36, 6, 1, 1]) == pytest.approx(goodness_of_fit([30, 14], [36, 8]))
    assert goodness_of_fit([3, 1], [2, 2]) == (0.0, 1.0)
    assert normal_tail(1.959963984540054) == pytest.approx(0.05)


# Right answers


def source(rows: Sequence[Question], labels: Mapping[str, str] = {}) -> list[dict[str, Any]]:
    """Rows as a source may have them, under columns of any names."""
    return [
        {
            "id": row.id,
            "soru": row.question,
            **{f"secenek {place}": text for place, text in enumerate(row.choices)},
            "dogru": labels.get(row.id, "ABCD"[row.answer]),
            "konu": "fen",
        }
        for row in rows
    ]


def test_answers_lost_by_their_letter_are_named_with_the_test() -> None:
    rows = questions()
    kept = [row for row in rows if row.answer != 0]
    fault = one(answers.answers_lost, kept, source=source(rows))
    assert "25 of 100 (25.0%) rows of the source are lost" in fault.message
    assert "every one of the 25 with answer A" in fault.message
    assert "p < 0.001" in fault.message
    assert len(fault.rows) == 25
    assert not faults(answers.rows_lost, kept, source=source(rows))
    assert not faults(answers.answers_lost, rows, source=source(rows))


def test_an_answer_that_is_a_zero_is_lost_as_an_a_is() -> None:
    rows = questions()
    numbers: Any = {row.id: row.answer for row in rows}
    fault = one(answers.answers_lost, [row for row in rows if row.answer], source=source(rows, numbers))
    assert "every one of the 25 with answer 0" in fault.message


def test_rows_with_ids_of_their_own_cannot_be_told_from_lost_ones() -> None:
    rows = questions()
    renamed = [replace(row, id=f"my {row.id}") for row in rows]
    assert not faults(answers.answers_lost, renamed, source=source(rows))
    assert not faults(answers.rows_lost, renamed, source=source(rows))


def test_rows_lost_whatever_their_answer_are_another_finding() -> None:
    rows = questions()
    fault = one(answers.rows_lost, rows[8:], source=source(rows))
    assert "8 of 100" in fault.message
    assert not faults(answers.answers_lost, rows[8:], source=source(rows))


def test_answers_of_the_source_that_name_no_option() -> None:
    rows = questions()
    fault = one(answers.source_unanswered, rows, source=source(rows, {"q107": "", "q108": "?"}))
    assert fault.rows == ["q107", "q108"]


def test_uneven_answers() -> None:
    rows = [replace(row, answer=3 if number % 2 else row.answer) for number, row in enumerate(questions())]
    assert "the right answer is D in 50 of 100 (50.0%)" in one(answers.unbalanced, rows).message


def test_uneven_numbers_of_options_are_no_uneven_answers() -> None:
    five = [question(number, number % 5, *(f"{number} {place}" for place in range(5))) for number in range(25)]
    two = [question(number, number % 2, f"{number} иә", f"{number} жо") for number in range(100, 200)]
    assert not faults(answers.unbalanced, [*five, *two])
    assert "2 options 100, 5 options 25" in one(answers.options_vary, [*five, *two]).message
    assert "44.0%" in one(answers.options_vary, [*five, *two]).message


@pytest.mark.parametrize(("word", "text"), [("longest", "өте ұзын жауап"), ("shortest", "а")])
def test_length_gives_the_answer_away(word: str, text: str) -> None:
    draw = random.Random(0)
    rows = []
    for number in range(100):
        place = draw.randrange(4)
        choices = [f"нұсқа {number}{each}"[: 6 + each] for each in range(4)]
        if number % 2:
            choices[place] = text
        rows.append(question(number, place, *choices))
    fault = one(answers.length_gives_away, rows)
    assert f"always the {word} option would answer" in fault.message
    assert "chance 25.0%" in fault.message


# Options


def test_a_wrong_option_with_the_right_text() -> None:
    rows = [*questions(), question(1, 2, "су", "от", "ауа", "ауа ")]
    assert one(options.answer_repeated, rows).rows == ["q1"]
    assert not faults(options.answer_alike, rows)


def test_a_wrong_option_that_differs_in_nothing_one_reads() -> None:
    rows = [*questions(), question(1, 0, "Абай Құнанбайұлы", "«абай  құнанбайұлы».", "Шоқан", "Мұхтар")]
    assert one(options.answer_alike, rows).rows == ["q1"]
    genes = [question(1, 0, "AA", "Aa", "aa", "AB"), question(2, 0, "x²", "x2", "2x", "x")]
    assert not faults(options.answer_alike, [*questions(), *genes])


def test_wrong_options_of_one_text() -> None:
    rows = [*questions(), question(1, 0, "су", "от", "от", "ауа")]
    assert one(options.options_repeated, rows).rows == ["q1"]
    assert not faults(options.answer_repeated, rows)


def padded(rows: Sequence[Question]) -> list[Question]:
    """Give each question the options of its neighbours too."""
    return [
        replace(row, choices=(*row.choices, *rows[place - 1].choices, *rows[(place + 1) % len(rows)].choices))
        for place, row in enumerate(rows)
    ]


def test_options_that_the_source_has_not() -> None:
    rows = questions()
    fault = one(options.options_added, padded(rows), source=source(rows))
    assert "have 12 options, and the source has 4: chance falls from 25.0% to 8.3%" in fault.message
    assert not faults(options.options_added, rows, source=source(rows))


def test_options_of_neighbouring_questions_are_seen_without_the_source() -> None:
    assert "are mixed in" in one(options.options_shared, padded(questions())).message
    same = [question(number, number % 4, "бір", "екі", "үш", "төрт") for number in range(20)]
    assert not faults(options.options_shared, same)  # one set of options for all is no mixture


def test_options_that_are_a_missing_value(host: Host) -> None:
    rows = [*questions(), question(1, 0, "су", "None", "nan", "ауа")]
    fault = one(options.no_text, rows)
    assert "'None' 1 times, 'nan' 1 times" in fault.message
    assert not faults(options.no_text, rows, host.registry.languages.get("code"))


# Texts


def test_repeated_rows_whatever_the_order_of_their_options() -> None:
    rows = [question(1, 0, "су", "от", "ауа"), question(2, 1, "от", "су", "ауа", text="Бұл 1 сұрақ қалай?")]
    assert one(texts.duplicates, [*questions(), *rows]).rows == ["q2"]
    assert not faults(texts.contradictions, rows)


def test_one_question_with_two_answers() -> None:
    rows = [question(1, 0, "су", "от", "ауа"), question(2, 0, "от", "су", "ауа", text="Бұл 1 сұрақ қалай?")]
    assert set(one(texts.contradictions, [*questions(), *rows]).rows) == {"q1", "q2"}
    assert not faults(texts.duplicates, rows)


def test_texts_that_say_nothing() -> None:
    assert one(texts.too_short, [*questions(), question(1, text="$$")]).rows == ["q1"]
    assert not faults(texts.too_short, [question(1, 0, "1", "2", "3")])


def test_prompts_that_end_in_a_space() -> None:
    assert one(texts.ends_in_space, [Prompt("a", "Ертеде "), Prompt("b", "Ертеде")]).rows == ["a"]


def test_runs_of_spaces(host: Host) -> None:
    rows = [question(1, text="Бұл  қалай?"), question(2)]
    assert one(texts.double_spaces, rows).rows == ["q1"]
    assert not faults(texts.double_spaces, rows, host.registry.languages.get("code"))


def test_look_alike_letters_are_told_with_their_words(kazakh: Language) -> None:
    rows = [*questions(), question(1, text="Cұрақ: ең биік тау қайсы?"), question(2, text="Бiр жыл қанша ай?")]
    fault = one(texts.homoglyphs, rows, kazakh)
    assert fault.rows == ["q1", "q2"]
    assert "'Cұрақ' (Latin C)" in fault.message
    assert "'Бiр' (Latin i)" in fault.message


def test_what_is_rightly_of_two_scripts_is_left_alone(kazakh: Language) -> None:
    fine = "CO2 H2O pH IT-маман Google-дың Googleдың 5кВт мA xу NaOH XIX DNA-сы °C OPEC WiFi кДж"
    assert not faults(texts.homoglyphs, [question(1, 0, "A", "B", "C", "D", text=fine)], kazakh)


def test_a_whole_word_in_look_alikes_is_one_where_the_same_text_has_it_rightly(host: Host, kazakh: Language) -> None:
    latin = "copa"
    assert disguised(["copa", "сора"], kazakh) == {latin}
    assert not disguised(["copa", "apex", "ABC", "АВС"], kazakh)
    turkish = host.registry.languages.get("tr-Latn")
    assert mixed("sоru", turkish)  # with a Cyrillic о
    assert not mixed("soru", turkish)


def test_rows_in_another_script_than_their_language(kazakh: Language) -> None:
    rows = [Document(str(number), "Bul mätin latyn ärpimen jazylğan.") for number in range(4)]
    assert "4 of 4" in one(texts.other_script, rows, kazakh).message


# Suites, through the files that a user has


def exam(path: Path, rows: Sequence[Question]) -> str:
    lines = [
        {"id": row.id, "question": row.question, "choices": row.choices, "answer": row.answer, "passage": row.passage}
        for row in rows
    ]
    path.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), encoding="utf-8")
    return str(path)


def task(name: str, dataset: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "metric": "choice", "dataset": dataset, "language": "kk-Cyrl", **more}


@pytest.fixture
def found(tmp_path: Path, host: Host) -> Callable[..., list[Finding]]:
    """Return a function that lints a suite of these tasks."""

    def find(*tasks: Mapping[str, Any], **more: Any) -> list[Finding]:
        path = tmp_path / "suite.yaml"
        path.write_text(yaml.safe_dump({"name": "s", "tasks": list(tasks), **more}, allow_unicode=True), "utf-8")
        return list(lint(str(path), host.registry, None))

    return find


def rules(findings: Sequence[Finding]) -> list[str]:
    return [finding.rule for finding in findings]


def test_a_good_suite_is_clean(tmp_path: Path, found: Callable[..., list[Finding]]) -> None:
    test, dev = exam(tmp_path / "test.jsonl", questions()), exam(tmp_path / "dev.jsonl", [question(1), question(2)])
    tasks = [
        task("letter", test, settings={"instruction": "Дұрыс жауапты таңдаңыз."}, shots=1, examples=dev),
        task("cloze", test, settings={"form": "cloze"}),
    ]
    assert found(*tasks) == []


def test_two_names_for_one_task(tmp_path: Path, found: Callable[..., list[Finding]]) -> None:
    one, other = exam(tmp_path / "a.jsonl", questions()), exam(tmp_path / "b.jsonl", questions())
    macro = {"name": "mean", "tasks": ["biology", "all"], "value": "acc"}
    (finding,) = found(task("biology", one), task("all", other), macros=[macro])
    assert finding.rule == "same-task"
    assert "tasks biology and all are one task" in finding.message
    assert "macro mean counts it 2 times" in finding.message


def test_a_macro_that_counts_rows_twice(tmp_path: Path, found: Callable[..., list[Finding]]) -> None:
    test = exam(tmp_path / "a.jsonl", questions())
    macro = {"name": "mean", "tasks": ["letter", "cloze"], "value": "acc"}
    findings = found(task("letter", test), task("cloze", test, settings={"form": "cloze"}), macros=[macro])
    assert rules(findings) == ["macro-repeats"]


def test_a_macro_over_tasks_that_share_questions(tmp_path: Path, found: Callable[..., list[Finding]]) -> None:
    shared = question(1, 0, *"ABCD", text="Қазақстанның қай облысында ең үлкен көл орналасқан және ол қалай аталады?")
    one = exam(tmp_path / "a.jsonl", [*questions(40), shared])
    other = [replace(row, id=f"o{row.id}", question=f"Ал {row.question}") for row in questions(40)]
    other = [replace(row, choices=tuple(f"басқа {each}" for each in row.choices)) for row in other]
    two = exam(tmp_path / "b.jsonl", [*other, replace(shared, id="again")])
    macro = {"name": "mean", "tasks": ["one", "two"], "value": "acc"}
    (finding,) = found(task("one", one), task("two", two), macros=[macro])
    assert finding.rule == "macro-overlap"
    assert finding.rows == ("q1",)


def test_examples_from_the_split_that_is_scored(tmp_path: Path, found: Callable[..., list[Finding]]) -> None:
    test = exam(tmp_path / "a.jsonl", questions())
    examples = {"path": test, "kind": "questions"}
    findings = found(task("a", test, shots=1, examples=examples))
    assert rules(findings) == ["examples-scored", "examples-repeat"]
    assert "100 of 100" in findings[1].message


def test_examples_with_the_text_of_scored_rows(tmp_path: Path, found: Callable[..., list[Finding]]) -> None:
    test = exam(tmp_path / "a.jsonl", questions())
    dev = exam(tmp_path / "b.jsonl", [question(1), replace(questions()[3], id="copy")])
    (finding,) = found(task("a", test, shots=1, examples=dev))
    assert (finding.rule, finding.rows) == ("examples-repeat", ("q103",))
    shouted = replace(questions()[4], question=f" {questions()[4].question.upper()} ", id="in capitals")
    turned = replace(questions()[5], choices=questions()[5].choices[::-1], id="in another order")
    dev = exam(tmp_path / "c.jsonl", [question(1), shouted, turned])
    (finding,) = found(task("a", test, shots=1, examples=dev))
    assert (finding.rule, finding.rows) == ("examples-repeat", ("q104", "q105"))


def test_cues_of_another_language(tmp_path: Path, found: Callable[..., list[Finding]]) -> None:
    test = exam(tmp_path / "a.jsonl", questions())
    (english,) = found(task("a", test, settings={"cues": {"question": "Question", "answer": "Answer"}}))
    assert english.rule == "prompt-language"
    assert "'Question' is English, 'Answer' is English" in english.message
    (russian,) = found(task("a", test, settings={"cues": {"answer": "Ответ"}}))
    assert "'Ответ' is Russian" in russian.message
    (mixed,) = found(task("a", test, settings={"instruction": "Choose the right answer."}))
    assert "'Choose' is not in Cyrl" in mixed.message


def test_letters_that_the_language_has_not(tmp_path: Path, found: Callable[..., list[Finding]]) -> None:
    test = exam(tmp_path / "a.jsonl", [replace(row, question=f"Che cosa è {row.id}?") for row in questions()])
    every = found(task("a", test, language="ru-Cyrl", settings={"cues": {"answer": "Сұрау"}}))
    assert rules(every) == ["prompt-language", "foreign-letters"]  # its options are Kazakh
    finding = every[0]
    assert "'Сұрау' has ұ, which Russian has not" in finding.message


def test_look_alikes_in_a_prompt(tmp_path: Path, found: Callable[..., list[Finding]]) -> None:
    test = exam(tmp_path / "a.jsonl", questions())
    (finding,) = found(task("a", test, settings={"cues": {"question": "Cұрақ"}}))
    assert finding.rule == "prompt-homoglyphs"
    assert "'Cұрақ' (Latin C)" in finding.message


def test_prompts_that_a_task_ends_in_a_space_or_doubles_spaces_in(
    tmp_path: Path, host: Host, monkeypatch: pytest.MonkeyPatch, found: Callable[..., list[Finding]]
) -> None:
    from tilbench_metrics_likelihood.prompt import Prompts

    whole = Prompts.context

    def spaced(self: Any, *rows: Any) -> Any:
        prompt = whole(self, *rows)
        return replace(prompt, text=f"{prompt.text} ")

    test = exam(tmp_path / "a.jsonl", questions())
    double = found(task("a", test, settings={"instruction": "Жауапты  таңдаңыз."}))
    assert rules(double) == ["prompt-double-spaces"]
    monkeypatch.setattr(Prompts, "context", spaced)
    (finding,) = found(task("a", test))
    assert finding.rule == "prompt-space"
    assert "100 of 100" in finding.message


def test_a_chance_level_that_the_options_do_not_give(tmp_path: Path, found: Callable[..., list[Finding]]) -> None:
    test = exam(tmp_path / "a.jsonl", questions())
    for stated in ("chance 20%", "with a chance level of 0.2", "chance 1/5"):
        (finding,) = found(task("a", test, summary=f"Exam, {stated}"))
        assert finding.rule == "task-chance-wrong"
        assert "chance is said to be 20.0%, and its 100 questions of 4 options give 25.0%" in finding.message
        assert one(answers.chance_misstated, questions(), dataset={"summary": stated}).message == finding.message
    assert found(task("a", test, summary="Exam of four options, chance 25 %")) == []


def test_a_task_in_another_language_than_its_dataset(found: Callable[..., list[Finding]]) -> None:
    (finding, *_) = found(task("a", "questions/kk/test", language="ru-Cyrl"))
    assert finding.rule == "language-differs"


def test_rows_in_the_suites_own_training_text(tmp_path: Path, found: Callable[..., list[Finding]]) -> None:
    leaked = question(
        1, 0, "Алматы", "Астана", "Шымкент", "Ақтау", text="Қазақстанның ең ірі қаласы болып саналатын қала қайсы?"
    )
    test = exam(tmp_path / "a.jsonl", [*questions(), leaked])
    text = tmp_path / "text.txt"
    text.write_text(f"Мәтін. {leaked.question} {' '.join(leaked.choices)} Соңы.", encoding="utf-8")
    (finding,) = found(task("a", test), reference_text=[str(text)])
    assert (finding.rule, finding.rows) == ("trained-on", ("q1",))


def test_shots_from_the_scored_split_of_another_harness(host: Host) -> None:
    from tilbench.config.suite import Task
    from tilbench.evaluation.plan import plan_tasks
    from tilbench.lint.subjects import TaskSubject
    from tilbench.lint.tasks import examples_from_scored_split

    given = Task(name="a", metric="choice", dataset="questions/kk/test", shots=1, examples="questions/kk/dev")
    (planned,) = plan_tasks(Suite(name="s", tasks=[given]), [given], host.registry, None)
    for split, count in (("test", 1), ("dev", 0)):
        used = planned.used.model_copy(update={"settings": {"config": {"test_split": "test", "fewshot_split": split}}})
        subject = TaskSubject(given, replace(planned, used=used))
        assert len(list(examples_from_scored_split(subject))) == count


def test_what_a_run_would_refuse_is_a_finding_and_the_rest_is_looked_at(
    tmp_path: Path, found: Callable[..., list[Finding]]
) -> None:
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"question": "Қайсы?", "choices": ["а", "б"], "answer": null}\n', encoding="utf-8")
    good = exam(tmp_path / "a.jsonl", [*questions(), question(1, 2, "су", "от", "ауа", "ауа")])
    findings = found(task("bad", str(bad)), task("good", good), task("away", "mc/belebele-kazakh/test"))
    assert rules(findings) == ["unusable", "answer-repeated", "not-read"]
    assert f"{bad}:1" in findings[0].message
    assert "1 of 3" in findings[2].message


def test_what_is_known_of_published_exams_is_found(data_dir: Path, host: Host) -> None:
    found = {each.rule: each for each in lint("mc/tumlu-kazakh/test", host.registry, data_dir)}
    assert "the right answer is D in 342 of 896 (38.2%)" in found["unbalanced-answers"].message
    assert "'бiрiншi' (Latin i)" in found["homoglyphs"].message


# The faults of the old Kazakh tasks, in the Hub's own schema


@pytest.fixture
def old_exams(tmp_path: Path) -> Path:
    """A data directory with a split of 80 questions; the key is A in 20 of them."""
    rows = [
        {
            "question": f"{number} сұрақтың жауабы қайсы?",
            **{letter: f"{letter} жауап {number}" if letter in "ABCD" else None for letter in "ABCDEFGH"},
            "correct_answer": "ABCD"[number % 4],
            "subject": "biology",
        }
        for number in range(80)
    ]
    file = tmp_path / "kz-transformers/kazakh-unified-national-testing-mc/biology.parquet"
    file.parent.mkdir(parents=True)
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), file)
    return tmp_path


def test_the_three_faults_of_the_old_kazakh_tasks_are_named(
    old_exams: Path, host: Host, tilbench: Callable[..., Any]
) -> None:
    findings = list(lint("kazakh-legacy", host.registry, old_exams))
    errors = {finding.rule: finding for finding in findings if finding.severity == "error"}
    assert "20 of 80 (25.0%) rows of the source are lost" in errors["answers-lost"].message
    assert "every one of the 20 with answer A" in errors["answers-lost"].message
    assert "have 12 options, and the source has 4" in errors["options-added"].message
    assert "are mixed in" in errors["options-mixed"].message
    assert "kk_legacy12_biology and kk_legacy12_unified are one task" in errors["same-task"].message
    assert set(errors) == {"answers-lost", "options-added", "options-mixed", "same-task"}
    fixed = tilbench("lint", "kk_unt_biology", "--data", old_exams)
    assert (fixed.status, fixed.out) == (0, "0 errors, 0 warnings, 0 notes\n")


# The command


def test_shipped_suites_are_clean_but_for_the_known_fault(tilbench: Callable[..., Any]) -> None:
    suites = sorted((ROOT / "suites").glob("*.yaml"))
    outcome = tilbench("lint", *suites, "--json")
    findings = [finding for finding in json.loads(outcome.out) if finding["severity"] != "note"]
    assert [(finding["rule"], finding["where"]) for finding in findings] == [("same-task", "kazakh-legacy")]
    assert outcome.status == 1
    assert tilbench("lint", *suites, "--strict", "--ignore", "same-task").status == 0


def test_the_status_says_whether_anything_is_wrong(tmp_path: Path, tilbench: Callable[..., Any]) -> None:
    warning = exam(tmp_path / "a.jsonl", [*questions(), question(1, 0, "су", "от", "от", "ауа")])
    error = exam(tmp_path / "b.jsonl", [*questions(), question(1, 2, "су", "от", "ауа", "ауа")])
    assert tilbench("lint", warning).status == 0
    assert tilbench("lint", warning, "--strict").status == 1
    outcome = tilbench("lint", error)
    assert outcome.status == 1
    assert f"error answer-repeated: {error}: 1 of 101 (1.0%) questions repeat" in outcome.out
    assert "[q1]" in outcome.out
    unknown = tilbench("lint", "kazakj")
    assert unknown.status == 2
    assert "did you mean kazakh" in unknown.err
    assert "answer-repeated" in tilbench("lint", error, "--ignore", "answer-repeat").err


def test_every_rule_has_an_id_of_its_own_and_is_documented() -> None:
    ids = [rule.id for every in (DATASET_RULES, TASK_RULES, SUITE_RULES) for rule in every]
    assert len(ids) == len(set(ids))
    page = (ROOT / "docs" / "lint.md").read_text(encoding="utf-8")
    assert not [rule for rule in (*ids, "unusable") if f"`{rule}`" not in page]

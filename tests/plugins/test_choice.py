import doctest
import math
import random
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from tilbench.comparison.paired import Side, pair
from tilbench.data import rows
from tilbench.data.rows import Pair, Question
from tilbench.errors import ConfigError, DataError, PluginError
from tilbench.kinds.examples import ExamplePool
from tilbench.kinds.language import Cues, Language
from tilbench.kinds.metric import ItemScore, Metric, TaskContext
from tilbench.kinds.requests import Continuation, Document, Likelihood, Request
from tilbench_metrics_likelihood import prompt
from tilbench_metrics_likelihood.choice import Choice, ChoiceSettings
from tilbench_metrics_likelihood.minimal_pairs import MinimalPairs, MinimalPairsSettings

KAZAKH = Language(
    tag="kk-Cyrl",
    name="Kazakh",
    native_name="Қазақша",
    script="Cyrl",
    alphabet="аә",
    cues=Cues(passage="Мәтін", question="Сұрақ", options="Нұсқалар", answer="Жауап"),
)
ROW = Question("q1", "Астана?", ("Алматы", "Астана", "Ақтау"), 1)
PASSAGE = Question("p#1", "Не туралы?", ("су", "от"), 0, passage="Су туралы мәтін.")
POOL = [Question(f"dev-{index}", f"Сұрақ {index}?", ("иә", "жоқ", "мүмкін"), index % 3) for index in range(9)]


def metric(context: TaskContext | None = None, **settings: Any) -> Choice:
    return Choice(ChoiceSettings(**settings), context or TaskContext(KAZAKH))


def texts(requests: Sequence[Request]) -> list[tuple[str, str]]:
    """Return context and continuation of each request."""
    return [(each.context, each.continuation) for each in requests if isinstance(each, Continuation)]


def answers(*logprobs: float, tokens: int | None = 1) -> list[Likelihood]:
    return [Likelihood(logprob, tokens) for logprob in logprobs]


def item(index: int, right: float, options: int = 4, answer: int = 0, cluster: str = "") -> ItemScore:
    values = {"acc": right, "options": options, "answer": answer, "equal_options": 0.0, "tied": 0.0}
    values |= {"gold_bits": 2.0, "gold_bytes": 2.0}
    return ItemScore(f"q{index}", cluster or f"q{index}", values)


def test_docstring_examples() -> None:
    assert doctest.testmod(prompt).failed == 0


def test_it_is_a_metric() -> None:
    assert isinstance(metric(), Metric)


def test_letter_form_to_the_character() -> None:
    prompt = "Мәтін: Су туралы мәтін.\nСұрақ: Не туралы?\nA) су\nB) от\nЖауап:"
    assert texts(metric().requests(PASSAGE)) == [(prompt, " A"), (prompt, " B")]


def test_cloze_form_to_the_character() -> None:
    prompt = "Жауабын таңда.\n\nСұрақ: Астана?\nЖауап:"
    requests = metric(form="cloze", instruction="Жауабын таңда.").requests(ROW)
    assert texts(requests) == [(prompt, f" {choice}") for choice in ROW.choices]


@pytest.mark.parametrize("form", ["letter", "hybrid", "cloze"])
def test_requests_say_what_may_be_left_out_and_what_is_compared(form: str) -> None:
    asked = metric(TaskContext(KAZAKH, POOL, shots=2), form=form, instruction="Таңда.").requests(ROW)
    for each in asked:
        assert isinstance(each, Continuation)
        assert each.context[: each.keep] == "Таңда.\n\n"
        blocks = [each.context[begin:end] for begin, end in each.optional]
        assert each.context == "".join([each.context[: each.keep], *blocks, each.context[each.optional[-1][1] :]])
        assert all(block.startswith("Сұрақ: Сұрақ") and block.endswith("\n\n") for block in blocks)
        assert len(blocks) == 2
        assert each.beside == tuple(continuation for _, continuation in texts(asked))


def test_hybrid_form_to_the_character() -> None:
    """The prompt of the letter form with the continuations of the cloze form."""
    letters, texts = metric().requests(PASSAGE), metric(form="cloze").requests(PASSAGE)
    hybrid = metric(form="hybrid").requests(PASSAGE)
    assert [request.context for request in hybrid] == [request.context for request in letters]  # type: ignore[union-attr]
    assert [request.continuation for request in hybrid] == [" су", " от"]  # type: ignore[union-attr]
    assert [request.continuation for request in texts] == [" су", " от"]  # type: ignore[union-attr]
    assert metric(form="hybrid").headline == metric(form="cloze").headline == "acc_char"


def lighteval(question: str, choices: Sequence[str]) -> tuple[str, list[str]]:
    """Return query and choices of lighteval's HybridFormulation in Kazakh, by its template of multiple choice.

    `{question_word}{colon} {question}\\n{options}\\n{answer_word}{colon}`, each option ` {letter}{full stop} {text}`.
    """
    options = "".join(f" {letter}. {choice}\n" for letter, choice in zip("ABCDEFGH", choices, strict=False))
    return f"Сұрақ: {question}\n{options}Жауап:", [f" {choice}" for choice in choices]


def kyrgyz_bench(question: str, choices: Sequence[str]) -> tuple[str, list[str]]:
    """Return prompt and choices of kyrgyzLLM_bench, whose options have numbers and stand between blank lines.

    Its prompt ends in a space, which lighteval hands to the continuation when both become tokens.
    """
    options = "".join(f"{number}. {choice}\n" for number, choice in enumerate(choices))
    prompt = f"Суроо: {question}\n\nСунушталган жооптор:\n{options}\n\nТуура жоопту тандаңыз: "
    return prompt.rstrip(" "), [f" {choice}" for choice in choices]


KYRGYZ = {
    "template": "Суроо: {question}\n\nСунушталган жооптор:\n{options}\n\n\nТуура жоопту тандаңыз:",
    "cues": {"letters": "0123456789"},
    "option_mark": ".",
}


@pytest.mark.parametrize(
    ("rendered", "settings"), [(lighteval, {"option_mark": ".", "option_space": True}), (kyrgyz_bench, KYRGYZ)]
)
def test_hybrid_prompts_are_those_of_other_harnesses(
    rendered: Callable[[str, Sequence[str]], tuple[str, list[str]]], settings: dict[str, Any]
) -> None:
    for row in (ROW, *POOL):
        query, choices = rendered(row.question, row.choices)
        asked = metric(form="hybrid", **settings).requests(row)
        found = [(each.context, each.continuation) for each in asked if isinstance(each, Continuation)]
        assert found == [(query, choice) for choice in choices]


def test_a_template_replaces_the_layout() -> None:
    (first, *_) = metric(form="cloze", template="{passage}\n{question} –").requests(PASSAGE)
    assert (first.context, first.continuation) == ("Су туралы мәтін.\nНе туралы? –", " су")  # type: ignore[union-attr]
    for form, template, why in (
        ("letter", "{question}", "no {options}"),
        ("hybrid", "{options}", "no {question}"),
        ("cloze", "{question} {options}", "lists no options"),
        ("letter", "{question} {options} ", "ends in a space"),
        ("letter", "{question} {options} {x}", "no field of a template"),
    ):
        with pytest.raises(ValidationError, match=re.escape(why)):
            metric(form=form, template=template)


def test_cues_can_be_replaced() -> None:
    (first, *_) = texts(metric(cues={"answer": "Дұрысы", "letters": "АБВ"}).requests(ROW))
    assert first == ("Сұрақ: Астана?\nА) Алматы\nБ) Астана\nВ) Ақтау\nДұрысы:", " А")


def test_an_empty_cue_is_not_printed_and_options_have_the_mark() -> None:
    (first, *_) = texts(metric(cues={"question": ""}, option_mark=".").requests(ROW))
    assert first == ("Астана?\nA. Алматы\nB. Астана\nC. Ақтау\nЖауап:", " A")
    (first, *_) = texts(metric(form="cloze", cues={"question": "", "answer": ""}).requests(ROW))
    assert first == ("Астана?", " Алматы")
    with pytest.raises(ValidationError, match="option_mark"):
        metric(option_mark="-")


@pytest.mark.parametrize("form", ["letter", "cloze"])
def test_solved_examples_have_the_same_form(form: str) -> None:
    request = metric(TaskContext(KAZAKH, POOL, shots=2), form=form).requests(ROW)[0]
    assert isinstance(request, Continuation)
    *solved, last = request.context.split("\n\n")
    assert last == metric(form=form).requests(ROW)[0].context  # type: ignore[union-attr]
    for block in solved:
        (example,) = [example for example in POOL if example.question in block]
        asked = [request for request in metric(form=form).requests(example) if isinstance(request, Continuation)]
        assert block == asked[example.answer].context + asked[example.answer].continuation


def before(row: Question, pool: list[Question], shots: int = 3, seed: int = 0, **settings: Any) -> str:
    """Return what stands in the prompt before the question's own block."""
    request = metric(TaskContext(KAZAKH, pool, shots=shots, seed=seed), **settings).requests(row)[0]
    assert isinstance(request, Continuation)
    return request.context.rpartition("\n\n")[0]


def test_examples_depend_on_the_seed_and_not_on_the_order_of_the_pool() -> None:
    assert before(ROW, POOL) == before(ROW, POOL[::-1])
    assert len({before(ROW, POOL, seed=seed) for seed in range(20)}) > 10


def test_rows_share_their_examples_unless_one_may_not_be_shown() -> None:
    rows = [Question(f"r{index}", "?", ("a", "b"), 0) for index in range(20)]
    (shared,) = {before(row, POOL) for row in rows}
    of_the_pool = [before(row, POOL) for row in POOL]
    assert len([prefix for prefix in of_the_pool if prefix == shared]) == len(POOL) - 3
    (fourth,) = {example.question for example in POOL if example.question in before(ROW, POOL, shots=4)} - {
        example.question for example in POOL if example.question in shared
    }
    assert all(prefix == shared or fourth in prefix for prefix in of_the_pool)


SUBJECTS = [
    Question(f"{subject}-{index}", f"{subject} {index}?", ("иә", "жоқ"), 0, subject=subject)
    for subject in ("тарих", "физика", "логика")
    for index in range(4 if subject != "логика" else 2)
]


def test_examples_are_of_the_rows_own_subject_where_the_pool_has_enough() -> None:
    def subjects(subject: str, **settings: Any) -> set[str]:
        shown = before(Question("q", "?", ("a", "b"), 0, subject=subject), SUBJECTS, **settings)
        return {example.subject for example in SUBJECTS if example.question in shown}

    assert subjects("тарих") == {"тарих"}
    assert subjects("физика") == {"физика"}
    assert subjects("логика") == subjects("химия") == subjects("") == subjects("тарих", same_subject=False)
    assert subjects("логика", shots=2) == {"логика"}
    assert len(subjects("логика")) > 1


NEIGHBOURS = [
    ROW,
    Question("copy of q1", ROW.question, ROW.choices, ROW.answer),
    PASSAGE,
    Question("p#2", "Кім?", ("ол", "бұл"), 0, passage=f"{PASSAGE.passage} (түзетілген)"),
    Question("elsewhere", "Кім?", ("ол", "бұл"), 0, passage=PASSAGE.passage),
]


@pytest.mark.parametrize(("row", "allowed"), [(ROW, {"p#1", "p#2", "elsewhere"}), (PASSAGE, {"q1", "copy of q1"})])
def test_a_row_is_never_its_own_example_nor_one_of_its_passage(row: Question, allowed: set[str]) -> None:
    pool = ExamplePool(NEIGHBOURS, 0)
    assert {example.id for example in pool.pick(row, len(allowed))} == allowed
    with pytest.raises(DataError, match=f"{len(allowed)} of 5 can be shown"):
        pool.pick(row, len(allowed) + 1)


LARGEST = Question("t1", "Which planet is the largest?", ("Mars", "Jupiter", "Venus", "Earth"), 1)


@pytest.mark.parametrize(
    "copy",
    [
        Question("d1", "Which planet is the largest? ", LARGEST.choices, 1),
        Question("d1", "Which  planet\nis the largest?", LARGEST.choices, 1),
        Question("d1", LARGEST.question, ("Earth", "Mars", "Jupiter", "Venus"), 2),
        Question("d1", "WHICH PLANET IS THE LARGEST?", tuple(map(str.upper, LARGEST.choices)), 1),
        Question("d1", "Which pla\u00adnet is the largest?\u200b", LARGEST.choices, 1),
        Question("d1", "Ｗhich planet is the largest?", LARGEST.choices, 1),
    ],
    ids=["space", "line break", "order of options", "capitals", "soft hyphen", "full width"],
)
def test_a_question_is_never_solved_in_its_own_prompt(copy: Question) -> None:
    for seed in range(5):
        assert before(LARGEST, [copy, *POOL], shots=9, seed=seed).count("anet") == 0
    with pytest.raises(DataError, match="9 of 10 can be shown"):
        before(LARGEST, [copy, *POOL], shots=10)


def test_another_question_with_the_same_words_may_be_shown() -> None:
    others = [Question("d", LARGEST.question, ("Io", "Titan"), 1), Question("e", "?", LARGEST.choices, 1)]
    assert len(before(LARGEST, others, shots=2)) > 0


def test_rows_without_an_id_are_other_rows_in_another_file() -> None:
    """They are numbered by their lines, and line 1 of one file says nothing of line 1 of another."""
    pool = [Question(str(index), f"{index} + 1", ("2", "3"), 0) for index in range(1, 6)]
    assert before(Question("1", "6 + 1", ("5", "7"), 1), pool, shots=5).count("+") == 5
    with pytest.raises(DataError, match="4 of 5 can be shown"):
        before(Question("9", "3 + 1", ("3", "2"), 1), pool, shots=5)


def test_normalisations_agree_with_lm_eval() -> None:
    """The argmaxes of `lm_eval.api.task.ConfigurableTask.process_results`, output type multiple_choice."""
    generator = random.Random(0)
    words = ["су", "a long answer", "ұзын жауап", "🙂🙂🙂", "x"]
    for index in range(200):
        choices = tuple(generator.sample(words, 4))
        logprobs = [generator.uniform(-20, -1) for _ in choices]
        score = metric(form="cloze").score(Question(f"q{index}", "?", choices, 2), answers(*logprobs))
        lls = np.array(logprobs)
        characters = np.array([float(len(choice)) for choice in choices])
        sizes = np.array([float(len(choice.encode())) for choice in choices])
        assert score.values["picked_acc"] == np.argmax(lls)
        assert score.values["picked_acc_char"] == np.argmax(lls / characters)
        assert score.values["picked_acc_byte"] == np.argmax(lls / sizes)
        assert score.values["acc_byte"] == float(np.argmax(lls / sizes) == 2)


def test_token_normalisation_uses_the_models_own_tokens() -> None:
    row = Question("q", "?", ("бір", "екі"), 1)
    score = metric(form="cloze").score(row, [Likelihood(-4.0, 1), Likelihood(-6.0, 3)])
    assert (score.values["acc"], score.values["acc_token"]) == (0, 1)
    without = metric(form="cloze").score(row, answers(-4.0, -6.0, tokens=None))
    assert "acc_token" not in without.values
    assert "acc_token" not in metric(form="cloze").aggregate([score, without])


def test_a_tie_that_includes_the_right_choice_counts_one_in_k() -> None:
    score = metric().score(ROW, answers(-2.0, -1.0, -1.0))
    assert (score.values["picked_acc"], score.values["acc"], score.values["tied"]) == (1, 1 / 2, 1)
    assert metric().score(ROW, answers(-1.0, -1.0, -1.0)).values["acc"] == 1 / 3
    assert metric().score(ROW, answers(-1.0, -2.0, -1.0)).values["acc"] == 0
    alone = metric().score(ROW, answers(-2.0, -1.0, -1.5)).values
    assert (alone["tied"], alone["acc"]) == (0, 1)


def test_a_model_that_knows_nothing_scores_chance_wherever_the_answers_stand() -> None:
    """Every answer is A; a model that finds all letters alike scored 100% when a tie went to the first."""
    rows = [Question(f"q{index}", "?", tuple("abcd"[: 2 + index % 3]), 0) for index in range(30)]
    values = metric().aggregate([metric().score(row, answers(*[-2.0] * len(row.choices))) for row in rows])
    assert values["acc"].value == pytest.approx(values["acc"].chance)
    assert values["centred"].value == pytest.approx(0)
    assert (values["majority"].value, values["tied"].value) == (1, 30)


def test_fractions_are_not_given_to_a_test_of_right_and_wrong() -> None:
    """McNemar counts rows that one model alone has right; a half is neither."""
    rows = [Question(f"q{index}", "?", ("a", "b"), 0) for index in range(20)]
    knows = [metric().score(row, answers(-1.0, -2.0 if index % 3 else -1.0)) for index, row in enumerate(rows)]
    guesses = [metric().score(row, answers(-1.0, -1.0)) for row in rows]
    ones = [1.0] * 20
    one, other = (Side([score.values["acc"] for score in scores], ones) for scores in (knows, guesses))
    paired = pair(one, other, [row.id for row in rows])
    assert paired is not None
    assert (paired.test, paired.only_a) == ("t", None)
    assert paired.difference == pytest.approx(13 / 20 / 2)


@pytest.mark.parametrize("name", ["acc_char", "acc_byte", "acc_token"])
def test_scores_that_only_rounding_tells_apart_are_tied(name: str) -> None:
    """A model of so many bits a unit of length: n·x/n and m·x/m differ in the last place."""
    units = {"acc_char": len, "acc_byte": lambda text: len(text.encode()), "acc_token": len}
    choices = ("ә" * 3, "ә" * 7, "ә" * 11)
    given = [Likelihood(-0.1 * units[name](choice), len(choice)) for choice in choices]
    assert len({answer.logprob / units[name](choice) for answer, choice in zip(given, choices, strict=True)}) > 1
    assert metric(form="cloze").score(Question("q", "?", choices, 2), given).values[name] == 1 / 3


def test_equal_options_are_counted_and_tie() -> None:
    row = Question("q", "?", ("иә", "жоқ", "жоқ "), 2)
    score = metric(form="cloze").score(row, answers(-3.0, -1.0, -1.0))
    assert (score.values["equal_options"], score.values["tied"], score.values["acc"]) == (1, 1, 1 / 2)
    assert metric(form="cloze").aggregate([score])["equal_options"].value == 1


@pytest.mark.parametrize(("form", "gold"), [("letter", " B"), ("cloze", " Астана"), ("hybrid", " Астана")])
def test_bits_per_byte_of_the_right_answer(form: str, gold: str) -> None:
    """By hand: 2 bits of one question and 6 of another, over the bytes of both right continuations."""
    ln2 = math.log(2)
    scores = [
        metric(form=form).score(ROW, answers(-9 * ln2, -2 * ln2, -ln2)),
        metric(form=form).score(Question("q2", "?", ROW.choices, 1), answers(-9 * ln2, -6 * ln2, -ln2)),
    ]
    value = metric(form=form).aggregate(scores)["gold_bpb"]
    assert value.value == pytest.approx(8 / (2 * len(gold.encode())))
    assert (value.unit, value.direction, value.of) == ("bits/byte", "lower", ("gold_bits", "gold_bytes"))


def test_items_keep_what_other_numbers_can_be_computed_from() -> None:
    values = metric(form="cloze").score(ROW, [Likelihood(-3.0, 2), Likelihood(-1.0, 1), Likelihood(-2.0, 3)]).values
    assert [values[f"logprob_{place}"] for place in range(3)] == [-3, -1, -2]
    assert [values[f"tokens_{place}"] for place in range(3)] == [2, 1, 3]


def test_every_subject_has_its_accuracy_interval_and_chance() -> None:
    options = {"тарих": 2, "физика": 4}
    rows = [
        Question(f"{subject}-{index}", "?", tuple("abcd"[: options[subject]]), 0, subject=subject)
        for subject, count in (("тарих", 10), ("физика", 30))
        for index in range(count)
    ]
    scores = []
    for row in rows:
        likeliest = 0 if row.id.endswith("0") else 1
        given = [-1.0 if place == likeliest else -2.0 for place in range(len(row.choices))]
        scores.append(metric().score(row, answers(*given)))
    values = metric().aggregate(scores)
    for subject, hits, n in (("тарих", 1, 10), ("физика", 3, 30)):
        value = values[f"acc:{subject}"]
        assert (value.value, value.n, value.chance, value.of) == (hits / n, n, 1 / options[subject], None)
        alone = metric().aggregate([score for score in scores if score.texts["subject"] == subject])["acc"]
        assert (value.low, value.high, value.stderr) == (alone.low, alone.high, alone.stderr)
        assert value.low is not None
    assert metric().aggregate(scores[:10]).keys() == {name for name in values if ":" not in name}
    kept = [ItemScore(score.item, score.cluster, dict(score.values), dict(score.texts)) for score in scores]
    assert metric().aggregate(kept) == values


def test_accuracy_stands_beside_chance_and_majority() -> None:
    """TUMLU's Kazakh answers: always saying D scores 38%, and only by luck."""
    counts = [194, 193, 167, 342]
    rows = [Question(f"q{i}{j}", "?", tuple("abcd"), i) for i, n in enumerate(counts) for j in range(n)]
    values = metric().aggregate([metric().score(row, answers(-2, -2, -2, -1)) for row in rows])
    acc = values["acc"]
    assert (acc.value, acc.n, acc.chance) == (342 / 896, 896, 0.25)
    assert values["majority"].value == 342 / 896
    assert values["majority"].direction == "none"
    assert values["centred"].value == pytest.approx((342 / 896 - 0.25) / 0.75)
    wilson = scipy.stats.binomtest(342, 896).proportion_ci(0.95, method="wilson")
    assert (acc.low, acc.high) == pytest.approx((wilson.low, wilson.high), abs=1e-4)  # with t of 895 for the normal


def test_standard_error_is_that_of_a_published_table() -> None:
    """lm-eval's 0.2500 ± 0.0280 on the 240 questions kept of kk_constitution_mc."""
    value = metric().aggregate([item(index, float(index % 4 == 0)) for index in range(240)])["acc"]
    assert value.value == 0.25
    assert value.stderr == pytest.approx(0.0280, abs=5e-5)


def test_questions_of_one_passage_are_not_independent() -> None:
    right = [float(index % 20 < 10) for index in range(200)]
    alone = metric().aggregate([item(index, right[index]) for index in range(200)])["acc"]
    together = metric().aggregate([item(index, right[index], cluster=f"p{index // 10}") for index in range(200)])["acc"]
    assert alone.stderr is not None
    assert together.stderr is not None
    assert together.stderr == pytest.approx(alone.stderr * math.sqrt(10), rel=0.05)
    assert together.low is not None
    assert alone.low is not None
    assert together.low < alone.low


def test_chance_is_a_mean_over_ragged_questions() -> None:
    values = metric().aggregate([item(0, 1.0, options=2), item(1, 1.0, options=4)])
    assert values["acc"].chance == 0.375
    assert values["centred"].value == 1


@given(st.lists(st.tuples(st.booleans(), st.integers(2, 8)), min_size=1, max_size=30), st.randoms())
def test_values_are_bounded_and_ignore_order(rows: list[tuple[bool, int]], shuffler: random.Random) -> None:
    scores = [item(i, float(right), options, i % options, f"p{i // 3}") for i, (right, options) in enumerate(rows)]
    values = metric().aggregate(scores)
    assert 0 < (values["acc"].chance or 0) <= 0.5
    assert -1 <= values["centred"].value <= 1
    for value in values.values():
        assert value.low is None or value.low - 1e-12 <= value.value <= (value.high or 0) + 1e-12
    shuffler.shuffle(scores)
    assert metric().aggregate(scores) == values


def test_faults_are_named() -> None:
    with pytest.raises(ConfigError, match="needs a language"):
        metric(TaskContext())
    with pytest.raises(DataError, match="3 choices and the task's cues have 2 option letters"):
        metric(cues={"letters": "AB"}).requests(ROW)
    assert len(metric(form="cloze", cues={"letters": "AB"}).requests(ROW)) == 3
    with pytest.raises(DataError, match="scores questions, not documents"):
        metric().requests(rows.Document("d", "text"))
    with pytest.raises(ValidationError, match="without its colon"):
        metric(cues={"answer": "Жауап:"})
    with pytest.raises(ValidationError, match="twice"):
        metric(cues={"letters": "AAB"})
    assert metric().aggregate([]) == {}


# Minimal pairs

PAIR = Pair("p1", "Біз барамыз.", "Біз барамын, рас.")
PAIRS = MinimalPairs(MinimalPairsSettings(), TaskContext())


def test_the_sentences_of_a_pair_stand_alone() -> None:
    assert isinstance(PAIRS, Metric)
    assert PAIRS.requests(PAIR) == [Document(PAIR.source), Document(PAIR.target)]


def test_a_pair_is_right_where_the_good_sentence_is_likelier() -> None:
    score = PAIRS.score(PAIR, [Likelihood(-9.0, 3), Likelihood(-10.0, 5)]).values
    assert (score["acc"], score["acc_char"], score["acc_byte"], score["acc_token"]) == (1, 0, 0, 0)
    assert (score["tied"], len(PAIR.source), len(PAIR.target)) == (0, 12, 17)


def test_a_pair_that_cannot_be_told_apart_is_half_right() -> None:
    """Counted as wrong, a model that knows nothing would stand at 0 beside a chance level of 1/2."""
    score = PAIRS.score(PAIR, answers(-9.0, -9.0))
    assert (score.values["acc"], score.values["tied"]) == (1 / 2, 1)
    values = PAIRS.aggregate([score])
    assert (values["acc"].value, values["acc"].chance, values["tied"].value) == (0.5, 0.5, 1)
    assert values["centred"].value == 0


def test_pairs_agree_with_lm_eval_but_for_ties() -> None:
    """The argmaxes of its `multiblimp`: label 0, acc_norm by characters."""
    generator = random.Random(0)
    for _ in range(200):
        texts = ["".join(generator.choices("аәб🙂 x", k=generator.randint(3, 9))) + "." for _ in range(2)]
        logprobs = [generator.uniform(-20, -1) for _ in texts]
        score = PAIRS.score(Pair("p", texts[0], texts[1]), answers(*logprobs)).values
        lls = np.array(logprobs)
        assert score["acc"] == float(np.argmax(lls) == 0)
        assert score["acc_char"] == float(np.argmax(lls / np.array([float(len(text)) for text in texts])) == 0)


def test_pairs_without_tokens_or_rows() -> None:
    score = PAIRS.score(PAIR, answers(-1.0, -2.0, tokens=None))
    assert "acc_token" not in PAIRS.aggregate([score])
    assert PAIRS.aggregate([]) == {}
    with pytest.raises(DataError, match="minimal_pairs scores pairs, not questions"):
        PAIRS.requests(ROW)
    with pytest.raises(PluginError, match="2 texts were not answered"):
        PAIRS.score(PAIR, answers(-1.0))

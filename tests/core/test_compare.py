"""`tilbench compare`: closed forms, what it refuses, and the table of document 2 read as its own numbers say."""

from __future__ import annotations

import doctest
import hashlib
import json
import math
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.records import record

from tilbench.checkpoints.folder import CheckpointInfo, write_info
from tilbench.comparison import paired
from tilbench.comparison.compare import Comparison, compare_models
from tilbench.comparison.paired import Side, detectable, holm, mcnemar, pair, pool
from tilbench.comparison.report import ComparisonReport
from tilbench.comparison.verdict import FEWEST_EFFECTIVE, caveats, pooled_caveats, verdict
from tilbench.config.model import ArchitectureRef
from tilbench.errors import DataError, UnknownName
from tilbench.kinds.metric import ItemScore, Value
from tilbench.publish.report import comparison_lines
from tilbench.resolve.recorded_model import recorded_model
from tilbench.results import labels
from tilbench.results.macro_parts import MACRO
from tilbench.results.record import Reading
from tilbench.results.store import RecordStore

Tilbench = Callable[..., Any]

DOCUMENT_2 = {  # adapter, its standard error, 4-bit base: seeds/001, table of lm-eval accuracies
    "kazakh_and_literature": (0.1410, 0.0060, 0.1567),
    "biology": (0.1968, 0.0109, 0.2241),
    "constitution": (0.2500, 0.0280, 0.2917),
    "dastur": (0.2519, 0.0188, 0.2575),
    "english": (0.2469, 0.0100, 0.2894),
    "geography": (0.2428, 0.0136, 0.2747),
    "history_of_kazakhstan": (0.1822, 0.0079, 0.2071),
    "human_society_rights": (0.2886, 0.0372, 0.3289),
    "unified_national_testing": (0.1968, 0.0109, 0.2241),
    "world_history": (0.2512, 0.0134, 0.2853),
    "mmlu_translated": (0.2017, 0.0118, 0.2217),
}


def ones(values: Sequence[float]) -> Side:
    return Side(values, [1.0] * len(values))


def ids(count: int) -> list[str]:
    return [f"row-{index}" for index in range(count)]


def save_answers(store: RecordStore, model: str, task: str, right: Sequence[int], cluster: int = 1) -> Path:
    """Record right and wrong answers as the metric `choice` does."""
    value = sum(right) / len(right)
    half = 1.96 * math.sqrt(value * (1 - value) / len(right))
    score = Value(
        value=value, n=len(right), unit="fraction", direction="higher", chance=0.25, of=("acc", ""),
        low=value - half, high=value + half,
    )  # fmt: skip
    items = [ItemScore(f"q{place}", f"p{place // cluster}", {"acc": float(each)}) for place, each in enumerate(right)]
    made = record(model, task, score, headline="acc", rows=len(right))
    data = made.task.dataset.model_copy(update={"fingerprint": f"rows of {task}"})
    return store.write(made.model_copy(update={"task": made.task.model_copy(update={"dataset": data})}), items)


def save_bits(store: RecordStore, model: str, bits: Sequence[float], task: str = "news", **fields: Any) -> Path:
    """Record documents of 100 bytes as the metric `bpb` does."""
    score = Value(
        value=math.fsum(bits) / (100 * len(bits)), n=len(bits), unit="bits/byte", direction="lower",
        of=("bits", "bytes"),
    )  # fmt: skip
    items = [ItemScore(f"d{place}", f"d{place}", {"bits": each, "bytes": 100.0}) for place, each in enumerate(bits)]
    return store.write(record(model, task, score, **fields), items)


def test_docstring_examples() -> None:
    assert doctest.testmod(paired).failed == doctest.testmod(labels).failed == 0


@given(st.integers(0, 400), st.integers(0, 400))
def test_mcnemar_is_the_binomial_test_of_scipy(only_a: int, only_b: int) -> None:
    if only_a + only_b:
        expected = scipy.stats.binomtest(only_a, only_a + only_b, 0.5).pvalue
        assert mcnemar(only_a, only_b) == pytest.approx(expected, rel=1e-9)
    assert mcnemar(only_a, only_b) == mcnemar(only_b, only_a)


def test_mcnemar_of_many_rows_neither_overflows_nor_lies() -> None:
    assert mcnemar(5000, 5000) == 1
    assert mcnemar(4800, 5200) == pytest.approx(scipy.stats.binomtest(4800, 10000).pvalue, rel=1e-9)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_lies_between_the_plain_p_and_bonferroni_and_keeps_the_order(ps: list[float]) -> None:
    adjusted = holm(ps)
    assert all(p <= q <= min(1, len(ps) * p) for p, q in zip(ps, adjusted, strict=True))
    assert min(adjusted) == min(1, len(ps) * min(ps))
    for one, other in zip(zip(ps, adjusted, strict=True), zip(ps[1:], adjusted[1:], strict=False), strict=False):
        assert (one[0] <= other[0]) <= (one[1] <= other[1])


def test_a_paired_mean_is_students_test_of_scipy() -> None:
    generator = np.random.default_rng(1)
    a, noise = generator.normal(size=40), generator.normal(0.02, 0.1, size=40)
    b = a + noise
    found = pair(ones(a.tolist()), ones(b.tolist()), ids(40))
    assert found is not None
    expected = scipy.stats.ttest_rel(a, b)
    assert found.difference == pytest.approx(-noise.mean())
    assert found.interval.stderr == pytest.approx(scipy.stats.sem(noise))
    assert found.p == pytest.approx(expected.pvalue, rel=0.05, abs=0.01)  # but for the skewness of 40 differences
    bounds = expected.confidence_interval(0.95)
    assert (found.interval.low, found.interval.high) == pytest.approx((bounds.low, bounds.high), abs=0.003)
    turned = pair(ones([*a, *(2 * b - a)]), ones([*b, *b]), ids(80))  # differences that are symmetric
    assert turned is not None
    assert turned.p == 1
    shifted = pair(ones([*(a + 0.02), *(2 * b - a + 0.02)]), ones([*b, *b]), ids(80))
    assert shifted is not None
    assert shifted.p == pytest.approx(scipy.stats.ttest_1samp([*(a + 0.02 - b), *(b - a + 0.02)], 0).pvalue)
    t = scipy.stats.t(39)
    assert found.detectable == pytest.approx((t.ppf(0.975) + t.ppf(0.8)) * found.interval.stderr)


def test_a_corpus_ratio_weighs_documents_by_their_bytes() -> None:
    a, b, below = [10.0, 90, 30], [20.0, 20, 25], [10.0, 30, 20]
    found = pair(Side(a, below), Side(b, below), ["x", "y", "z"])
    assert found is not None
    assert found.difference == pytest.approx((130 - 65) / 60)
    without = [(120 - 45) / 50, (40 - 45) / 30, (100 - 40) / 40]
    expected = math.sqrt(2 / 3 * sum((each - found.difference) ** 2 for each in without))
    assert found.interval.stderr == pytest.approx(expected)


@pytest.mark.parametrize("same", [True, False])
def test_the_interval_leaves_0_out_exactly_where_p_is_small(same: bool) -> None:
    """Right and wrong answers (McNemar's p), and numbers (Student's)."""
    generator, seen = np.random.default_rng(5), set()
    for n in (3, 5, 6, 8, 12, 40):
        for _ in range(150):
            a, b = generator.random((2, n)) < generator.random((2, 1))
            numbers = [(each + (0 if same else generator.random(n))).tolist() for each in (a, b)]
            found = pair(ones(numbers[0]), ones(numbers[1]), ids(n))
            assert found is not None
            if not found.identical:
                assert found.interval.low <= found.difference <= found.interval.high
                assert (not found.interval.low <= 0 <= found.interval.high) == (found.p < 0.05)
                assert found.p >= 2.0 ** (1 - n)
                seen.add(found.p < 0.05)
    assert seen == {True, False}


def test_the_difference_that_rows_can_show_follows_from_discordance() -> None:
    a, b = [1.0] * 60 + [0.0] * 40 + [1.0] * 100, [0.0] * 60 + [1.0] * 40 + [1.0] * 100
    found = pair(ones(a), ones(b), ids(200))
    assert found is not None
    assert (found.only_a, found.only_b, found.test) == (60, 40, "McNemar")
    assert found.p == pytest.approx(scipy.stats.binomtest(40, 100).pvalue)
    assert found.detectable == pytest.approx(detectable(math.sqrt(100) / 200))


def test_questions_of_one_passage_are_not_taken_as_independent() -> None:
    a, b = [1.0] * 15 + [0.0] * 45, [0.0] * 60
    alone = pair(ones(a), ones(b), ids(60))
    together = pair(ones(a), ones(b), [f"p{place // 15}" for place in range(60)])
    assert alone is not None
    assert together is not None
    assert (alone.test, together.test, together.clusters) == ("McNemar", "t", 4)
    assert alone.p < 1e-3 < 0.1 < together.p
    assert together.interval.stderr > 2 * alone.interval.stderr


def test_few_documents_of_one_sign_are_not_called_certain() -> None:
    found = pair(ones([1.0, 1.1, 1.2, 1.3, 1.4]), ones([2.0, 2.1, 2.3, 2.3, 2.4]), ids(5))
    assert found is not None
    assert found.too_few
    assert (found.interval.high, found.p) == (0, 2 / 2**5)
    more = pair(ones([1.0, 1.1, 1.2, 1.3, 1.4, 1.5]), ones([2.0, 2.1, 2.3, 2.3, 2.4, 2.6]), ids(6))
    assert more is not None
    assert not more.too_few
    assert more.interval.high < 0
    assert more.p == 2 / 2**6


def test_the_pool_is_no_surer_than_its_rows_allow() -> None:
    parts = [pair(ones([1.0, 2.0, 3.1]), ones([2.0, 3.0, 4.0]), ids(3)) for _ in "xy"]
    found = pool([(name, each) for name, each in zip("xy", parts, strict=True) if each])
    assert (found.clusters, found.p) == (6, 2 / 2**6)
    assert not found.too_few
    alone = pool([("x", each) for each in parts if each])
    assert (alone.clusters, alone.p, alone.too_few, alone.interval.high) == (3, 2 / 2**3, True, 0)


def test_the_pool_keeps_tasks_on_the_same_rows_together() -> None:
    generator = np.random.default_rng(2)
    a, b = generator.normal(size=200).tolist(), generator.normal(size=200).tolist()
    one, other = pair(ones(a), ones(b), ids(200)), pair(ones(a), ones(b), ids(200))
    assert one is not None
    assert other is not None
    assert pool([("x", one), ("x", one)]).interval.stderr == pytest.approx(one.interval.stderr)
    assert pool([("x", one), ("x", one)]).df == 199
    assert pool([("x", one), ("y", one)]).df == pytest.approx(2 * 199)
    expected = 2 * scipy.stats.t(398).sf(abs(one.difference) / (one.interval.stderr / 2**0.5))
    assert pool([("x", one), ("y", one)]).p == pytest.approx(expected, rel=0.05, abs=0.01)
    assert pool([("x", one), ("y", other)]).interval.stderr == pytest.approx(one.interval.stderr / 2**0.5, rel=0.05)
    assert (pool([("x", one), ("x", one)]).n, pool([("x", one), ("y", other)]).n) == (200, 400)


def test_a_row_that_one_task_lacks_leaves_the_others_together() -> None:
    """Two tasks with the same differences are one piece of evidence, whichever row either lacks."""
    generator = np.random.default_rng(3)
    a, b = generator.normal(size=60).tolist(), generator.normal(size=60).tolist()
    whole = pair(ones(a), ones(b), ids(60))
    without = [
        pair(
            ones([*a[:place], *a[place + 1 :]]),
            ones([*b[:place], *b[place + 1 :]]),
            [*ids(60)[:place], *ids(60)[place + 1 :]],
        )
        for place in (7, 31)
    ]
    first, second = without
    assert whole is not None
    assert first is not None
    assert second is not None
    for parts in ((whole, first), (first, second)):
        found = pool([("x", each) for each in parts])
        assert found.interval.stderr == pytest.approx(whole.interval.stderr, rel=0.05)
        assert found.clusters == 60
        assert found.df == pytest.approx(58)


def test_a_tied_row_makes_no_winner_of_few_that_differ() -> None:
    """McNemar finds p = 1/16 in five rows of one sign; a row that is tied in both models changes nothing."""
    right, wrong = [1.0] * 1000, [0.0] * 5 + [1.0] * 995
    plain = pair(ones(right), ones(wrong), ids(1000))
    tied = pair(ones([*right, 0.5]), ones([*wrong, 0.5]), ids(1001))
    assert plain is not None
    assert tied is not None
    assert plain.p == 2 / 2**5
    assert tied.p > 0.05
    assert tied.interval.low <= 0


numbers = st.one_of(
    st.sampled_from([0.0, 1.0]), st.floats(-1e3, 1e3, allow_subnormal=False), st.integers(0, 5).map(float)
)


@settings(max_examples=30)
@given(
    st.lists(st.tuples(numbers, numbers, st.integers(1, 9).map(float), st.sampled_from("pqrs")), min_size=2, max_size=9)
)
def test_swapping_models_negates_and_permuting_rows_changes_nothing(
    rows: list[tuple[float, float, float, str]],
) -> None:
    def sides(rows: list[tuple[float, float, float, str]]) -> tuple[Side, Side, list[str]]:
        a, b, below, clusters = (list(column) for column in zip(*rows, strict=True))
        return Side(a, below), Side(b, below), clusters

    a, b, clusters = sides(rows)
    found, swapped = pair(a, b, clusters), pair(b, a, clusters)
    assert (found is None) == (swapped is None)
    if found is None or swapped is None:
        assert len(set(clusters)) < 2
        return
    assert (swapped.difference, swapped.p, swapped.detectable) == (-found.difference, found.p, found.detectable)
    assert (swapped.interval.low, swapped.interval.high) == pytest.approx((-found.interval.high, -found.interval.low))
    assert 0 < found.p <= 1
    assert pair(a, a, clusters) == pair(*sides(rows)[:1] * 2, clusters)
    shuffled = random.Random(0).sample(rows, len(rows))
    assert pair(*sides(shuffled)) == found


def document_2(store: RecordStore) -> None:
    """Write answers with the document's accuracies and counts, the two models right independently of each other."""
    for task, (adapter, stderr, base) in DOCUMENT_2.items():
        n = round(adapter * (1 - adapter) / stderr**2) + 1
        k_adapter, k_base = round(adapter * n), round(base * n)
        both = round(k_adapter * k_base / n)
        right = [(1, 1)] * both + [(1, 0)] * (k_adapter - both) + [(0, 1)] * (k_base - both)
        right += [(0, 0)] * (n - len(right))
        save_answers(store, "adapter", task, [a for a, _ in right])
        save_answers(store, "base-4bit", task, [b for _, b in right])


def test_document_2_says_that_the_adapter_is_worse_than_its_base(tmp_path: Path, tilbench: Tilbench) -> None:
    document_2(RecordStore(tmp_path))
    found = json.loads(tilbench("compare", "adapter", "base-4bit", "--records", tmp_path, "--json").out)
    assert (found["a"]["name"], len(found["tasks"])) == ("adapter", 11)
    for task in found["tasks"]:
        adapter, _, base = DOCUMENT_2[task["task"]]
        assert (task["a"], task["b"]) == pytest.approx((adapter, base), abs=0.004)
        assert task["winner"] in ("b", "unclear")
        assert task["p"] == pytest.approx(mcnemar(task["only_a_right"], task["only_b_right"]))
        assert task["difference"] == pytest.approx((task["only_a_right"] - task["only_b_right"]) / task["n"])
        assert task["low"] <= task["difference"] <= task["high"]
        assert task["p_holm"] >= task["p"]
    (pooled,) = found["pooled"]
    assert pooled["winner"] == "b"
    assert pooled["difference"] == pytest.approx(-0.0283, abs=0.001)
    assert pooled["verdict"].startswith("base-4bit is better by 2.8 points [")
    assert pooled["verdict"].endswith("p < 0.001; adapter is ahead on 0, base-4bit on 11 of 11")


def test_scores_stand_beside_chance(tmp_path: Path, tilbench: Tilbench) -> None:
    document_2(RecordStore(tmp_path))
    out = tilbench(
        "compare", "adapter", "base-4bit", "--records", tmp_path, "--tasks", "kazakh_and_literature,dastur"
    ).out
    assert "adapter 14.1% [" in out
    assert out.count("chance 25.0%") == 2
    assert "neither is above chance; adapter and base-4bit are below chance, which points at a broken prompt" in out
    dastur = next(line for line in out.splitlines() if line.startswith("  not distinguishable: A − B = -0.6 points ["))
    assert dastur.endswith("points or more in 80% of tries; neither is above chance")


def comparison(tmp_path: Path, a: Sequence[float], b: Sequence[float]) -> Comparison:
    store = RecordStore(tmp_path)
    save_bits(store, "alpha", a)
    save_bits(store, "beta", b)
    return compare_models(store, "alpha", "beta")


def test_a_lower_value_wins_where_lower_is_better(tmp_path: Path, tilbench: Tilbench) -> None:
    generator = np.random.default_rng(0)
    bits = generator.normal(150, 10, size=100)
    found = comparison(tmp_path, bits.tolist(), (bits + generator.normal(12, 1, size=100)).tolist())
    assert found.tasks[0].winner == "a"
    printed = tilbench("compare", "alp", "beta", "--records", tmp_path)
    assert printed.status == 0
    assert "alpha is better by 0.119 bits/byte [0.118, 0.121]" in printed.out
    assert "p < 0.001" in printed.out
    assert "(Holm)" not in printed.out  # one task
    swapped = tilbench("compare", "beta", "alpha", "--records", tmp_path).out
    assert printed.out.splitlines()[2:] == swapped.splitlines()[2:]


def test_noise_is_not_called_a_difference_and_the_advice_says_what_would_be(tmp_path: Path, tilbench: Tilbench) -> None:
    generator = np.random.default_rng(0)
    bits = generator.normal(150, 10, size=100)
    found = comparison(tmp_path, bits.tolist(), (bits + generator.normal(0, 5, size=100)).tolist())
    assert found.tasks[0].winner == "unclear"
    out = tilbench("compare", "alpha", "beta", "--records", tmp_path).out
    assert "not distinguishable: A − B = " in out
    assert "100 such rows show 0.014 bits/byte or more in 80% of tries" in out


def test_too_few_documents_name_no_winner_and_are_no_further_test(tmp_path: Path, tilbench: Tilbench) -> None:
    """Five documents of one sign cannot reach p < 0.05, and so do not make Holm stricter for the other task."""
    store = RecordStore(tmp_path)
    bits = [100.0 + place for place in range(9)]
    for model, more in (("alpha", 0.0), ("beta", 30.0)):
        save_bits(store, model, [each + more + place % 3 * more / 30 for place, each in enumerate(bits)])
        save_bits(store, model, [each + more for each in bits[:5]], "small")
    found = compare_models(store, "alpha", "beta")
    assert {task.a.task.name: task.winner for task in found.tasks} == {"news": "a", "small": "too few"}
    assert {task.a.task.name: task.p for task in found.tasks} == {"news": 2.0**-8, "small": 2.0**-4}
    out = tilbench("compare", "alpha", "beta", "--records", tmp_path).out
    assert "  too few: A − B = -0.300 bits/byte [" in out
    assert "0.00] from 5 independent rows, and a winner needs 6\n" in out


def test_holms_p_and_not_the_plain_one_names_the_winner(tmp_path: Path) -> None:
    """14 to 4 has p = 0.031 alone, and 0.062 as one of two tasks."""
    store = RecordStore(tmp_path)
    for task in ("exam", "quiz"):
        save_answers(store, "alpha", task, [1] * 14 + [0] * 4)
        save_answers(store, "beta", task, [0] * 14 + [1] * 4)
    found = compare_models(store, "alpha", "beta")
    plain = scipy.stats.binomtest(4, 18).pvalue
    assert [task.paired.p for task in found.tasks] == pytest.approx([plain] * 2)
    assert [task.p for task in found.tasks] == pytest.approx([2 * plain] * 2)
    assert [task.winner for task in found.tasks] == ["unclear", "unclear"]
    alone = compare_models(store, "alpha", "beta", tasks=["exam"])
    assert alone.tasks[0].winner == "a"
    assert verdict(found, found.tasks[0]).startswith("not distinguishable: A − B = 55.6 points [")
    assert "p = 0.062 (Holm)" in verdict(found, found.tasks[0])
    assert ComparisonReport(found).tasks[0].p_holm == pytest.approx(2 * plain)


def test_no_difference_of_more_than_a_hundred_points_is_asked_for(tmp_path: Path, tilbench: Tilbench) -> None:
    store = RecordStore(tmp_path)
    save_answers(store, "alpha", "exam", [1, 1, 1, 0, 0, 0, 1])
    save_answers(store, "beta", "exam", [0, 0, 0, 1, 1, 1, 0])
    out = tilbench("compare", "alpha", "beta", "--records", tmp_path).out
    assert "7 such rows are too few to show any difference" in out


def test_a_model_is_identical_to_itself(tmp_path: Path, tilbench: Tilbench) -> None:
    found = comparison(tmp_path, [1.0, 2.0, 4.0], [1.0, 2.0, 4.0])
    assert (found.tasks[0].winner, found.tasks[0].p) == ("identical", 1)
    assert "identical, row by row" in tilbench("compare", "alpha", "alpha", "--records", tmp_path).out


def test_records_of_different_tasks_are_refused_with_what_differs(tmp_path: Path, tilbench: Tilbench) -> None:
    store = RecordStore(tmp_path)
    save_bits(store, "alpha", [1.0, 2.0, 3.0])
    save_bits(store, "beta", [1.0, 2.0, 4.0], settings={"window": 64})
    save_bits(store, "alpha", [1.0, 2.0, 3.0], "wiki")
    save_bits(store, "beta", [1.0, 2.0, 4.0], "wiki")
    outcome = tilbench("compare", "alpha", "beta", "--records", tmp_path)
    assert (outcome.status, outcome.err.count("\n"), outcome.out) == (2, 1, "")
    assert "kazakh/news is not the same task in the records of alpha and beta" in outcome.err
    assert "setting window: 512, not 64" in outcome.err
    assert tilbench("compare", "alpha", "beta", "--records", tmp_path, "--tasks", "wiki").status == 0


def test_reported_figures_are_never_compared(tmp_path: Path) -> None:
    store = RecordStore(tmp_path)
    for task in ("news", "wiki"):
        save_bits(store, "alpha", [1.0, 2.0, 3.0], task)
    save_bits(store, "beta", [1.0, 2.0, 4.0], "wiki")
    save_bits(store, "beta", [1.0, 2.0, 4.0], source="reported", citation="a paper")
    found = compare_models(store, "alpha", "beta")
    assert [task.a.task.name for task in found.tasks] == ["wiki"]
    assert [(each.task, each.reason) for each in found.skipped] == [
        ("news", "only a reported figure of beta, which has no items to pair")
    ]


def test_a_task_in_two_suites_is_one_piece_of_evidence(tmp_path: Path) -> None:
    store = RecordStore(tmp_path)
    for model, last in (("alpha", 3.0), ("beta", 4.0)):
        for suite in ("kazakh", "turkish"):
            save_bits(store, model, [1.0, 2.0, last], suite=suite)
    found = compare_models(store, "alpha", "beta")
    assert (len(found.tasks), found.skipped) == (1, ())


def test_of_a_sample_and_the_whole_the_whole_is_compared_unless_the_sample_is_named(tmp_path: Path) -> None:
    store = RecordStore(tmp_path)
    for rows in (3, 8, 5):
        for model, less in (("alpha", 0.0), ("beta", 1.0)):
            path = save_bits(store, model, [float(row + 2) - less for row in range(rows)], rows=rows)
            content = json.loads(path.read_text())
            content["task"]["position"] = rows  # the suite has been put in another order since
            path.write_text(json.dumps(content))
    found = compare_models(store, "alpha", "beta")
    assert [task.paired.n for task in found.tasks] == [8]
    assert (found.tasks[0].p, found.pooled) == (2.0**-7, ())
    reasons = ["its record on 3 rows; the one on 8 is compared", "its record on 5 rows; the one on 8 is compared"]
    assert sorted(each.reason for each in found.skipped) == reasons
    (named,) = [made.task.fingerprint for _, made in store.records() if made.task.dataset.rows == 3][:1]
    found = compare_models(store, "alpha", "beta", fingerprints=[named])
    assert [task.paired.n for task in found.tasks] == [3]


def test_items_that_are_missing_or_changed_are_named(tmp_path: Path) -> None:
    store = RecordStore(tmp_path)
    save_bits(store, "alpha", [1.0, 2.0, 3.0])
    items = save_bits(store, "beta", [1.0, 2.0, 4.0]).with_suffix(".parquet")
    honest = items.read_bytes()
    items.write_bytes(
        save_bits(RecordStore(tmp_path / "other"), "beta", [1.0, 1.0]).with_suffix(".parquet").read_bytes()
    )
    with pytest.raises(DataError, match=r"beta-\w+\.parquet: not the file that was recorded"):
        compare_models(store, "alpha", "beta")
    items.write_bytes(honest)
    path = items.with_suffix(".json")
    path.write_text(path.read_text().replace(str(7 / 300), "0.001"))
    with pytest.raises(DataError, match=r"bpb is 0\.001, and its items give 0\.0233"):
        compare_models(store, "alpha", "beta")
    items.unlink()
    with pytest.raises(DataError, match=r"beta-\w+\.parquet: the items of this record are missing"):
        compare_models(store, "alpha", "beta")


def test_what_cannot_be_compared_is_said_with_its_reason(tmp_path: Path) -> None:
    store = RecordStore(tmp_path)
    for model in ("alpha", "beta"):
        save_bits(store, model, [1.0, 2.0])
        save_bits(store, model, [1.0], "one-document")
        save_bits(store, model, [1.0 + (model == "beta"), math.inf], "infinite")
        plain = record(model, "undeclared", Value(value=1, n=2, unit="", direction="none"))
        store.write(plain, [ItemScore("x", "x", {"bits": 1.0})])
    save_bits(store, "alpha", [1.0, 2.0], "only-alpha")
    store.write(record("beta", "blank", status="n/a", reason="no such requests"), [])
    reasons = {each.task: each.reason for each in compare_models(store, "alpha", "beta").skipped}
    assert reasons == {
        "infinite": "an item has a number that is not finite",
        "undeclared": "its bpb has no items of its own to pair; if the record is old, score it again",
        "only-alpha": "no record of beta",
        "blank": "no record of alpha; beta n/a: no such requests",
    }
    with pytest.raises(DataError, match="nothing of alpha and beta can be compared: blank: no record of alpha"):
        compare_models(store, "alpha", "beta", tasks=["blank"])


def test_every_reason_is_named_where_nothing_can_be_compared(tmp_path: Path) -> None:
    store = RecordStore(tmp_path)
    tasks = [f"task-{place}" for place in range(6)]
    for task in tasks:
        save_bits(store, "alpha", [1.0, 2.0], task)
        store.write(record("beta", task, status="n/a", reason=f"why of {task}"), [])
    with pytest.raises(DataError) as raised:
        compare_models(store, "alpha", "beta")
    assert [task for task in tasks if f"{task}: beta n/a: why of {task}" not in str(raised.value)] == []


def test_a_headline_of_all_rows_together_names_the_one_that_can_be_paired(tmp_path: Path) -> None:
    store = RecordStore(tmp_path)
    acc = Value(value=0.5, n=2, unit="fraction", direction="higher", of=("acc", ""))
    f1 = Value(value=0.4, n=2, unit="fraction", direction="higher")
    for model in ("alpha", "beta"):
        made = record(model, "topics", f1, headline="macro_f1", settings={"headline": "macro_f1"})
        store.write(
            made.model_copy(update={"values": {**made.values, "acc": acc}}), [ItemScore("x", "x", {"acc": 1.0})]
        )
        mean = record(model, "mean", f1, headline="macro_f1", settings={"tasks": ["topics"], "value": "macro_f1"})
        store.write(mean.model_copy(update={"task": mean.task.model_copy(update={"metric": MACRO})}), [])
        save_bits(store, model, [1.0, 2.0])
    reasons = {each.task: each.reason for each in compare_models(store, "alpha", "beta").skipped}
    assert reasons == {
        "topics": "its macro_f1 has no items of its own to pair; score a task with 'headline: acc'",
        "mean": "a mean of tasks has no items of its own to pair; compare its tasks",
    }


def test_models_are_found_by_name_beginning_or_fingerprint(tmp_path: Path) -> None:
    store = RecordStore(tmp_path)
    for name, fingerprint in [("run@4", "aaaa1"), ("run@40", "bbbb1"), ("twin", "cccc1"), ("twin", "dddd1")]:
        save_bits(store, name, [1.0, 2.0], model_fingerprint=fingerprint)
    found = compare_models(store, "run@4", "twin#d")
    assert (found.a.name, found.b.fingerprint) == ("run@4", "dddd1")
    assert compare_models(store, "run@4", found.b.label).b.fingerprint == "dddd1"
    assert compare_models(store, "cccc", "run@40").a.fingerprint == "cccc1"
    with pytest.raises(DataError, match=r"'twin' is the name of two models; name one of 'twin #\w{6}', 'twin #\w{6}'"):
        compare_models(store, "twin", "run@4")
    with pytest.raises(DataError, match="'run' begins several models' names; name one of 'run@4', 'run@40'"):
        compare_models(store, "run", "run@4")
    with pytest.raises(UnknownName, match="did you mean run@4 or run@40"):
        compare_models(store, "run@41x", "run@4")
    with pytest.raises(UnknownName, match="did you mean news"):
        compare_models(store, "run@4", "run@40", tasks=["newz"])
    with pytest.raises(UnknownName, match="unknown suite"):
        compare_models(store, "run@4", "run@40", suite="kazah")


@pytest.mark.parametrize(
    "asked", ["twin#dddd1", "twin#d", "twin #d", "twin #LABEL", "twin#LABEL", "a#b#dddd2", "a#b#d", "a#b"]
)
def test_a_name_and_the_beginning_of_a_fingerprint_name_one_model(tmp_path: Path, asked: str) -> None:
    store = RecordStore(tmp_path)
    for name, fingerprint in [("twin", "cccc1"), ("twin", "dddd1"), ("a#b", "dddd2"), ("a", "bbbb1")]:
        save_bits(store, name, [1.0, 2.0], model_fingerprint=fingerprint)
    digest = hashlib.sha256(b"dddd1").hexdigest()[:6]  # as in the labels of the board
    found = compare_models(store, asked.replace("LABEL", digest), "a#bbbb")
    assert found.a.fingerprint == ("dddd1" if "twin" in asked else "dddd2")
    assert found.b.fingerprint == "bbbb1"


@pytest.mark.parametrize("asked", ["./folder", "./folder/", "folder", "{tmp}/folder"])
def test_a_folder_of_another_kind_is_the_model_that_the_records_call_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    records = [record("./folder"), record("other")]
    assert recorded_model(asked.format(tmp=tmp_path), records) == "./folder"
    assert recorded_model("other", records) == "other"


def test_a_run_is_its_last_checkpoint_as_it_is_for_run(
    tmp_path: Path, tilbench: Tilbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    store = RecordStore(tmp_path / "records")
    for run, steps in (("kk", (20, 40)), ("tr", (40,))):
        for step in steps:
            folder = Path("runs", run, f"step-{step:08d}")
            folder.mkdir(parents=True)
            info = CheckpointInfo(
                model="toy",
                architecture=ArchitectureRef(name="gpt2"),
                tokenizer="bytes",
                prefix=None,
                parameters=1,
                step=step,
            )
            write_info(folder, info)
    kinds = [("runs/kk@20", "f20", 20), ("runs/kk@40", "f40", 40), ("runs/kk", "f20", 20), ("runs/tr", "t40", 40)]
    for name, fingerprint, step in kinds:
        save_bits(store, name, [100.0 + step] * 7, model_fingerprint=fingerprint, step=step)

    def compared(asked: str) -> tuple[str, str]:
        found = json.loads(tilbench("compare", asked, "runs/tr", "--json").out)
        return found["a"]["name"], found["a"]["fingerprint"]

    for asked in ("runs/kk", "./runs/kk/", str(tmp_path / "runs/kk"), "runs/kk@40", "runs/kk/step-00000040"):
        assert compared(asked) == ("runs/kk@40", "f40")
    assert compared("./runs/kk@20") == ("runs/kk@20", "f20")
    assert compared("runs/kk#f20") == ("runs/kk", "f20")


def test_one_task_that_cannot_be_compared_leaves_the_others(tmp_path: Path, tilbench: Tilbench) -> None:
    store = RecordStore(tmp_path)
    score = Value(value=0.5, n=8, unit="1/rank", direction="higher", of=("reciprocal_rank", "probes"))
    for model, more in (("alpha", 0.0), ("beta", 9.0)):
        save_bits(store, model, [100.0 + place + more for place in range(8)])
        made = record(model, "probes", score, headline="bpb", rows=8)
        store.write(made, [ItemScore(f"p{place}", f"p{place}", {"rank": 2.0}) for place in range(8)])
        save_bits(store, model, [100.0 + place + more for place in range(8)], "gone").with_suffix(".parquet").unlink()
    outcome = tilbench("compare", "alpha", "beta", "--records", tmp_path)
    assert (outcome.status, outcome.err) == (0, "")
    assert "alpha is better by 0.090 bits/byte" in outcome.out
    assert "an item lacks the number 'reciprocal_rank', which bpb is made of; score it again" in outcome.out
    assert "the items of this record are missing" in outcome.out


SUITE = """
name: small
reference_text: [text/kk/train]
baselines: [uniform-bytes, ngram]
tasks:
  - {name: bpb-kk, metric: bpb, dataset: text/kk/heldout}
  - {name: exam, metric: choice, dataset: questions/kk/test, settings: {form: cloze}, limit: 20}
"""


def test_records_of_a_run_compare_and_verify(tmp_path: Path, tilbench: Tilbench) -> None:
    (tmp_path / "small.yaml").write_text(SUITE, encoding="utf-8")
    assert tilbench("run", tmp_path / "small.yaml", "--out", tmp_path / "records").status == 0
    assert tilbench("records", "verify", tmp_path / "records").status == 0
    outcome = tilbench("compare", "ngram", "uniform", "--records", tmp_path / "records")
    assert outcome.status == 0
    assert "ngram is better by 6." in outcome.out
    assert "small/exam (acc_char, n = 20)" in outcome.out
    assert "chance 25.0%" in outcome.out


def test_few_documents_of_effect_are_warned_of_beside_the_verdict(tmp_path: Path) -> None:
    """Closed form: one document of nine bytes and k of one count as (9 + k)² / (81 + k)."""
    generator = np.random.default_rng(0)
    for extra, warned in ((11, True), (120, False)):
        sizes = [9.0, *[1.0] * extra]
        a, b = (Side((generator.random(extra + 1) * sizes).tolist(), sizes) for _ in "ab")
        paired = pair(a, b, ids(extra + 1))
        assert paired is not None
        assert paired.effective == pytest.approx((9 + extra) ** 2 / (81 + extra))
        assert (paired.effective < FEWEST_EFFECTIVE) == warned
    plain = pair(ones([1.0, 0.5, 0.2]), ones([0.1, 0.3, 0.9]), ids(3))
    assert plain is not None
    assert plain.effective == math.inf
    for count, warned in ((12, True), (40, False)):
        bits = generator.random(count)
        found = comparison(tmp_path / str(count), (bits + 1).tolist(), bits.tolist())
        notes = caveats(found, found.tasks[0])
        assert any("of equal length" in note for note in notes) == warned


def test_the_mean_of_tasks_counts_as_the_task_with_the_fewest_documents() -> None:
    generator = np.random.default_rng(0)

    def task(sizes: list[float]) -> paired.Paired:
        a, b = (Side((generator.random(len(sizes)) * sizes).tolist(), sizes) for _ in "ab")
        found = pair(a, b, ids(len(sizes)))
        assert found is not None
        return found

    sizes = [[9.0] + [1.0] * 11, [2.0] * 7 + [1.0] * 40, [3.0] * 8]
    tasks = [task(size) for size in sizes]
    assert [each.effective for each in tasks] == pytest.approx([20**2 / 92, 54**2 / 68, 8])
    assert pool([(str(place), each) for place, each in enumerate(tasks)]).effective == tasks[0].effective
    assert pool([("x", tasks[0]), ("x", tasks[1])]).effective == tasks[0].effective
    plain = pair(ones([1.0, 0.5, 0.2]), ones([0.1, 0.3, 0.9]), ids(3))
    assert plain is not None
    assert pool([("x", plain), ("y", plain)]).effective == math.inf


def test_few_documents_of_several_tasks_are_warned_of_in_the_comparison_and_in_the_release(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    for count, warned in ((8, True), (20, True), (40, False)):
        store = RecordStore(tmp_path / str(count))
        for task in ("news", "books"):
            bits = generator.random(count)
            save_bits(store, "alpha", (bits + 1).tolist(), task, rows=count + len(task))
            save_bits(store, "beta", bits.tolist(), task, rows=count + len(task))
        found = compare_models(store, "alpha", "beta")
        assert any("of equal length" in note for note in caveats(found, found.tasks[0])) == warned
        assert any("of equal length" in note for note in pooled_caveats(found, found.pooled[0])) == warned
        warnings = 3 * warned
        assert repr(ComparisonReport(found)).count("of equal length") == warnings
        assert "\n".join(comparison_lines(found)).count("of equal length") == warnings


def test_what_was_lost_in_any_task_stands_beside_the_mean_of_tasks(tmp_path: Path) -> None:
    store = RecordStore(tmp_path)
    for task, lost in (("news", 5), ("books", 0)):
        save_bits(store, "alpha", [1.0, 2.0], task, reading=Reading(scored_bytes=1000, lost_bytes=lost))
        save_bits(store, "beta", [1.5, 2.0], task)
    found = compare_models(store, "alpha", "beta")
    notes = pooled_caveats(found, found.pooled[0])
    assert any(note.startswith("alpha: 0.2% of") for note in notes), notes
    assert not any(note.startswith("beta") for note in notes)

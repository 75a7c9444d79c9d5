import doctest
import math
import random

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from tilbench.kinds.metric import ItemScore
from tilbench.results import statistics
from tilbench.results.statistics import (
    Ratio,
    bootstrap_ratio_interval,
    bootstrap_sums,
    clustered_standard_error,
    mean_interval,
    proportion_interval,
    ratio_values,
    wilson_interval,
)

GENERATOR = np.random.default_rng(0)


def ids(count: int) -> list[str]:
    return [f"row-{index}" for index in range(count)]


def test_docstring_examples() -> None:
    assert doctest.testmod(statistics).failed == 0


def test_without_clusters_it_is_the_standard_error_of_the_mean() -> None:
    values = GENERATOR.normal(size=50).tolist()
    assert clustered_standard_error(values, ids(50)) == pytest.approx(scipy.stats.sem(values), rel=1e-12)


def test_clusters_follow_the_double_sum_of_the_paper() -> None:
    values, clusters = [1, 0, 1, 1, 0, 0, 1.0], list("aabbbcd")
    mean, n = sum(values) / 7, 7
    total = sum((x - mean) ** 2 for x in values) / (n * (n - 1))
    for i in range(n):
        for j in range(n):
            if i != j and clusters[i] == clusters[j]:
                total += (values[i] - mean) * (values[j] - mean) / n**2
    assert clustered_standard_error(values, clusters) == pytest.approx(math.sqrt(total), rel=1e-12)


def test_copies_of_a_row_add_no_evidence() -> None:
    values = GENERATOR.integers(0, 2, 200).tolist()
    alone = clustered_standard_error(values, ids(200))
    copied = clustered_standard_error(values * 4, ids(200) * 4)
    assert copied == pytest.approx(alone, rel=0.01)
    assert clustered_standard_error(values * 4, ids(800)) < 0.6 * alone


@pytest.mark.parametrize(("successes", "n"), [(0, 10), (10, 10), (3, 10), (342, 896), (1, 2)])
def test_wilson_agrees_with_scipy(successes: int, n: int) -> None:
    expected = scipy.stats.binomtest(successes, n).proportion_ci(0.95, method="wilson")
    assert wilson_interval(successes, n) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_a_share_without_clusters_is_wilsons() -> None:
    interval = proportion_interval([1.0] * 3 + [0.0] * 7, ids(10))
    assert interval is not None
    assert (interval.low, interval.high) == wilson_interval(3, 10)


@given(st.lists(st.tuples(st.booleans(), st.sampled_from("abcdef")), min_size=2, max_size=40))
def test_a_share_stays_within_its_bounds(rows: list[tuple[bool, str]]) -> None:
    values, clusters = [float(right) for right, _ in rows], [cluster for _, cluster in rows]
    interval = proportion_interval(values, clusters)
    if len(set(clusters)) < 2:
        assert interval is None
        return
    assert interval is not None
    assert 0 <= interval.low <= sum(values) / len(values) + 1e-12
    assert sum(values) / len(values) - 1e-12 <= interval.high <= 1
    assert interval.low < interval.high


def test_bootstrap_agrees_with_the_delta_method() -> None:
    bytes_ = GENERATOR.integers(100, 5000, 400).astype(float)
    bits = bytes_ * GENERATOR.normal(1.2, 0.2, 400)
    ratio = bits.sum() / bytes_.sum()
    stderr = np.std(bits - ratio * bytes_, ddof=1) / (bytes_.mean() * 20)
    interval = bootstrap_ratio_interval(bits.tolist(), bytes_.tolist(), ids(400), seed=0, resamples=4000)
    assert interval is not None
    assert interval.stderr == pytest.approx(stderr, rel=0.05)
    assert (interval.low, interval.high) == pytest.approx((ratio - 1.96 * stderr, ratio + 1.96 * stderr), rel=0.005)


@pytest.mark.parametrize("clustered", [False, True])
def test_nothing_depends_on_the_order_of_rows(clustered: bool) -> None:
    above, below = GENERATOR.random((2, 60)).tolist()
    clusters = [f"c{index % 7}" if clustered else f"c{index}" for index in range(60)]
    rows = list(zip(above, below, clusters, strict=True))
    shuffled = [list(column) for column in zip(*random.Random(0).sample(rows, 60), strict=True)]
    expected = bootstrap_ratio_interval(above, below, clusters, seed=3)
    assert bootstrap_ratio_interval(shuffled[0], shuffled[1], shuffled[2], seed=3) == expected
    assert mean_interval(shuffled[0], shuffled[2]) == mean_interval(above, clusters)


def test_whole_clusters_are_drawn() -> None:
    sums = bootstrap_sums([[1.0, 2.0, 4.0, 8.0]], ["a", "a", "b", "b"], seed=0)
    assert sums is not None
    assert set(sums[:, 0].tolist()) == {6.0, 15.0, 24.0}


def test_chunks_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    values, clusters = GENERATOR.random((2, 50)).tolist(), ids(50)
    whole = bootstrap_sums(values, clusters, seed=1)
    monkeypatch.setattr(statistics, "_CHUNK", 120)
    np.testing.assert_allclose(bootstrap_sums(values, clusters, seed=1), whole, rtol=1e-12)  # type: ignore[arg-type]


@pytest.mark.parametrize(("values", "clusters"), [([], []), ([1.0], ["a"]), ([1.0, 2.0], ["a", "a"])])
def test_one_cluster_has_no_interval(values: list[float], clusters: list[str]) -> None:
    assert mean_interval(values, clusters) is None
    assert proportion_interval([min(value, 1.0) for value in values], clusters) is None
    assert bootstrap_ratio_interval(values, values, clusters, seed=0) is None


def test_infinite_values_have_no_interval_and_no_warning() -> None:
    assert bootstrap_ratio_interval([math.inf, 1.0], [1.0, 1.0], ["a", "b"], seed=0) is None


def test_ratios_that_cannot_be_formed_are_left_out() -> None:
    scores = [ItemScore("a", "a", {"x": 3.0, "y": 0.0, "z": 1.0}), ItemScore("b", "b", {"x": 3.0, "y": 0.0})]
    ratios = {
        "x/y": Ratio("x", "y", "", "lower"),
        "x/z": Ratio("x", "z", "", "lower"),
        "y/x": Ratio("y", "x", "", "lower"),
    }
    assert list(ratio_values(scores, ratios, seed=0)) == ["y/x"]
    assert ratio_values([], ratios, seed=0) == {}

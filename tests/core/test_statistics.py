import doctest
import math
import random
import subprocess
import sys

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from tilbench.kinds.metric import ItemScore
from tilbench.results import statistics
from tilbench.results.statistics import (
    Ratio,
    Spread,
    cluster_sums,
    degrees_of_freedom,
    jackknife,
    leave_one_out,
    mean_interval,
    proportion_interval,
    ratio_interval,
    ratio_values,
    statistic_interval,
    summed,
    wilson_interval,
)

GENERATOR = np.random.default_rng(0)


def ids(count: int) -> list[str]:
    return [f"row-{index}" for index in range(count)]


def test_docstring_examples() -> None:
    assert doctest.testmod(statistics).failed == 0


def test_scipy_is_imported_when_something_is_computed() -> None:
    modules = "tilbench.results.statistics, tilbench.results.macro, tilbench.lint.chi_square"
    code = f"import sys, {modules}; print([each for each in sys.modules if each.partition('.')[0] == 'scipy'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("power", [1, 2])
def test_a_mean_has_students_interval_and_on_the_side_of_a_tail_johnsons(power: int) -> None:
    values = (np.abs(GENERATOR.normal(size=30)) ** power).tolist()
    interval = mean_interval(values, ids(30))
    assert interval is not None
    assert interval.stderr == pytest.approx(scipy.stats.sem(values), rel=1e-12)
    student = scipy.stats.t.interval(0.95, 29, np.mean(values), interval.stderr)
    third, t = np.mean((values - np.mean(values)) ** 3), scipy.stats.t.ppf(0.975, 29)
    spread = np.std(values)
    assert third > 0
    johnson = third / (6 * spread**2 * 30) * (1 + 2 * t**2) * interval.stderr / (spread / 30**0.5)
    assert interval.low == pytest.approx(student[0], rel=1e-9)
    assert interval.high == pytest.approx(student[1] + johnson, rel=1e-9)
    turned = mean_interval([-value for value in values], ids(30))
    assert turned is not None
    assert (turned.low, turned.high) == pytest.approx((-interval.high, -interval.low))


def test_a_mean_of_symmetric_rows_has_the_textbook_interval() -> None:
    values = [value for each in GENERATOR.normal(size=7).tolist() for value in (3 - each, 3 + each)]
    interval = mean_interval(values, ids(14))
    assert interval is not None
    expected = scipy.stats.t.interval(0.95, 13, 3, scipy.stats.sem(values))
    assert (interval.low, interval.high) == pytest.approx(expected)


@given(st.floats(0.1, 5), st.floats(1, 200), st.floats(-2, 2), st.floats(-9, 9))
def test_p_is_the_level_whose_interval_ends_at_0(stderr: float, df: float, skewness: float, difference: float) -> None:
    spread = Spread(stderr, df, skewness)
    p = spread.p(difference)
    assert 0 <= p <= 1
    if 1e-12 < p < 1:
        t = scipy.stats.t.isf(p / 2, df)
        assert abs(difference) == pytest.approx(
            spread.reach(t, -1 if difference > 0 else 1) * stderr, rel=1e-4, abs=1e-9
        )
    interval = spread.interval(difference)
    if abs(p - 0.05) > 1e-6:
        assert (p < 0.05) == (not interval.low <= 0 <= interval.high)
    assert Spread(stderr, df).p(difference) == pytest.approx(2 * scipy.stats.t.sf(abs(difference) / stderr, df))
    assert spread.p(-difference) == pytest.approx(Spread(stderr, df, -skewness).p(difference))


def test_the_error_of_clusters_is_the_jackknife_over_clusters() -> None:
    above, below, clusters = [3.0, 1, 4, 1, 5, 9, 2], [2.0, 7, 1, 8, 2, 8, 1], list("aabbbcd")
    rows = list(zip(above, below, clusters, strict=True))
    ratios = []
    for left_out in "abcd":
        rest = [(x, y) for x, y, cluster in rows if cluster != left_out]
        ratios.append(sum(x for x, _ in rest) / sum(y for _, y in rest))
    ratio = sum(above) / sum(below)
    expected = math.sqrt(3 / 4 * sum((each - ratio) ** 2 for each in ratios))
    interval = ratio_interval(above, below, clusters)
    assert interval is not None
    assert interval.stderr == pytest.approx(expected, rel=1e-12)
    assert interval.low < ratio < interval.high


@given(st.lists(st.floats(0.1, 50), min_size=2, max_size=12))
def test_degrees_of_freedom_are_those_of_bell_and_mccaffrey(below: list[float]) -> None:
    share = np.array(below) / sum(below)
    residuals = np.eye(len(below)) - np.outer(share, np.ones(len(below)))
    form = residuals.T @ np.diag((1 - share) ** -2) @ residuals
    scaled = np.diag(share) @ form @ np.diag(share)
    expected = np.trace(scaled) ** 2 / np.trace(scaled @ scaled)
    assert degrees_of_freedom(np.array(below)) == pytest.approx(max(1, expected), rel=1e-4)
    assert degrees_of_freedom(np.ones(len(below))) == pytest.approx(len(below) - 1)


def test_degrees_of_freedom_of_a_sum_of_errors_are_satterthwaites() -> None:
    s1, n1, s2, n2 = 1.3, 8, 0.4, 15
    expected = (s1**2 + s2**2) ** 2 / (s1**4 / (n1 - 1) + s2**4 / (n2 - 1))
    found = summed([Spread(s1, n1 - 1, 0.5), Spread(s2, n2 - 1, -0.2)])
    assert (found.stderr, found.df) == pytest.approx((math.hypot(s1, s2), expected))
    assert found.skewness == pytest.approx((0.5 * s1**3 - 0.2 * s2**3) / found.stderr**3)
    assert summed([Spread(0.0, 3)]) == Spread(0.0, math.inf)


def test_copies_of_a_row_add_no_evidence() -> None:
    values = GENERATOR.integers(0, 2, 200).tolist()
    alone, copied = mean_interval(values, ids(200)), mean_interval(values * 4, ids(200) * 4)
    apart = mean_interval(values * 4, ids(800))
    assert alone is not None
    assert copied is not None
    assert apart is not None
    assert (copied.low, copied.high, copied.stderr) == pytest.approx((alone.low, alone.high, alone.stderr))
    assert apart.stderr < 0.6 * alone.stderr


@pytest.mark.parametrize(("successes", "n"), [(0, 10), (10, 10), (3, 10), (342, 896), (1, 2)])
def test_wilson_agrees_with_scipy(successes: int, n: int) -> None:
    expected = scipy.stats.binomtest(successes, n).proportion_ci(0.95, method="wilson")
    assert wilson_interval(successes, n) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_a_share_without_clusters_is_wilsons_with_students_t() -> None:
    interval = proportion_interval([1.0] * 3 + [0.0] * 7, ids(10))
    assert interval is not None
    t = scipy.stats.t.ppf(0.975, 9)
    for bound in (interval.low, interval.high):
        assert abs(0.3 - bound) == pytest.approx(t * math.sqrt(bound * (1 - bound) / 10))
    assert interval.stderr == pytest.approx(math.sqrt(0.3 * 0.7 / 9))
    assert wilson_interval(3, 10, 1e9) == pytest.approx(wilson_interval(3, 10))


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


def test_the_interval_of_a_ratio_agrees_with_the_delta_method() -> None:
    bytes_ = GENERATOR.integers(100, 5000, 400).astype(float)
    bits = bytes_ * GENERATOR.normal(1.2, 0.2, 400)
    ratio = bits.sum() / bytes_.sum()
    stderr = np.std(bits - ratio * bytes_, ddof=1) / (bytes_.mean() * 20)
    interval = ratio_interval(bits.tolist(), bytes_.tolist(), ids(400))
    assert interval is not None
    assert interval.stderr == pytest.approx(stderr, rel=0.01)
    assert (interval.low, interval.high) == pytest.approx((ratio - 1.97 * stderr, ratio + 1.97 * stderr), rel=0.01)


def test_a_few_long_documents_widen_the_interval() -> None:
    bits, even, uneven = [10.0, 14, 9, 12, 13, 8], [10.0] * 6, [1.0, 1, 1, 1, 1, 55]
    flat, long = ratio_interval(bits, even, ids(6)), ratio_interval(bits, uneven, ids(6))
    assert flat is not None
    assert long is not None
    ratio = sum(bits) / 60
    narrow = [min(each.high - ratio, ratio - each.low) / each.stderr for each in (flat, long)]
    assert narrow[0] == pytest.approx(scipy.stats.t.ppf(0.975, 5))
    assert narrow[1] > scipy.stats.t.ppf(0.975, 1.2)


def test_the_jackknife_of_any_statistic_is_that_of_a_ratio_where_it_is_one() -> None:
    above, below = GENERATOR.random((2, 30)).tolist()
    found = statistic_interval(lambda sums: sums[0] / sums[1], [above, below], ids(30))
    ratio = ratio_interval(above, below, ids(30))
    assert found is not None
    assert ratio is not None
    assert found.stderr == pytest.approx(ratio.stderr)
    value = sum(above) / sum(below)
    assert min(found.high - value, value - found.low) == pytest.approx(scipy.stats.t.ppf(0.975, 29) * found.stderr)


@pytest.mark.parametrize("clustered", [False, True])
def test_nothing_depends_on_the_order_of_rows(clustered: bool) -> None:
    above, below = GENERATOR.random((2, 60)).tolist()
    clusters = [f"c{index % 7}" if clustered else f"c{index}" for index in range(60)]
    rows = list(zip(above, below, clusters, strict=True))
    shuffled = [list(column) for column in zip(*random.Random(0).sample(rows, 60), strict=True)]
    assert ratio_interval(*shuffled) == ratio_interval(above, below, clusters)
    assert mean_interval(shuffled[0], shuffled[2]) == mean_interval(above, clusters)


def test_rows_of_a_cluster_are_added() -> None:
    sums = cluster_sums([[1.0, 2.0, 4.0, 8.0], [1.0] * 4], ["b", "b", "a", "a"])
    assert sums is not None
    assert sums.tolist() == [[12.0, 2.0], [3.0, 2.0]]
    changes = leave_one_out(sums)
    assert changes is not None
    assert changes.tolist() == pytest.approx([1.5 - 3.75, 6 - 3.75])
    assert jackknife(changes, 1).stderr == pytest.approx(math.sqrt(0.5 * 2 * 2.25**2))
    with pytest.raises(ValueError, match="2 values and 1 clusters"):
        cluster_sums([[1.0, 2.0]], ["a"])


@pytest.mark.parametrize(("values", "clusters"), [([], []), ([1.0], ["a"]), ([1.0, 2.0], ["a", "a"])])
def test_one_cluster_has_no_interval(values: list[float], clusters: list[str]) -> None:
    assert mean_interval(values, clusters) is None
    assert proportion_interval([min(value, 1.0) for value in values], clusters) is None
    assert ratio_interval(values, values, clusters) is None


def test_infinite_values_have_no_interval_and_no_warning() -> None:
    assert ratio_interval([math.inf, 1.0], [1.0, 1.0], ["a", "b"]) is None
    assert statistic_interval(lambda sums: sums[0], [[math.inf, 1.0]], ["a", "b"]) is None


def test_one_cluster_with_the_whole_denominator_has_no_interval() -> None:
    assert ratio_interval([1.0, 2.0], [5.0, 0.0], ["a", "b"]) is None


def test_ratios_that_cannot_be_formed_are_left_out() -> None:
    scores = [ItemScore("a", "a", {"x": 3.0, "y": 0.0, "z": 1.0}), ItemScore("b", "b", {"x": 3.0, "y": 0.0})]
    ratios = {
        "x/y": Ratio("x", "y", "", "lower"),
        "x/z": Ratio("x", "z", "", "lower"),
        "y/x": Ratio("y", "x", "", "lower"),
    }
    assert list(ratio_values(scores, ratios)) == ["y/x"]
    assert ratio_values([], ratios) == {}

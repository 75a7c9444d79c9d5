import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tilbench.data.rows import Probe, Prompt
from tilbench.errors import DataError, PluginError
from tilbench.kinds.metric import ItemScore, Metric, TaskContext
from tilbench.kinds.requests import Likelihood, NextWord, Ranked
from tilbench_metrics_likelihood.probe import ProbeMetric, ProbeSettings

REPORTED = [  # 1gpu-llm small EN/IT: rank, probability and perplexity as its card prints them
    (Probe("en-1", "The capital of Italy is", "Rome"), 7, 0.0145, 69.13),
    (Probe("en-2", "A small language model should", "be"), 1, 0.4648, 2.151),
    (Probe("it-1", "La capitale d'Italia è", "Roma"), 6, 0.0258, 38.82),
    (Probe("it-2", "Un piccolo modello linguistico dovrebbe", "essere"), 1, 0.4453, 2.246),
]
SHARES = ("reciprocal_rank", "top1", "top10", "probability")


def metric() -> ProbeMetric:
    return ProbeMetric(ProbeSettings(), TaskContext())


def scores(answers: list[Ranked]) -> list[ItemScore]:
    rows = [Probe(f"p{index}", "Бір, екі,", "үш") for index in range(len(answers))]
    return [metric().score(row, [answer]) for row, answer in zip(rows, answers, strict=True)]


def test_it_is_a_metric() -> None:
    assert isinstance(metric(), Metric)
    assert metric().headline == "reciprocal_rank"


def test_one_request_a_probe() -> None:
    probe = REPORTED[0][0]
    assert metric().requests(probe) == [NextWord("The capital of Italy is", "Rome")]


def test_a_token_of_probability_p_has_perplexity_1_over_p() -> None:
    item = metric().score(REPORTED[1][0], [Ranked(1, math.log(0.4648), 1)])
    assert f"{item.values['perplexity']:.4g}" == "2.151"


@pytest.mark.parametrize(("probe", "rank", "probability", "perplexity"), REPORTED)
def test_the_table_of_a_document_can_be_written(probe: Probe, rank: int, probability: float, perplexity: float) -> None:
    last = 0.01 if perplexity > 10 else 0.001  # of its printed digits
    low = max(probability - 5e-5, 1 / (perplexity + last / 2))
    high = min(probability + 5e-5, 1 / (perplexity - last / 2))
    assert low < high  # some p rounds to both printed figures
    values = metric().score(probe, [Ranked(rank, math.log((low + high) / 2), 1)]).values
    assert values["rank"] == rank
    assert f"{values['probability']:.4f}" == str(probability)
    assert f"{values['perplexity']:.4g}" == str(perplexity)


def test_several_tokens_share_the_probability() -> None:
    values = metric().score(REPORTED[0][0], [Ranked(3, math.log(0.125), 3)]).values
    assert values == pytest.approx(
        {
            "rank": 3,
            "tied": 0,
            "logprob": math.log(0.125),
            "tokens": 3,
            "probability": 0.125,
            "perplexity": 2,
            "nats": math.log(8),
            "reciprocal_rank": 1 / 3,
            "top1": 0,
            "top10": 1,
            "probes": 1,
        }
    )


def test_values_by_hand() -> None:
    answers = [Ranked(1, math.log(0.5), 1), Ranked(10, math.log(0.01), 2), Ranked(11, math.log(0.02), 1)]
    values = metric().aggregate(scores(answers))
    assert {name: value.value for name, value in values.items()} == pytest.approx(
        {
            "reciprocal_rank": (1 + 1 / 10 + 1 / 11) / 3,
            "top1": 1 / 3,
            "top10": 2 / 3,
            "probability": 0.53 / 3,
            "target_perplexity": (0.5 * 0.01 * 0.02) ** (-1 / 4),
            "tokens_per_target": 4 / 3,
            "tied": 0,
        }
    )
    assert {name: value.direction for name, value in values.items() if value.direction != "higher"} == {
        "target_perplexity": "lower",
        "tokens_per_target": "none",
        "tied": "none",
    }
    assert all(value.low is not None and value.n == 3 for name, value in values.items() if name != "tied")


def test_tied_tokens_share_their_places() -> None:
    """Places 9 to 12 are four tokens'; two of the four are among the first ten."""
    values = metric().score(REPORTED[0][0], [Ranked(9, -1.0, 1, tied=3)]).values
    assert values["reciprocal_rank"] == pytest.approx((1 / 9 + 1 / 10 + 1 / 11 + 1 / 12) / 4)
    assert (values["rank"], values["top1"], values["top10"], values["tied"]) == (10.5, 0, 0.5, 1)


def test_a_model_to_which_all_words_are_equal_knows_none() -> None:
    """Its target had rank 1, and so reciprocal_rank and top1 were 1."""
    values = metric().aggregate(scores([Ranked(1, -math.log(1000), 1, tied=999)] * 4))
    assert values["top1"].value == pytest.approx(1 / 1000)
    assert values["top10"].value == pytest.approx(10 / 1000)
    assert values["reciprocal_rank"].value == pytest.approx(sum(1 / place for place in range(1, 1001)) / 1000)
    assert values["tied"].value == 4


def test_one_probe_has_no_interval_and_none_has_no_values() -> None:
    for value in metric().aggregate(scores([Ranked(2, -1.0, 1)])).values():
        assert (value.low, value.high, value.stderr) == (None, None, None)
    assert metric().aggregate([]) == {}


@pytest.mark.parametrize("logprob", [-math.inf, -5000.0])
def test_an_impossible_word_is_infinitely_perplexing(logprob: float) -> None:
    values = metric().aggregate(scores([Ranked(64_000, logprob, 1), Ranked(1, -0.5, 1)]))
    assert values["target_perplexity"].value == math.inf
    assert values["target_perplexity"].low is None
    assert values["probability"].value == pytest.approx(math.exp(-0.5) / 2)


ANSWERS = st.builds(Ranked, rank=st.integers(1, 300_000), logprob=st.floats(-400, -1e-6), tokens=st.integers(1, 9))


@given(st.lists(ANSWERS, min_size=1, max_size=9), st.randoms())
def test_ranges_intervals_and_order(answers: list[Ranked], shuffler: random.Random) -> None:
    items = scores(answers)
    values = metric().aggregate(items)
    for name in SHARES:
        value = values[name]
        assert 0 <= (value.low or 0) <= value.value + 1e-12
        assert value.value - 1e-12 <= (1 if value.high is None else value.high) <= 1
    perplexities = [item.values["perplexity"] for item in items]
    assert min(perplexities) * (1 - 1e-9) <= values["target_perplexity"].value <= max(perplexities) * (1 + 1e-9)
    assert values["top1"].value <= values["top10"].value
    shuffler.shuffle(items)
    assert metric().aggregate(items) == values


def test_faults_are_named() -> None:
    with pytest.raises(DataError, match="scores probes, not prompts"):
        metric().requests(Prompt("p", "text"))
    probe = REPORTED[0][0]
    with pytest.raises(PluginError, match="'en-1' was not answered by one Ranked"):
        metric().score(probe, [Likelihood(-1.0, 1)])
    with pytest.raises(PluginError, match="was not answered"):
        metric().score(probe, [])
    with pytest.raises(PluginError, match="rank 0 of 1 tokens"):
        metric().score(probe, [Ranked(0, -1.0, 1)])

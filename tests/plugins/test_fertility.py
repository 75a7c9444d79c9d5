import random

import pytest

from tilbench.data.rows import Document
from tilbench.kinds.metric import ItemScore, Metric, TaskContext
from tilbench.kinds.requests import TokenIds, Tokens
from tilbench_metrics_cost.fertility import Fertility, FertilitySettings

METRIC = Fertility(FertilitySettings(), TaskContext())


def scores(*texts: str) -> list[ItemScore]:
    """Score texts under a tokenizer whose tokens are bytes."""
    rows = [Document(f"d{index}", text) for index, text in enumerate(texts)]
    return [METRIC.score(row, [TokenIds(tuple(row.text.encode()))]) for row in rows]


def test_it_is_a_metric_that_asks_for_tokens() -> None:
    assert isinstance(METRIC, Metric)
    assert METRIC.requests(Document("d", "сөз")) == [Tokens("сөз")]


def test_byte_tokens_have_closed_forms() -> None:
    values = METRIC.aggregate(scores("ана тілі!", "a - b"))
    assert values["tokens_per_word"].value == (16 + 5) / (2 + 3)
    assert values["tokens_per_uax29_word"].value == (16 + 5) / (2 + 2)
    assert values["bytes_per_token"].value == 1
    assert values["characters_per_token"].value == (9 + 5) / (16 + 5)
    assert values["tokens_per_word"].low is not None


def test_rates_and_failures_are_counted() -> None:
    rows = [Document("a", "бір екі"), Document("b", "үш")]
    answers = [TokenIds((1, 2, 3, 4), unknown=1, byte_fallback=2, round_trip=False), TokenIds((5,))]
    values = METRIC.aggregate([METRIC.score(row, [answer]) for row, answer in zip(rows, answers, strict=True)])
    assert values["unknown_rate"].value == 1 / 5
    assert values["byte_fallback_rate"].value == 2 / 5
    assert (values["round_trip_failures"].value, values["round_trip_failures"].n) == (1, 2)


def test_a_published_fertility_follows_from_its_counts() -> None:
    """Qwen2-7B on ner-kazakh: 2,376,870 tokens for 559,870 words is 4.245396."""
    template = METRIC.score(Document("d", "сөз"), [TokenIds((1,))])
    score = ItemScore("d", "d", {**template.values, "tokens": 2_376_870.0, "words": 559_870.0})
    value = METRIC.aggregate([score])["tokens_per_word"]
    assert value.value == pytest.approx(4.245396, abs=5e-7)
    assert (value.low, value.high) == (None, None)


def test_order_does_not_matter_and_nothing_is_nothing() -> None:
    items = scores(*(f"сөз {index} " * (index + 1) for index in range(20)))
    shuffled = random.Random(0).sample(items, len(items))
    assert METRIC.aggregate(shuffled) == METRIC.aggregate(items)
    assert METRIC.aggregate([]) == {}

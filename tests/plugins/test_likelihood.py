import math
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from tilbench.data.rows import Document, Prompt
from tilbench.errors import DataError
from tilbench.kinds import requests
from tilbench.kinds.metric import ItemScore, Metric, TaskContext, Value
from tilbench.kinds.requests import Likelihood
from tilbench_metrics_likelihood.bpb import BitsPerByte, BitsPerByteSettings

TEXTS = ["Қазақстан — тәуелсіз мемлекет.", "Kısa bir cümle.", "one two\nthree 🙂", "ә" * 300]


def metric(**settings: Any) -> BitsPerByte:
    return BitsPerByte(BitsPerByteSettings(**settings), TaskContext())


def score(texts: list[str], logprobs: list[float], tokens: int | None = 7) -> list[ItemScore]:
    rows = [Document(f"d{index}", text) for index, text in enumerate(texts)]
    return [metric().score(row, [Likelihood(logprob, tokens)]) for row, logprob in zip(rows, logprobs, strict=True)]


def test_it_is_a_metric() -> None:
    assert isinstance(metric(), Metric)


def test_one_request_a_document_with_its_windows() -> None:
    row = Document("d", "text")
    assert metric(window=128, overlap=64).requests(row) == [requests.Document("text", 128, 64)]
    each = metric(window=128, prefix_each_window=True)
    assert each.requests(row) == [requests.Document("text", 128, prefix_each_window=True)]
    assert metric().requests(row) == [requests.Document("text")]


def test_uniform_bytes_cost_eight_bits() -> None:
    logprobs = [-8 * math.log(2) * len(text.encode()) for text in TEXTS]
    values = metric().aggregate(score(TEXTS, logprobs))
    assert values["bpb"].value == pytest.approx(8, rel=1e-15)
    assert values["byte_perplexity"].value == pytest.approx(256, rel=1e-13)
    assert (values["bpb"].low, values["bpb"].high) == pytest.approx((8, 8))
    assert values["bpb"].n == 4


def test_agrees_with_lm_eval() -> None:
    lm_eval_metrics = pytest.importorskip("lm_eval.api.metrics")
    logprobs = [-31.5, -12.25, -20.0, -400.0]
    values = metric().aggregate(score(TEXTS, logprobs))
    sizes = [len(text.encode()) for text in TEXTS]
    words = [len(text.split()) for text in TEXTS]
    for name, counts, expected in [
        ("bpb", sizes, lm_eval_metrics.bits_per_byte),
        ("byte_perplexity", sizes, lm_eval_metrics.weighted_perplexity),
        ("word_perplexity", words, lm_eval_metrics.weighted_perplexity),
    ]:
        items = list(zip(logprobs, counts, strict=True))
        assert values[name].value == pytest.approx(expected(items), rel=1e-12)


def test_perplexity_is_per_token_of_the_model() -> None:
    values = metric().aggregate(score(TEXTS[:2], [-14.0, -7.0]))
    assert values["perplexity"].value == pytest.approx(math.exp(21 / 14))
    assert "perplexity" not in metric().aggregate(score(TEXTS[:2], [-14.0, -7.0], tokens=None))


def test_one_document_has_no_interval() -> None:
    for value in metric().aggregate(score(TEXTS[:1], [-10.0])).values():
        assert (value.low, value.high, value.stderr) == (None, None, None)


def test_an_impossible_text_costs_infinitely_many_bits() -> None:
    values = metric().aggregate(score(TEXTS[:2], [-math.inf, -7.0]))
    assert values["bpb"] == Value(value=math.inf, n=2, unit="bits/byte", direction="lower", of=("bits", "bytes"))
    assert values["byte_perplexity"].value == math.inf
    assert metric().aggregate([]) == {}


@given(st.lists(st.floats(-1e4, -1e-3), min_size=2, max_size=8), st.randoms())
def test_values_lie_among_the_documents_and_ignore_order(logprobs: list[float], shuffler: random.Random) -> None:
    texts = [TEXTS[index % 4] * (index + 1) for index in range(len(logprobs))]
    scores = score(texts, logprobs)
    values = metric().aggregate(scores)
    single = [item.values["bits"] / item.values["bytes"] for item in scores]
    assert min(single) - 1e-9 <= values["bpb"].value <= max(single) + 1e-9
    for value in values.values():
        assert value.low is None or value.low <= (value.high or 0)
    shuffler.shuffle(scores)
    assert metric().aggregate(scores) == values


def test_faults_are_named() -> None:
    with pytest.raises(DataError, match="scores documents, not prompts"):
        metric().requests(Prompt("p", "text"))
    with pytest.raises(ValidationError, match="'overlap' \\(9\\) is more than 'window' \\(8\\)"):
        metric(window=8, overlap=9)
    with pytest.raises(ValidationError, match="'overlap' \\(8\\) and the prefix are more than 'window' \\(8\\)"):
        metric(window=8, overlap=8, prefix_each_window=True)

"""Chunked log-probabilities and cross-entropy equal the plain ones, within bounded memory."""

from __future__ import annotations

import math
import subprocess
import sys
from typing import Literal

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from tilbench.errors import CheckpointError
from tilbench.scoring.forward.chunked import cross_entropy, target_ranks, token_logprobs

VOCABULARY, WIDTH, ROWS = 97, 8, 40
CHUNKS = [1, 97 * 8 * 7, 2**20]  # one row, seven rows, everything


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def case(seed: int = 0) -> tuple[nn.Linear, Tensor, Tensor]:
    torch.manual_seed(seed)
    hidden = torch.randn(ROWS, WIDTH, requires_grad=True)
    return nn.Linear(WIDTH, VOCABULARY, bias=True), hidden, torch.randint(VOCABULARY, (ROWS,))


@pytest.mark.parametrize("chunk_bytes", CHUNKS)
def test_logprobs_equal_log_softmax(chunk_bytes: int) -> None:
    project, hidden, targets = case()
    targets[::3] = project(hidden)[::3].argmax(-1)
    logprobs, greedy = token_logprobs(project, hidden, targets, chunk_bytes=chunk_bytes)
    logits = project(hidden)
    expected = logits.log_softmax(-1)[range(ROWS), targets]
    assert logprobs.dtype == torch.float32
    assert not logprobs.requires_grad
    assert torch.allclose(logprobs, expected, atol=1e-6)
    assert torch.equal(greedy, logits.argmax(-1) == targets)


@settings(max_examples=30)
@given(chunk_bytes=st.integers(1, 10**6), seed=st.integers(0, 10**6))
def test_chunk_size_does_not_matter(chunk_bytes: int, seed: int) -> None:
    project, hidden, targets = case(seed)
    one, same = token_logprobs(project, hidden, targets, chunk_bytes=chunk_bytes)
    all_at_once, greedy = token_logprobs(project, hidden, targets, chunk_bytes=10**9)
    assert torch.allclose(one, all_at_once, atol=1e-6)
    assert torch.equal(same, greedy)


def test_uniform_logits_and_ties() -> None:
    logprobs, greedy = token_logprobs(
        lambda h: torch.zeros(len(h), 256), torch.zeros(4, 2), torch.tensor([0, 1, 2, 255])
    )
    assert torch.allclose(logprobs, torch.full((4,), -math.log(256)))
    assert greedy.tolist() == [True, False, False, False]  # the lowest id among equals


def test_low_precision_logits_are_summed_in_fp32() -> None:
    project, hidden, targets = case()
    logprobs, _ = token_logprobs(project.bfloat16(), hidden.bfloat16(), targets)
    expected = project(hidden.bfloat16()).float().log_softmax(-1)[range(ROWS), targets]
    assert torch.allclose(logprobs, expected, atol=1e-6)


def test_nothing_in_nothing_out() -> None:
    logprobs, greedy = token_logprobs(nn.Linear(2, 3), torch.zeros(0, 2), torch.zeros(0, dtype=torch.int64))
    assert logprobs.shape == greedy.shape == (0,)


@pytest.mark.parametrize("chunk_bytes", CHUNKS)
@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("ignored", [0, 13])
def test_cross_entropy_and_gradients_equal_torch(
    chunk_bytes: int, reduction: Literal["mean", "sum"], ignored: int
) -> None:
    project, hidden, targets = case()
    targets[:ignored] = -100
    inputs = [hidden, project.weight, project.bias]
    loss = cross_entropy(project, hidden, targets, reduction=reduction, chunk_bytes=chunk_bytes)
    expected = F.cross_entropy(project(hidden), targets, reduction=reduction)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)
    for ours, theirs in zip(
        torch.autograd.grad(loss * 3, inputs), torch.autograd.grad(expected * 3, inputs), strict=True
    ):
        assert torch.allclose(ours, theirs, atol=1e-5)
    with torch.no_grad():
        assert torch.equal(cross_entropy(project, hidden, targets, reduction=reduction, chunk_bytes=chunk_bytes), loss)


@settings(max_examples=40)
@given(
    rows=st.integers(1, 30),
    vocabulary=st.integers(2, 5000),
    chunk_bytes=st.integers(1, 10**6),
    ignored=st.integers(0, 30),
    scale=st.floats(0.01, 0.5),
    seed=st.integers(0, 10**6),
)
def test_linear_loss_and_gradients_equal_torch(
    rows: int, vocabulary: int, chunk_bytes: int, ignored: int, scale: float, seed: int
) -> None:
    torch.manual_seed(seed)
    hidden = torch.randn(rows, WIDTH, requires_grad=True)
    weight = (torch.randn(vocabulary, WIDTH) * scale / WIDTH**0.5).requires_grad_()
    targets = torch.randint(vocabulary, (rows,))
    targets[: min(ignored, rows - 1)] = -100
    loss = cross_entropy(weight, hidden, targets, chunk_bytes=chunk_bytes)
    expected = F.cross_entropy(F.linear(hidden.double(), weight.double()), targets)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6, abs=1e-6)
    ours = torch.autograd.grad(loss, [hidden, weight])
    theirs = torch.autograd.grad(expected, [hidden, weight])
    for a, b in zip(ours, theirs, strict=True):
        assert (a - b).abs().max() <= 1e-6


def test_linear_loss_in_half_precision_is_summed_in_fp32() -> None:
    """It takes the rounded logits that torch's own autocast gives, and its gradients differ by rounding only."""
    project, hidden, targets = case()
    weight = project.weight
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = cross_entropy(weight, hidden, targets, chunk_bytes=97 * 2 * 7)
        expected = F.cross_entropy(F.linear(hidden, weight).float(), targets)
    ours = torch.autograd.grad(loss, [hidden, weight])
    theirs = torch.autograd.grad(expected, [hidden, weight])
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)
    for a, b in zip(ours, theirs, strict=True):
        assert a.dtype == torch.float32
        assert (a - b).norm() < 0.01 * b.norm()


def test_linear_loss_computes_no_gradient_that_nobody_asked_for() -> None:
    project, hidden, targets = case()
    loss = cross_entropy(project.weight.detach(), hidden, targets)
    torch.autograd.backward(loss, retain_graph=True)
    assert hidden.grad is not None
    with torch.no_grad():
        assert not cross_entropy(project.weight, hidden, targets).requires_grad
    with pytest.raises(RuntimeError, match="second"):
        torch.autograd.backward(loss)


def test_cross_entropy_of_nothing_is_zero() -> None:
    project, hidden, targets = case()
    loss = cross_entropy(project, hidden, torch.full_like(targets, -100))
    torch.autograd.backward(loss)
    assert loss.item() == 0
    assert hidden.grad is not None
    assert not hidden.grad.any()


def test_another_ignore_index() -> None:
    project, hidden, targets = case()
    targets[:5] = 0
    expected = F.cross_entropy(project(hidden), targets, ignore_index=0)
    assert cross_entropy(project, hidden, targets, ignore_index=0).item() == pytest.approx(expected.item(), rel=1e-6)


def test_shapes_are_checked() -> None:
    project, hidden, targets = case()
    for function in (token_logprobs, cross_entropy):
        with pytest.raises(ValueError, match="hidden must be"):
            function(project, hidden[None], targets)


MEMORY = """
import resource, sys, torch
from torch import nn
from tilbench.scoring.forward.chunked import cross_entropy, target_ranks, token_logprobs
torch.set_num_threads(1)
project = nn.Linear(8, 262_144, bias=False)
hidden, targets = torch.randn(2048, 8, requires_grad=True), torch.randint(262_144, (2048,))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
if sys.argv[1] == "score":
    token_logprobs(project, hidden, targets)
else:
    cross_entropy(project if sys.argv[1] == "train" else project.weight, hidden, targets).backward()
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


@pytest.mark.parametrize("what", ["score", "train", "train-linear"])
def test_large_vocabulary_stays_under_256_mib(what: str) -> None:
    run = subprocess.run(
        [sys.executable, "-c", MEMORY, what],
        check=True,
        capture_output=True,
        text=True,
        env={"PYTHONPATH": ":".join(sys.path)},
    )
    assert int(run.stdout) < 256


def test_a_probability_that_is_no_number_is_refused() -> None:
    project, hidden, targets = case()
    with torch.no_grad():
        hidden[-1, 0] = torch.nan
    token_logprobs(project, hidden[:-1], targets[:-1])
    with pytest.raises(CheckpointError, match="not numbers"):
        token_logprobs(project, hidden, targets)


@pytest.mark.parametrize("chunk_bytes", [1, 1 << 20])
def test_ranks_and_ties_by_hand(chunk_bytes: int) -> None:
    logits = torch.tensor([[3.0, 1.0, 3.0, 2.0], [0.0, 0.0, 0.0, 0.0], [1.0, 2.0, 3.0, 4.0]])
    ranks, tied = target_ranks(lambda states: states, logits, torch.tensor([2, 1, 0]), chunk_bytes=chunk_bytes)
    assert (ranks.tolist(), tied.tolist()) == ([1, 1, 4], [1, 3, 0])

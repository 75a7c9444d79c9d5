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

from tilbench.scoring.chunked import cross_entropy, token_logprobs

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


@settings(deadline=None, max_examples=30)
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
from tilbench.scoring.chunked import cross_entropy, token_logprobs
torch.set_num_threads(1)
project = nn.Linear(8, 262_144, bias=False)
hidden, targets = torch.randn(2048, 8, requires_grad=True), torch.randint(262_144, (2048,))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
if sys.argv[1] == "score":
    token_logprobs(project, hidden, targets)
else:
    cross_entropy(project, hidden, targets).backward()
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


@pytest.mark.parametrize("what", ["score", "train"])
def test_large_vocabulary_stays_under_256_mib(what: str) -> None:
    run = subprocess.run(
        [sys.executable, "-c", MEMORY, what],
        check=True,
        capture_output=True,
        text=True,
        env={"PYTHONPATH": ":".join(sys.path)},
    )
    assert int(run.stdout) < 256

"""Log-probabilities and cross-entropy in bounded memory: the logits of all rows are never held.

Rows are projected to the vocabulary a chunk at a time, the log-softmax is taken in fp32, and only the wanted
entry of a row survives. For training, a chunk's logits are computed again in the backward pass.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.utils.checkpoint import checkpoint

__all__ = ["CHUNK_BYTES", "cross_entropy", "target_ranks", "token_logprobs"]

CHUNK_BYTES = 64 * 2**20

Project = Callable[[Tensor], Tensor]


@torch.no_grad()
def token_logprobs(
    project: Project,
    hidden: Tensor,
    targets: Tensor,
    *,
    rows: Tensor | None = None,
    chunk_bytes: int = CHUNK_BYTES,
) -> tuple[Tensor, Tensor]:
    """Return log p(target), fp32 [N], in nats, and whether the target is the greedy choice, bool [N].

    project: states [n, D] → logits [n, V]. hidden: [R, D]. targets: int64 [N], each in 0 … V - 1.
    rows: int64 [N], ascending: which state predicts each target; None: R = N, one each.
    chunk_bytes: bound on the temporaries (one row's are the least that is possible).
    Greedy is the largest logit; among equal logits it is the lowest id, whatever the chunk size, as
    `torch.argmax` has it. Raises ValueError for shapes that do not fit. No gradient flows.
    """
    if rows is None:
        _check(hidden, targets)
        rows = torch.arange(len(targets), device=hidden.device)
    if targets.ndim != 1 or rows.shape != targets.shape:
        raise ValueError(f"rows and targets must both be [N], not {list(rows.shape)} and {list(targets.shape)}")
    logprobs = torch.empty(len(targets), dtype=torch.float32, device=hidden.device)
    greedy = torch.empty(len(targets), dtype=torch.bool, device=hidden.device)
    for start, stop in _chunks(project, hidden, chunk_bytes):
        logits = project(hidden[start:stop]).float()
        first, last = torch.searchsorted(rows, torch.tensor([start, stop], device=rows.device)).tolist()
        of, wanted = rows[first:last] - start, targets[first:last]
        picked = logits[of, wanted]
        logprobs[first:last] = picked - logits.logsumexp(-1)[of]
        best = (picked == logits.max(-1).values[of]).nonzero()[:, 0]
        greedy[first:last] = False
        greedy[first + best] = logits[of[best]].argmax(-1) == wanted[best]  # the lowest id among equals
    return logprobs, greedy


@torch.no_grad()
def target_ranks(project: Project, hidden: Tensor, targets: Tensor, *, chunk_bytes: int = CHUNK_BYTES) -> Tensor:
    """Return the rank of each target among all V, int64 [N]: 1 is the likeliest, and equal logits share a rank.

    project: states [n, D] → logits [n, V]. hidden: [N, D]. targets: int64 [N]. chunk_bytes: bound on the temporaries.
    """
    _check(hidden, targets)
    ranks = torch.empty(len(targets), dtype=torch.int64, device=hidden.device)
    for start, stop in _chunks(project, hidden, chunk_bytes):
        logits = project(hidden[start:stop])
        ranks[start:stop] = 1 + (logits > logits.gather(1, targets[start:stop, None])).sum(-1)
    return ranks


def cross_entropy(
    project: Project,
    hidden: Tensor,
    targets: Tensor,
    *,
    ignore_index: int = -100,
    reduction: Literal["mean", "sum"] = "mean",
    chunk_bytes: int = CHUNK_BYTES,
) -> Tensor:
    """Return the cross-entropy in nats, fp32 scalar, equal to `F.cross_entropy` on all logits at once.

    project: states [n, D] → logits [n, V]; it runs once more in the backward pass, so it must be
    deterministic. hidden: [N, D]. targets: int64 [N]; rows with `ignore_index` are not even projected.
    reduction: the mean over rows that are not ignored (0, not NaN, where all are), or their sum.
    chunk_bytes: bound on the temporaries; larger chunks are faster on a GPU. Gradients reach `hidden` and
    whatever `project` uses. Raises ValueError for shapes that do not fit.
    """
    _check(hidden, targets)
    kept = targets != ignore_index
    if not torch.compiler.is_compiling() and not bool(kept.all()):
        hidden, targets = hidden[kept], targets[kept]
    total = hidden.new_zeros((), dtype=torch.float32)
    if not len(targets):
        total = hidden.float().sum()  # zero, and still a loss that backward() accepts
    for start, stop in _chunks(project, hidden, chunk_bytes):
        rows, wanted = hidden[start:stop], targets[start:stop]
        if torch.is_grad_enabled():
            loss = checkpoint(
                _sum_loss, project, rows, wanted, ignore_index, use_reentrant=False, preserve_rng_state=False
            )
        else:
            loss = _sum_loss(project, rows, wanted, ignore_index)
        total = total + loss
    return total if reduction == "sum" else total / kept.sum().clamp(min=1)


def _sum_loss(project: Project, hidden: Tensor, targets: Tensor, ignore_index: int) -> Tensor:
    loss: Tensor = _SummedLoss.apply(project(hidden), targets, ignore_index)  # type: ignore[no-untyped-call]
    return loss


class _SummedLoss(torch.autograd.Function):
    """Summed cross-entropy of logits [n, V] without a kept log-softmax: half of `F.cross_entropy`'s memory."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, targets: Tensor, ignore_index: int) -> Tensor:
        wide = logits.float()
        kept = targets != ignore_index
        targets = torch.where(kept, targets, 0)
        normaliser = wide.logsumexp(-1)
        ctx.save_for_backward(logits, targets, kept, normaliser)
        return torch.where(kept, normaliser - wide.gather(1, targets[:, None])[:, 0], 0.0).sum()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        logits, targets, kept, normaliser = ctx.saved_tensors
        slope = logits.float().sub(normaliser[:, None]).exp_()  # softmax
        slope.scatter_add_(1, targets[:, None], slope.new_full((len(targets), 1), -1.0))
        slope.mul_(torch.where(kept, gradient, 0.0)[:, None])
        return slope.to(logits.dtype), None, None


def _chunks(project: Project, hidden: Tensor, chunk_bytes: int) -> list[tuple[int, int]]:
    """Return (start, stop) of the chunks whose temporaries stay within `chunk_bytes`."""
    if not len(hidden):
        return []
    with torch.no_grad():
        logits = project(hidden[:1])
    # Per logit: itself, its fp32 copy where it is not fp32, and one more fp32 (exp(), or the gradient).
    each = logits.element_size() + 4 + (0 if logits.dtype == torch.float32 else 4)
    rows = max(1, chunk_bytes // (logits.shape[-1] * each))
    return [(start, min(start + rows, len(hidden))) for start in range(0, len(hidden), rows)]


def _check(hidden: Tensor, targets: Tensor) -> None:
    if hidden.ndim != 2 or targets.shape != hidden.shape[:1]:
        raise ValueError(f"hidden must be [N, D] and targets [N], not {list(hidden.shape)} and {list(targets.shape)}")

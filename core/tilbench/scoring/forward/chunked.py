"""Log-probabilities and cross-entropy in bounded memory: the logits of all rows are never held.

Rows are projected to the vocabulary a chunk at a time, the log-softmax is taken in fp32, and only the wanted
entry of a row survives. For training, where the projection is a plain matrix, the gradients are computed with the loss
(Hsu et al., Liger Kernel, 2024); otherwise a chunk's logits are computed again in the backward pass.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.utils.checkpoint import checkpoint

from tilbench.scoring.forward.numbers import check_numbers

__all__ = ["CHUNK_BYTES", "cross_entropy", "target_ranks", "token_logprobs"]

CHUNK_BYTES = 64 * 2**20

_BLOCK_BYTES = 4 * 2**20
"""Of fp32 logits that a CPU works on at once: they stay in its caches."""
_COLUMNS = 4096
"""Rows of the projection whose gradient is added up at once on a CPU, for the same reason."""

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
    `torch.argmax` has it. Raises ValueError for shapes that do not fit, CheckpointError where a probability is NaN. No
    gradient flows.
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
        logprobs[first:last] = logits.log_softmax(-1)[of, wanted]  # one kernel, where logsumexp takes four
        best = (picked == logits.max(-1).values[of]).nonzero()[:, 0]
        greedy[first:last] = False
        greedy[first + best] = logits[of[best]].argmax(-1) == wanted[best]  # the lowest id among equals
    check_numbers(logprobs)
    return logprobs, greedy


@torch.no_grad()
def target_ranks(
    project: Project, hidden: Tensor, targets: Tensor, *, chunk_bytes: int = CHUNK_BYTES
) -> tuple[Tensor, Tensor]:
    """Return the rank of each target among all V, and how many others are equal to it, both int64 [N].

    1 is the likeliest. Equal logits share the first of their places as a rank.

    project: states [n, D] → logits [n, V]. hidden: [N, D]. targets: int64 [N]. chunk_bytes: bound on the temporaries.
    """
    _check(hidden, targets)
    ranks = torch.empty(len(targets), dtype=torch.int64, device=hidden.device)
    equals = torch.empty_like(ranks)
    for start, stop in _chunks(project, hidden, chunk_bytes):
        logits = project(hidden[start:stop])
        own = logits.gather(1, targets[start:stop, None])
        ranks[start:stop] = 1 + (logits > own).sum(-1)
        equals[start:stop] = (logits == own).sum(-1) - 1
    return ranks, equals


def cross_entropy(
    project: Project | Tensor,
    hidden: Tensor,
    targets: Tensor,
    *,
    ignore_index: int = -100,
    reduction: Literal["mean", "sum"] = "mean",
    chunk_bytes: int = CHUNK_BYTES,
) -> Tensor:
    """Return the cross-entropy in nats, fp32 scalar, equal to `F.cross_entropy` on all logits at once.

    project: the weight [V, D] of a plain linear map, or any function of states [n, D] → logits [n, V]. With a
    weight nothing is computed twice: its gradient and that of `hidden` come with the loss, in the precision of
    autocast, added up in fp32. A function runs once more in the backward pass where there is more than one
    chunk, so it must be deterministic. hidden: [N, D]. targets: int64 [N].
    ignore_index: the target of rows that do not count; on a CPU they are not even projected.
    reduction: the mean over rows that are not ignored (0, not NaN, where all are), or their sum.
    chunk_bytes: bound on the temporaries; larger chunks are faster. Gradients reach `hidden` and the weight,
    or whatever the function uses. Raises ValueError for shapes that do not fit.
    """
    _check(hidden, targets)
    kept = targets != ignore_index
    count = kept.sum().clamp(min=1)
    # Elsewhere than on a CPU, asking which rows are kept would wait for the device.
    if hidden.device.type == "cpu" and not torch.compiler.is_compiling() and not bool(kept.all()):
        hidden, targets, kept = hidden[kept], targets[kept], kept[kept]
    if not len(targets):
        total = hidden.float().sum()  # zero, and still a loss that backward() accepts
    elif isinstance(project, Tensor) and _compute_dtype(hidden) != torch.float16:
        wanted = [torch.is_grad_enabled() and each.requires_grad for each in (hidden, project)]
        total = _LinearLoss.apply(hidden, project, targets, kept, chunk_bytes, wanted)  # type: ignore[no-untyped-call]
    else:
        # In fp16 the scaler's factor has to be in the gradient of the logits before they are rounded.
        function = partial(F.linear, weight=project) if isinstance(project, Tensor) else project
        total = _projected_loss(function, hidden, targets, ignore_index, chunk_bytes)
    return total if reduction == "sum" else total / count


def _compute_dtype(hidden: Tensor) -> torch.dtype:
    """Return what a matrix product with `hidden` is computed in."""
    device = hidden.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else hidden.dtype


class _LinearLoss(torch.autograd.Function):
    """Summed cross-entropy of hidden [N, D] weightᵀ, its two gradients computed at once and kept instead of logits."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        targets: Tensor,
        kept: Tensor,
        chunk_bytes: int,
        wanted: Sequence[bool],
    ) -> Tensor:
        dtype = _compute_dtype(hidden)
        with torch.autocast(hidden.device.type, enabled=False):
            loss, *slopes = _linear_loss(hidden.to(dtype), weight.to(dtype), targets, kept, chunk_bytes, wanted)
        ctx.slopes = [
            None if slope is None else slope.to(each.dtype)
            for slope, each in zip(slopes, (hidden, weight), strict=True)
        ]
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        slopes, ctx.slopes = ctx.slopes, None
        if slopes is None:
            raise RuntimeError("the loss has no second backward pass: its gradients were handed out in the first")
        # In place, because the buffers are this function's own.
        return *(None if each is None else each.mul_(gradient) for each in slopes), None, None, None, None


def _linear_loss(
    hidden: Tensor, weight: Tensor, targets: Tensor, kept: Tensor, chunk_bytes: int, wanted: Sequence[bool]
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Return the summed loss and, where wanted, its gradients for hidden [N, D] and weight [V, D], the latter fp32.

    The logits of a chunk become its softmax and then its gradient in place, so that a chunk is written once.
    """
    total = torch.zeros((), device=hidden.device)
    vocabulary, on_cpu = len(weight), hidden.device.type == "cpu"
    rows = min(len(hidden), max(1, chunk_bytes // (vocabulary * hidden.element_size())))
    if on_cpu:
        block, columns = max(1, min(rows, _BLOCK_BYTES // (4 * vocabulary))), _COLUMNS
    else:
        rows = max(1, min(rows, chunk_bytes // (vocabulary * (hidden.element_size() + 8))))
        block, columns = rows, vocabulary
    for_hidden = torch.empty_like(hidden) if wanted[0] else None
    for_weight = torch.zeros_like(weight, dtype=torch.float32) if wanted[1] else None
    logits, wide = hidden.new_empty(rows, vocabulary), hidden.new_empty(block, vocabulary, dtype=torch.float32)
    for start in range(0, len(hidden), rows):
        part = hidden[start : start + rows]
        slope = torch.mm(part, weight.t(), out=logits[: len(part)])
        for first in range(0, len(part), block):
            some = slice(start + first, start + min(first + block, len(part)))
            total += _softmax_loss_(slope[first : first + block], targets[some], kept[some], wide)
        if for_hidden is not None:
            torch.mm(slope, weight, out=for_hidden[start : start + rows])
        if for_weight is not None:
            for column in range(0, vocabulary, columns):
                for_weight[column : column + columns] += slope[:, column : column + columns].t() @ part
    return total, for_hidden, for_weight


def _softmax_loss_(logits: Tensor, targets: Tensor, kept: Tensor, wide: Tensor) -> Tensor:
    """Return the summed loss of logits [n, V], fp32, and turn them into its gradient in place.

    wide: fp32 [≥ n, V] to work in.
    """
    targets = torch.where(kept, targets, 0)[:, None]
    wide = wide[: len(logits)].copy_(logits)
    top = wide.amax(-1, keepdim=True)
    picked = wide.gather(1, targets)
    mass = wide.sub_(top).exp_().sum(-1, keepdim=True)
    wide.div_(mass.masked_fill(~kept[:, None], torch.inf))  # softmax; zeros in rows that do not count
    wide.scatter_add_(1, targets, -kept[:, None].float())
    logits.copy_(wide)
    return torch.where(kept[:, None], mass.log() + top - picked, 0.0).sum()


def _projected_loss(project: Project, hidden: Tensor, targets: Tensor, ignore_index: int, chunk_bytes: int) -> Tensor:
    """Return the summed loss; the logits of more than one chunk are computed again in the backward pass."""
    total = hidden.new_zeros((), dtype=torch.float32)
    chunks = _chunks(project, hidden, chunk_bytes)
    again = torch.is_grad_enabled() and len(chunks) > 1
    for start, stop in chunks:
        rows, wanted = hidden[start:stop], targets[start:stop]
        if again:
            loss = checkpoint(
                _sum_loss, project, rows, wanted, ignore_index, use_reentrant=False, preserve_rng_state=False
            )
        else:
            loss = _sum_loss(project, rows, wanted, ignore_index)
        total = total + loss
    return total


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

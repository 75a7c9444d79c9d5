"""Log-probabilities and cross-entropy in bounded memory: the logits of all rows are never held.

Rows are projected to the vocabulary a chunk at a time, the log-softmax is taken in fp32, and only the wanted
entry of a row survives. For training, a chunk's logits are computed again in the backward pass.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

__all__ = ["CHUNK_BYTES", "cross_entropy", "token_logprobs"]

CHUNK_BYTES = 64 * 2**20

Project = Callable[[Tensor], Tensor]


@torch.no_grad()
def token_logprobs(
    project: Project, hidden: Tensor, targets: Tensor, *, chunk_bytes: int = CHUNK_BYTES
) -> tuple[Tensor, Tensor]:
    """Return log p(target), fp32 [N], in nats, and whether the target is the greedy choice, bool [N].

    project: states [n, D] → logits [n, V]. hidden: [N, D]. targets: int64 [N], each in 0 … V - 1.
    chunk_bytes: bound on the temporaries (one row's are the least that is possible).
    Greedy is the largest logit; among equal logits it is the lowest id, whatever the chunk size, as
    `torch.argmax` has it. Raises ValueError for shapes that do not fit. No gradient flows.
    """
    _check(hidden, targets)
    logprobs = torch.empty(len(targets), dtype=torch.float32, device=hidden.device)
    greedy = torch.empty(len(targets), dtype=torch.bool, device=hidden.device)
    # Three fp32-sized temporaries: the logits (and their fp32 copy), and exp() inside logsumexp.
    for start, stop in _chunks(project, hidden, chunk_bytes, temporaries=3):
        logits = project(hidden[start:stop])
        wanted = targets[start:stop, None]
        greedy[start:stop] = logits.argmax(-1) == wanted[:, 0]
        logits = logits.float()
        logprobs[start:stop] = logits.gather(1, wanted)[:, 0] - logits.logsumexp(-1)
    return logprobs, greedy


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
    # Logits, their fp32 copy, log-softmax and its gradient.
    for start, stop in _chunks(project, hidden, chunk_bytes, temporaries=4):
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
    return F.cross_entropy(project(hidden).float(), targets, ignore_index=ignore_index, reduction="sum")


def _chunks(project: Project, hidden: Tensor, chunk_bytes: int, *, temporaries: int) -> list[tuple[int, int]]:
    """Return (start, stop) of chunks whose `temporaries` fp32 tensors [rows, V] stay within `chunk_bytes`."""
    if not len(hidden):
        return []
    with torch.no_grad():
        vocabulary = project(hidden[:1]).shape[-1]
    rows = max(1, chunk_bytes // (vocabulary * 4 * temporaries))
    return [(start, min(start + rows, len(hidden))) for start in range(0, len(hidden), rows)]


def _check(hidden: Tensor, targets: Tensor) -> None:
    if hidden.ndim != 2 or targets.shape != hidden.shape[:1]:
        raise ValueError(
            f"hidden must be [N, D] and targets [N], not {list(hidden.shape)} and {list(targets.shape)}"
        )

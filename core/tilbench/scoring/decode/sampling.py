"""Chooses next tokens for a batch of rows that share their decoding settings."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor

from tilbench.config.decoding import Decoding
from tilbench.kinds.requests import Generation, request_key
from tilbench.scoring.forward.numbers import check_numbers

__all__ = ["needs_history", "next_tokens", "uniforms"]


def uniforms(request: Generation) -> Tensor:
    """Return what is drawn for each token of a request, [max_new_tokens] from [0, 1): the request alone decides it."""
    seed = hashlib.sha256(request_key(request).encode()).digest()
    random = torch.Generator().manual_seed(int.from_bytes(seed[:7], "big"))
    return torch.rand(request.decoding.max_new_tokens, generator=random)


def needs_history(decoding: Decoding) -> bool:
    """Say whether the choice of a token depends on the tokens before it otherwise than through the logits."""
    return decoding.repetition_penalty != 1.0 or decoding.no_repeat_ngram > 0


def next_tokens(logits: Tensor, seen: Tensor, decoding: Decoding, uniform: Tensor) -> Tensor:
    """Return the next id [B] of every row of `logits` [B, V].

    seen: ids so far [B, L], -1 where there is none, at the left only; looked at where `needs_history`.
    uniform: [B], from [0, 1): the token drawn is the one whose share of the unit interval it falls in. Shares lie
    in the order of ids, so that two tokens of almost one probability cannot trade places: rounding moves a boundary
    by about 1e-7, and a draw changes only where it falls between the old boundary and the new one.

    The repetition penalty divides positive and multiplies negative logits of seen ids (Keskar et al., CTRL, 2019);
    top-k is applied before top-p (Holtzman et al., 2020), as in Transformers.
    Raises CheckpointError for a logit that is NaN.
    """
    if needs_history(decoding):
        logits = _penalised(logits.float(), seen, decoding.repetition_penalty)
        if decoding.no_repeat_ngram:
            logits = logits.masked_fill(_banned(seen, decoding.no_repeat_ngram, logits.shape[1]), -torch.inf)
    if decoding.temperature == 0.0:
        tokens = logits.argmax(-1)
        check_numbers(logits.gather(1, tokens[:, None]))  # a NaN counts as the largest
        return tokens
    # Apple's devices have no fp64.
    precision = torch.float32 if logits.device.type == "mps" else torch.float64
    logits = logits.to(precision) / decoding.temperature
    ids: Tensor | None = None
    if 0 < decoding.top_k < logits.shape[1]:
        logits, ids = logits.topk(decoding.top_k)
    elif decoding.top_p < 1.0:
        logits, ids = logits.sort(descending=True)
    shares = logits.softmax(-1)
    check_numbers(shares[:, 0])  # a row with one NaN has nothing else
    if ids is not None:
        if decoding.top_p < 1.0:
            kept = shares.cumsum(-1) - shares < decoding.top_p  # the token that crosses top_p stays
            width = int(kept.sum(-1).max())
            shares, ids = (shares * kept)[:, :width], ids[:, :width]
        ids, order = ids.sort(-1)
        shares = shares.gather(1, order)
    ends = shares.cumsum(-1)
    drawn = uniform.to(ends)[:, None] * ends[:, -1:]
    places = torch.searchsorted(ends, drawn, right=True).clamp(max=ends.shape[1] - 1)
    return (places if ids is None else ids.gather(1, places))[:, 0]


def _penalised(logits: Tensor, seen: Tensor, penalty: float) -> Tensor:
    ids = torch.where(seen < 0, seen[:, -1:], seen)  # an id that stands twice is written twice, to the same value
    values = logits.gather(1, ids)
    return logits.scatter(1, ids, torch.where(values > 0, values / penalty, values * penalty))


def _banned(seen: Tensor, size: int, vocabulary: int) -> Tensor:
    """Return which ids [B, V] would complete an n-gram of `size` ids that is already there."""
    banned = torch.zeros(len(seen), vocabulary + 1, dtype=torch.bool, device=seen.device)
    if seen.shape[1] >= size:
        grams = seen.unfold(1, size, 1)  # [B, N, size]
        tail = seen[:, seen.shape[1] - size + 1 :]
        again = (grams[..., :-1] == tail[:, None]).all(-1) & (grams >= 0).all(-1)
        banned.scatter_(1, torch.where(again, grams[..., -1], vocabulary), True)  # the rest goes beyond the last id
    return banned[:, :vocabulary]

"""Generates text with a KV cache, one prompt at a time, from a random state of its own.

What a prompt yields depends on the prompt, the settings and the seed, and on nothing generated beside it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor

from tilbench.kinds.architecture import Decoder
from tilbench.kinds.requests import Decoding, Generated, Generation, request_key
from tilbench.kinds.tokenizer import Tokenizer

__all__ = ["choose", "generate"]


def generate(
    decoder: Decoder, tokenizer: Tokenizer, prompt: Sequence[int], request: Generation, device: torch.device
) -> Generated:
    """Continue `prompt` (ids, prefix included) until a stop, the end-of-text token or the length limit.

    A prompt that leaves no room for new tokens is cut on the left.
    """
    decoding = request.decoding
    room = max(1, decoder.max_length - decoding.max_new_tokens)
    ids = list(prompt)[-room:]
    limit = min(decoding.max_new_tokens, decoder.max_length - len(ids))
    seed = hashlib.sha256(request_key(request).encode()).digest()
    random = torch.Generator(device="cpu").manual_seed(int.from_bytes(seed[:7], "big"))
    cache = decoder.new_cache(1, len(ids) + limit)
    hidden = decoder.hidden(torch.tensor([ids], device=device), cache=cache)
    new: list[int] = []
    for _ in range(limit):
        logits = decoder.project(hidden[:, -1])[0].float().cpu()  # [V]
        token = choose(logits, ids + new, decoding, random)
        if token == tokenizer.special.eos:
            return Generated(tokenizer.decode(new), len(new), True)
        new.append(token)
        if request.stop:
            text = tokenizer.decode(new)
            places = [place for stop in request.stop if (place := text.find(stop)) >= 0]
            if places:
                return Generated(text[: min(places)], len(new), True)
        if len(new) < limit:
            hidden = decoder.hidden(torch.tensor([[token]], device=device), cache=cache)
    return Generated(tokenizer.decode(new), len(new), False)


def choose(logits: Tensor, seen: Sequence[int], decoding: Decoding, random: torch.Generator) -> int:
    """Pick the next id from `logits` [V] under `decoding`; `seen` are the ids so far.

    The repetition penalty divides positive and multiplies negative logits of seen ids (Keskar et al., CTRL, 2019);
    top-k is applied before top-p (Holtzman et al., 2020), as in Transformers.
    """
    logits = logits.clone()
    if decoding.repetition_penalty != 1.0 and seen:
        ids = torch.tensor(sorted(set(seen)))
        values = logits[ids]
        penalty = decoding.repetition_penalty
        logits[ids] = torch.where(values > 0, values / penalty, values * penalty)
    if banned := _banned(seen, decoding.no_repeat_ngram):
        logits[torch.tensor(sorted(banned))] = -torch.inf
    if decoding.temperature == 0.0:
        return int(logits.argmax())
    logits = logits / decoding.temperature
    if 0 < decoding.top_k < len(logits):
        logits[logits < logits.topk(decoding.top_k).values[-1]] = -torch.inf
    probabilities = logits.softmax(0)
    if decoding.top_p < 1.0:
        ordered, places = probabilities.sort(descending=True)
        beyond = ordered.cumsum(0) - ordered >= decoding.top_p  # the token that crosses top_p stays
        probabilities[places[beyond]] = 0.0
    return int(torch.multinomial(probabilities / probabilities.sum(), 1, generator=random))


def _banned(seen: Sequence[int], size: int) -> set[int]:
    """Return the ids that would complete an n-gram of `size` ids that is already there."""
    if size < 1 or len(seen) < size:
        return set()
    tail = tuple(seen[len(seen) - size + 1 :])
    return {
        seen[start + size - 1] for start in range(len(seen) - size + 1) if tuple(seen[start : start + size - 1]) == tail
    }

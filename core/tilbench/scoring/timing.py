"""Measures what generating costs on this machine."""

from __future__ import annotations

import time

import torch

from tilbench.errors import DataError
from tilbench.kinds.architecture import Decoder
from tilbench.kinds.requests import Timed, Timing
from tilbench.kinds.tokenizer import Tokenizer
from tilbench.memory import peak_memory

__all__ = ["time_generation"]


def time_generation(decoder: Decoder, tokenizer: Tokenizer, request: Timing, device: torch.device) -> Timed:
    """Generate as `Timing` says and return what it took.

    Nothing is timed, and the answer says so, where prompt and new tokens are more than the model attends over, or the
    rows do not fit into memory. Raises DataError for a text without tokens and for sizes below 1.
    """
    ids = tokenizer.encode(request.text)
    sizes = (request.prompt_tokens, request.new_tokens, request.batch, request.repeats)
    if not ids or min(sizes) < 1:
        raise DataError(f"a timing needs a text and sizes of 1 or more, not {len(ids)} tokens and {sizes}")
    length = request.prompt_tokens + request.new_tokens
    if length > decoder.max_length:
        return Timed(text_tokens=len(ids))
    turned = [[ids[(row + place) % len(ids)] for place in range(request.prompt_tokens)] for row in range(request.batch)]
    prompt = torch.tensor(turned, device=device)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    try:
        runs = [_once(decoder, prompt, request.new_tokens, device) for _ in range(request.repeats + 1)][1:]
    except torch.OutOfMemoryError:
        return Timed(text_tokens=len(ids))
    return Timed(
        first=tuple(first for first, _, _ in runs),
        rest=tuple(rest for _, rest, _ in runs),
        text_tokens=len(ids),
        cache_bytes=runs[-1][2],
        peak_memory_bytes=torch.cuda.max_memory_allocated(device) if device.type == "cuda" else peak_memory(),
    )


def _once(decoder: Decoder, prompt: torch.Tensor, new: int, device: torch.device) -> tuple[float, float, int]:
    """Return the seconds to the first new token, those to the last from there, and the bytes of the cache."""
    _wait(device)
    start = time.perf_counter()
    cache = decoder.new_cache(len(prompt), prompt.shape[1] + new)
    tokens = decoder.project(decoder.hidden(prompt, cache=cache)[:, -1]).argmax(-1)  # [B]
    _wait(device)
    first = time.perf_counter()
    for _ in range(new - 1):
        tokens = decoder.project(decoder.hidden(tokens[:, None], cache=cache)[:, -1]).argmax(-1)
    _wait(device)
    return first - start, time.perf_counter() - first, cache.bytes


def _wait(device: torch.device) -> None:
    if device.type != "cpu":
        torch.get_device_module(device).synchronize()

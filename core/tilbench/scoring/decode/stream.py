"""Writes one text as it comes, token by token: the text that `generate` gives for the same job in a batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import torch

from tilbench.errors import Unsupported
from tilbench.kinds.architecture import Decoder
from tilbench.kinds.requests import Generated
from tilbench.kinds.tokenizer import Tokenizer
from tilbench.scoring.decode.generate import Fitted, Job, fit
from tilbench.scoring.decode.sampling import needs_history, next_tokens, uniforms

__all__ = ["Show", "Streamer"]

Show = Callable[[str], None]
"""Is handed the next piece of a text. What is handed over never changes."""
_Items = TypeVar("_Items", str, list[int])
_ROOM = 1024
"""Tokens that a cache has room for at least, where the model attends over as many."""


class Streamer:
    """Writes texts one after another, and keeps the cache of the last one.

    What a prompt has in common with the tokens of the text before it is not computed again, so the turns of a
    conversation are read once. read: tokens of the last prompt that were computed.
    """

    def __init__(self, decoder: Decoder, tokenizer: Tokenizer, device: torch.device) -> None:
        self.read = 0
        self._decoder = decoder
        self._tokenizer = tokenizer
        self._device = device
        self._cache: Any = None
        self._room = 0
        self._held: list[int] = []  # the ids in the cache

    def stream(self, job: Job, show: Show) -> Generated:
        """Continue a prompt until a stop, an end or its limit; `show` gets the text in pieces, which joined are it.

        Raises DataError for a prompt without tokens, Unsupported where it does not fit into memory.
        """
        row = fit(job, self._decoder.max_length)
        try:
            with torch.inference_mode():
                return self._written(row, show)
        except torch.OutOfMemoryError:
            self._forget()
        except BaseException:
            self._forget()  # the layers of the cache may hold different numbers of tokens
            raise
        raise Unsupported(f"a prompt of {len(row.ids)} tokens with what follows it does not fit into memory")

    def _written(self, row: Fitted, show: Show) -> Generated:
        request, ids, limit = row.request, row.ids, row.limit
        ends = row.ends | {self._tokenizer.special.eos}
        decoding = replace(request.decoding, max_new_tokens=0)
        drawn = (uniforms(request) if decoding.temperature else torch.zeros(limit)).to(self._device)
        text = _Text(self._tokenizer, request.stop, show)
        rest = self._unread(ids, limit)
        self.read = len(rest)
        while True:
            logits = self._decoder.project(self._forward(rest))[:, : self._tokenizer.size]  # [1, V]
            before = [*ids, *text.ids] if needs_history(decoding) else []
            seen = torch.tensor([before], dtype=torch.int64, device=self._device)
            token = int(next_tokens(logits, seen, decoding, drawn[len(text.ids), None]))
            if token in ends or text.take(token) or len(text.ids) == limit:
                written, stopped = text.finished()
                return row.answer(written, len(text.ids), complete=token in ends or stopped)
            rest = [token]

    def _forward(self, ids: Sequence[int]) -> torch.Tensor:
        """Return the state [1, D] of the last of `ids`, which the cache then holds too."""
        hidden = self._decoder.hidden(torch.tensor([list(ids)], device=self._device), cache=self._cache)
        self._held += ids
        return hidden[:, -1]

    def _unread(self, ids: Sequence[int], limit: int) -> Sequence[int]:
        """Make the cache hold the beginning of `ids`, with room for all that comes, and return the rest of them."""
        common = len(_common(self._held, list(ids[:-1])))
        if common and len(ids) + limit <= self._room and self._keep(common):
            return ids[common:]
        self._forget()
        # Twice what is needed: as a conversation grows, a cache is made anew a few times in all.
        self._room = min(self._decoder.max_length, max(_ROOM, 2 * (len(ids) + limit)))
        self._cache = self._decoder.new_cache(1, self._room)
        return ids

    def _keep(self, count: int) -> bool:
        """Keep the first tokens that the cache holds, and say whether it could forget the others."""
        if count < len(self._held):
            try:
                self._cache.keep(torch.arange(count, device=self._device))
            except Unsupported:
                return False
            del self._held[count:]
        return True

    def _forget(self) -> None:
        self._cache, self._room, self._held = None, 0, []


class _Text:
    """A text that grows by tokens: what of it can no longer change is shown.

    Held back are the bytes of a character that is not whole, and what may be the beginning of a stop. The ids are
    decoded from the first one each time, since what a token is decoded to can depend on those before it.
    """

    def __init__(self, tokenizer: Tokenizer, stops: Sequence[str], show: Show) -> None:
        self.ids: list[int] = []
        self._tokenizer = tokenizer
        self._stops = stops
        self._show = show
        self._shown = 0

    def take(self, token: int) -> bool:
        """Add a token, show what is settled, and say whether a stop has come."""
        self.ids.append(token)
        text = self._tokenizer.decode(self.ids)
        if any(stop in text for stop in self._stops):
            return True
        if self._tokenizer.byte_fallback([token]):  # one more byte may turn all of a run into U+FFFD
            text = _common(text, self._tokenizer.decode([*self.ids, token]))
        text = text.rstrip("\ufffd")
        self._upto(text, len(text) - max((_begun(text, stop) for stop in self._stops), default=0))
        return False

    def finished(self) -> tuple[str, bool]:
        """Show what is left before the first stop; return the whole, and whether there is a stop."""
        text = self._tokenizer.decode(self.ids)
        places = [place for stop in self._stops if (place := text.find(stop)) >= 0]
        text = text[: min(places, default=None)]
        self._upto(text, len(text))
        return text, bool(places)

    def _upto(self, text: str, end: int) -> None:
        if end > self._shown:
            self._show(text[self._shown : end])
            self._shown = end


def _common(one: _Items, other: _Items) -> _Items:
    """Return what both begin with."""
    pairs = enumerate(zip(one, other, strict=False))
    return one[: next((place for place, (a, b) in pairs if a != b), min(len(one), len(other)))]


def _begun(text: str, stop: str) -> int:
    """Return how many characters at the end of `text` are a beginning of `stop`."""
    return next((size for size in range(min(len(text), len(stop) - 1), 0, -1) if text.endswith(stop[:size])), 0)

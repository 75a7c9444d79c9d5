"""Generates text in batches with a KV cache.

What a prompt yields depends on the prompt, its settings and its seed, and on nothing generated beside it: every row
has its own positions and mask, its own settings, and draws from a random state of its own.
"""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from tilbench.config.decoding import Decoding
from tilbench.errors import DataError, Unsupported
from tilbench.kinds.architecture import Cache, Decoder
from tilbench.kinds.requests import Generated, Generation, request_key
from tilbench.kinds.tokenizer import Tokenizer
from tilbench.scoring.decode.sampling import needs_history, next_tokens, uniforms
from tilbench.scoring.forward.states import must_be_alone

__all__ = ["Fitted", "Job", "fit", "generate", "least", "shorten"]

_LEAST = 4
"""One part in this many of the model's length is kept for an answer, where more tokens are asked for than there are."""

_HELD = 8
"""Tokens that the cache of a group may hold, for each token of a forward pass."""
_STEP = 1 / 32
"""Rows that go on together, for each token of a forward pass."""
_PASS = {"cpu": 32}
_PASS_ELSEWHERE = 2048
"""Tokens that cost about as much as one more forward pass, by device: measured on two cores, and 10 ms of a small
model on an accelerator. Prompts are padded where that is cheaper than a pass of their own."""
_GONE = 1 / 8
"""Share of the rows that may be finished before the others go on without them."""


@dataclass(frozen=True, slots=True)
class Job:
    """A request with the ids of its prompt, prefix included.

    ends: ids that end a text as the end-of-text one. kept: ids at the beginning of the prompt that stay where it must
    be cut: the prefix and the instruction. dropped, lost: few-shot examples that were left out of it, and bytes that
    its ids do not reproduce.
    """

    request: Generation
    prompt: Sequence[int]
    ends: frozenset[int] = frozenset()
    kept: int = 0
    dropped: int = 0
    lost: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Fitted:
    """A job as it fits the model: `limit` tokens may follow `ids`. cut: tokens of the prompt that were left out."""

    request: Generation
    ids: tuple[int, ...]
    limit: int
    ends: frozenset[int]
    cut: int = 0
    dropped: int = 0
    lost: int = 0

    @property
    def order(self) -> tuple[int, int, tuple[int, ...], str]:
        """Longest first; equal prompts side by side."""
        return -self.limit, -len(self.ids), self.ids, request_key(self.request)

    def answer(self, text: str, tokens: int, *, complete: bool) -> Generated:
        """Return the answer, with what of the prompt was not read and by how much its end came too soon."""
        short = 0 if complete else self.request.decoding.max_new_tokens - self.limit
        return Generated(
            text, tokens, complete, lost_context=self.lost, cut=self.cut, dropped=self.dropped, short=short
        )


def least(wanted: int, length: int) -> int:
    """Return how many tokens are kept for an answer of `wanted` tokens, whatever the prompt: a quarter of `length`."""
    return max(1, min(wanted, length // _LEAST))


def shorten(ids: Sequence[int], room: int, kept: int) -> list[int]:
    """Return ids that fit into `room`: the first `kept` and as many of the last as there is room for."""
    if len(ids) <= room:
        return list(ids)
    kept = min(kept, room)
    return [*ids[:kept], *ids[len(ids) - room + kept :]]


def fit(job: Job, length: int) -> Fitted:
    """Fit a prompt and its answer into a model of `length` tokens.

    The prompt goes first: the answer is given what room is left, but not less than `least`. A prompt that leaves less
    loses tokens after those that are kept. Raises DataError for a prompt without tokens, and where no token is asked
    for.
    """
    if not job.prompt:
        raise DataError("an empty prompt has no token to go on from; give the model a prefix with --prefix")
    wanted = job.request.decoding.max_new_tokens
    if wanted < 1:
        raise DataError(f"max_new_tokens is {wanted}; ask for 1 or more")
    ids = tuple(shorten(job.prompt, max(1, length - least(wanted, length)), job.kept))
    limit = max(1, min(wanted, length - len(ids)))
    return Fitted(job.request, ids, limit, job.ends, len(job.prompt) - len(ids), job.dropped, job.lost)


def generate(
    decoder: Decoder, tokenizer: Tokenizer, jobs: Sequence[Job], device: torch.device, batch_tokens: int
) -> Iterator[Sequence[tuple[Generation, Generated]]]:
    """Continue each prompt until a stop, the end-of-text token or its length limit; answers come in groups.

    The jobs alone decide the groups and their order, so a run that was killed between two groups finds the same ones
    again. batch_tokens: tokens a forward pass; out of memory halves it. A decoder that takes no mask over prompts of
    different lengths is given prompts of one length at a time, with a warning.
    Raises DataError for a prompt without tokens, Unsupported where a single one does not fit into memory.
    """
    yield from _Generator(decoder, tokenizer, device, batch_tokens).run(jobs)


class _Generator:
    def __init__(self, decoder: Decoder, tokenizer: Tokenizer, device: torch.device, batch_tokens: int) -> None:
        self._decoder = decoder
        self._tokenizer = tokenizer
        self._device = device
        self._batch_tokens = batch_tokens
        self._ragged = True
        """Whether prompts of different lengths go on together."""

    def run(self, jobs: Sequence[Job]) -> Iterator[Sequence[tuple[Generation, Generated]]]:
        """Yield the answers of one group after another."""
        waiting = sorted((fit(job, self._decoder.max_length) for job in jobs), key=lambda row: row.order)
        while waiting:
            count = self._fitting(waiting)
            group, waiting = waiting[:count], waiting[count:]
            yield [(row.request, answer) for row, answer in self._group(group)]

    def _fitting(self, rows: Sequence[Fitted]) -> int:
        """Return how many of the first rows make a group."""
        most = max(1, int(self._batch_tokens * _STEP))
        width = 0
        for count, row in enumerate(rows[:most]):
            if must_be_alone(self._decoder, len(row.ids) + row.limit):
                return max(1, count)
            width = max(width, len(row.ids))
            if count and (count + 1) * (width + rows[0].limit) > self._batch_tokens * _HELD:
                return count
            if count and not self._ragged and len(row.ids) * (count + 1) > self._batch_tokens:
                return count
        return min(most, len(rows))

    def _group(self, rows: Sequence[Fitted]) -> list[tuple[Fitted, Generated]]:
        """Answer a group, in smaller ones where it does not fit into memory or lengths may not be mixed."""
        done: list[tuple[Fitted, Generated]] = []
        waiting = self._apart(rows)
        while waiting:
            part = waiting.pop(0)
            try:
                done += self._together(part)
                continue
            except torch.OutOfMemoryError:
                fault = ""
            except Unsupported as error:
                if not self._ragged or len({len(row.ids) for row in part}) == 1:
                    raise
                fault = str(error)
            # Outside of the handlers, whose traceback would keep the tensors.
            if fault:
                self._ragged = False
                warnings.warn(f"{fault}; going on with prompts of one length at a time", stacklevel=4)
                waiting = self._apart(part) + [more for each in waiting for more in self._apart(each)]
            else:
                self._shrink(len(part), max(len(row.ids) for row in part))
                half = (len(part) + 1) // 2
                waiting[:0] = [part[:half], part[half:]]
        return done

    def _apart(self, rows: Sequence[Fitted]) -> list[Sequence[Fitted]]:
        """Return the rows in groups that may go on together."""
        if self._ragged:
            return [rows]
        lengths: dict[int, list[Fitted]] = defaultdict(list)
        for row in rows:
            lengths[len(row.ids)].append(row)
        groups: list[Sequence[Fitted]] = []
        for length, equal in lengths.items():
            most = max(1, self._batch_tokens // length)
            groups += [equal[start : start + most] for start in range(0, len(equal), most)]
        return groups

    def _shrink(self, rows: int, width: int) -> None:
        if rows == 1:
            raise Unsupported(f"a prompt of {width} tokens with what follows it does not fit into memory")
        self._batch_tokens = max(1, self._batch_tokens // 2)
        warnings.warn(f"out of memory: going on with {self._batch_tokens} tokens a batch", stacklevel=4)

    def _together(self, rows: Sequence[Fitted]) -> list[tuple[Fitted, Generated]]:
        """Generate for rows side by side."""
        cache, hidden = self._prefill(rows)  # [B, D]
        batch = _Batch(rows, self._tokenizer, self._device)
        while True:
            tokens = batch.choose(self._decoder.project(hidden))  # [B]
            batch.take(tokens.tolist())
            if len(batch.answers) == len(rows):
                return [(row, batch.answers[row]) for row in rows]
            if (left := batch.compact()) is not None:
                cache.select(left)
                tokens = tokens[left]
            positions, mask = batch.place(cache.length + 1)
            hidden = self._decoder.hidden(tokens[:, None], positions=positions, mask=mask, cache=cache)[:, 0]

    def _prefill(self, rows: Sequence[Fitted]) -> tuple[Cache, Tensor]:
        """Return a cache of the rows' prompts, each at the beginning of its slots, and their last states [B, D].

        Equal prompts are computed once. Prompts of similar lengths are padded on the right and computed together:
        what comes later changes no state of a causal decoder, so this takes neither mask nor positions.
        """
        distinct = sorted({row.ids for row in rows}, key=lambda ids: (-len(ids), ids))
        room = max(row.limit for row in rows)
        parts = _passes(distinct, self._batch_tokens, _PASS.get(self._device.type, _PASS_ELSEWHERE))
        caches: list[Any] = []
        states: list[Tensor] = []
        for part in parts:
            width = len(part[0])
            ids = torch.tensor([[*each, *[0] * (width - len(each))] for each in part], device=self._device)
            last = torch.tensor([len(each) - 1 for each in part], device=self._device)
            # A cache that takes in the others has the room for what follows.
            caches.append(self._decoder.new_cache(len(part), width if caches else width + room))
            whole = self._decoder.hidden(ids, cache=caches[-1])  # [b, T, D]
            states.append(whole[torch.arange(len(part), device=self._device), last])
        cache: Cache = caches[0]
        hidden = torch.cat(states)
        if len(caches) > 1:
            cache.join(caches[1:])
        place = {ids: number for number, ids in enumerate(distinct)}
        order = [place[row.ids] for row in rows]
        if order != list(range(len(distinct))):
            chosen = torch.tensor(order, device=self._device)
            cache.select(chosen)
            hidden = hidden[chosen]
        return cache, hidden


def _passes(prompts: Sequence[tuple[int, ...]], batch_tokens: int, padding: int) -> list[Sequence[tuple[int, ...]]]:
    """Cut prompts, longest first, where a forward pass would have too many tokens or more padding than `padding`."""
    parts: list[Sequence[tuple[int, ...]]] = []
    start = tokens = 0
    for place, ids in enumerate(prompts):
        size = len(prompts[start]) * (place - start + 1)
        if place > start and (size > batch_tokens or size - tokens - len(ids) > padding):
            parts.append(prompts[start:place])
            start = place
            tokens = 0
        tokens += len(ids)
    return [*parts, prompts[start:]]


class _Batch:
    """Rows that go on together: what each has generated, and what the next step needs to know of it.

    The prompts fill the slots of the cache from the left, up to the longest; there, `_width`, the new tokens begin.
    """

    def __init__(self, rows: Sequence[Fitted], tokenizer: Tokenizer, device: torch.device) -> None:
        self.answers: dict[Fitted, Generated] = {}
        self._rows = list(rows)
        self._new: list[list[int]] = [[] for _ in rows]
        self._tails = [_tail(row.request.stop) for row in rows]
        self._tokenizer = tokenizer
        self._steps = 0
        self._width = max(len(row.ids) for row in rows)
        room = max(row.limit for row in rows)
        self._lengths = torch.tensor([len(row.ids) for row in rows], device=device)  # [B]
        self._even = all(len(row.ids) == self._width for row in rows)
        self._last = max(len(row.ids) + row.limit for row in rows) - 1  # a row that is done goes on beside the others
        slots = torch.arange(self._width + room, device=device)
        self._filled = ((slots < self._lengths[:, None]) | (slots >= self._width))[:, None, None]  # [B, 1, 1, S]
        self._seen = _history(rows, self._width, room).to(device)  # [B, S], or [B, 0] where no settings need it
        self._uniforms = _uniforms(rows, room).to(device)  # [B, room]
        self._settings = self._by_settings()

    def choose(self, logits: Tensor) -> Tensor:
        """Return the next id [B] of each row; embedding rows beyond the tokenizer's ids are no tokens."""
        logits = logits[:, : self._tokenizer.size]
        seen, uniform = self._seen[:, : self._width + self._steps], self._uniforms[:, self._steps]
        if len(self._settings) == 1:
            return next_tokens(logits, seen, self._settings[0][0], uniform)
        tokens = torch.empty(len(logits), dtype=torch.int64, device=logits.device)
        for decoding, which in self._settings:
            tokens[which] = next_tokens(logits[which], seen[which], decoding, uniform[which])
        return tokens

    def take(self, tokens: Sequence[int]) -> None:
        """Note the next id of each row, and the answers that are now complete."""
        if self._seen.shape[1]:
            self._seen[:, self._width + self._steps] = torch.tensor(tokens, device=self._seen.device)
        self._steps += 1
        end = self._tokenizer.special.eos
        for row, new, tail, token in zip(self._rows, self._new, self._tails, tokens, strict=True):
            if row in self.answers:
                continue
            if token == end or token in row.ends:
                self._answer(row, new, True)
                continue
            new.append(token)
            if tail and any(stop in self._tokenizer.decode(new[-tail:]) for stop in row.request.stop):
                self._answer(row, new, False, unless_whole=True)
            if len(new) == row.limit and row not in self.answers:
                self._answer(row, new, False)

    def _answer(self, row: Fitted, new: Sequence[int], complete: bool, *, unless_whole: bool = False) -> None:
        """Note the text up to its first stop; where it has none and `unless_whole`, the row goes on."""
        text = self._tokenizer.decode(new)
        places = [place for stop in row.request.stop if (place := text.find(stop)) >= 0]
        if places or not unless_whole:
            end = min(places, default=None)
            self.answers[row] = row.answer(text[:end], len(new), complete=complete or bool(places))

    def compact(self) -> Tensor | None:
        """Leave out the rows that are answered, once they are many; return the places [B] of the others."""
        left = [place for place, row in enumerate(self._rows) if row not in self.answers]
        if len(self._rows) - len(left) <= _GONE * len(self._rows):
            return None
        places = torch.tensor(left, device=self._lengths.device)
        self._rows = [self._rows[place] for place in left]
        self._new = [self._new[place] for place in left]
        self._tails = [self._tails[place] for place in left]
        self._lengths, self._filled, self._seen, self._uniforms = (
            each[places] for each in (self._lengths, self._filled, self._seen, self._uniforms)
        )
        self._settings = self._by_settings()
        return places

    def place(self, slots: int) -> tuple[Tensor | None, Tensor | None]:
        """Return positions [B, 1] and mask [B, 1, 1, slots] of the tokens just taken; none where all rows are even."""
        if self._even:
            return None, None
        return (self._lengths + self._steps - 1).clamp(max=self._last)[:, None], self._filled[..., :slots]

    def _by_settings(self) -> list[tuple[Decoding, Tensor]]:
        places: dict[Decoding, list[int]] = defaultdict(list)
        for place, row in enumerate(self._rows):
            places[replace(row.request.decoding, max_new_tokens=0)].append(place)
        device = self._lengths.device
        return [(decoding, torch.tensor(which, device=device)) for decoding, which in places.items()]


def _tail(stops: Sequence[str]) -> int:
    """Return how many of the last tokens can hold the end of a stop that has just come; 0 without stops.

    A token has a byte of it at least. The first tokens of a text may be decoded to less than they are inside of one,
    so there are some more.
    """
    return max((len(stop.encode("utf-8", "surrogatepass")) for stop in stops), default=-8) + 8


def _history(rows: Sequence[Fitted], width: int, room: int) -> Tensor:
    """Return the ids so far [B, width + room], with -1 on the left of shorter prompts; [B, 0] where none need them."""
    if not any(needs_history(row.request.decoding) for row in rows):
        return torch.zeros(len(rows), 0, dtype=torch.int64)
    return torch.tensor([[-1] * (width - len(row.ids)) + [*row.ids] + [-1] * room for row in rows])


def _uniforms(rows: Sequence[Fitted], room: int) -> Tensor:
    """Return what each row draws at each step, [B, room] from [0, 1)."""
    drawn = torch.zeros(len(rows), room)
    for row, numbers in zip(rows, drawn, strict=True):
        if row.request.decoding.temperature:
            numbers[: row.limit] = uniforms(row.request)[: row.limit]
    return drawn

"""Any causal class of Transformers as a decoder that never makes a [B, T, V] tensor."""

from __future__ import annotations

import functools
import inspect
import warnings
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from tilbench.errors import Unsupported
from tilbench.kinds.weight_layout import Slot
from tilbench_huggingface.cache import Memory, Way, new_state
from tilbench_huggingface.fused import fused_slots
from tilbench_huggingface.head import base_name, head_logits, head_of
from tilbench_huggingface.probe import FAULTS, LENGTH, ask, close
from tilbench_huggingface.stretch import restore, stretch_of

if TYPE_CHECKING:
    from transformers import PretrainedConfig

__all__ = ["HuggingFaceDecoder", "context_length"]

_DEFAULT_LENGTH = 2048
_LENGTHS = ("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len", "seq_length", "context_length")
_FULL = "full_attention"
_WINDOWS = ("sliding_window", "attention_chunk_size", "window_size")


def context_length(config: PretrainedConfig) -> int:
    """Return the tokens that a model of this config attends over; 2048 where the config does not say."""
    inner = config.get_text_config()
    found = (getattr(inner, name, None) for name in _LENGTHS)
    return next((length for length in found if isinstance(length, int) and length > 0), _DEFAULT_LENGTH)


class HuggingFaceDecoder(nn.Module):
    """A causal class of Transformers, alone or within a peft model.

    States are the base model's; logits are made from them by the class's own code (see `head`). Whether that
    gives the class's own logits is tried at construction (on `meta`: at the first use), and where it does
    not, `hidden` returns the logits themselves, which is right but not bounded in memory, with a warning.
    """

    def __init__(
        self, model: nn.Module, max_length: int | None = None, *, base: tuple[str, str | None] | None = None
    ) -> None:
        """Take a model. base: folder or Hub name, and revision, that its weights were read from; None: they are new."""
        super().__init__()
        self.model = model
        self.base = base
        inner = self.inner
        self.vocab_size = _rows(inner)
        self.max_length = max_length or context_length(inner.config)
        self._base = base_name(inner)
        self._head = (head_of(inner),) if self._base else ()  # in a tuple: a view is no submodule
        self._stretch = stretch_of(inner.config)
        self.alone_above = self._stretch.limit if self._stretch else None
        self._ways: dict[int, Way] = {}  # by the length on which they were tried
        self._takes_masks: bool | None = None
        self._takes_windows: bool | None = None
        self._tried = False
        if self._device.type != "meta":
            self._try()

    @property
    def inner(self) -> Any:
        """The Transformers model: within a peft model, the one that its adapters were put into."""
        get: Any = getattr(self.model, "get_base_model", None)
        return self.model if get is None else get()

    @property
    def _device(self) -> torch.device:
        return next(self.model.parameters()).device

    def forward(self, ids: Tensor) -> Tensor:
        """Return the class's own logits [B, T, V]."""
        logits: Tensor = self.inner(input_ids=ids, use_cache=False)[0]
        return logits

    def project(self, hidden: Tensor) -> Tensor:
        """Return the logits [..., V] of states [..., D]."""
        return head_logits(self._head[0], hidden) if self._head else hidden

    def hidden(
        self,
        ids: Tensor,
        *,
        positions: Tensor | None = None,
        mask: Tensor | None = None,
        cache: Memory | None = None,
    ) -> Tensor:
        """Return the final states [B, T, D]; see `tilbench.kinds.architecture.Decoder`.

        Raises Unsupported for a mask or positions that this class does not obey.
        """
        if not self._tried and ids.device.type != "meta":
            self._try()
        if cache is None:
            extra = {} if mask is None and positions is None else self._explicit(ids, positions, mask, None, None)
            states = self._run(ids, **extra)
        else:
            states = self._go_on(ids, positions, mask, cache)
        if self._stretch and self._stretch.each:
            restore(self._core)
        return states

    def parts(self) -> list[Slot]:
        """Return the trained weights that hold several matrices, as trying the class shows."""
        try:
            return ask(self, self.vocab_size, lambda _: fused_slots(self, self.vocab_size, self._run))
        except FAULTS as error:
            warnings.warn(
                f"{type(self.inner).__name__}: which of its weights hold several matrices cannot be found ({error}); "
                "each is taken as one",
                stacklevel=2,
            )
            return []

    def _go_on(self, ids: Tensor, positions: Tensor | None, mask: Tensor | None, cache: Memory) -> Tensor:
        """Return the states of `ids` [B, T] after what is in the cache, which then holds them too."""
        new, plain = ids.shape[1], mask is None and positions is None
        if self._stretch:
            ids = cache.in_regime(self._stretch.regime(cache.reach(ids, positions)), ids, plain)
        keys = cache.note(ids, positions)
        extra = {} if plain else self._explicit(ids, positions, mask, cache, keys)
        held = cache.all(ids) if cache.keeps_ids else ids
        if cache.way is Way.AGAIN:
            states = self._run(held)
        elif cache.way is Way.STEPS and cache.length:
            states = torch.cat([self._remember(column, cache) for column in torch.split(ids, 1, dim=1)], dim=1)
        else:
            states = self._remember(ids, cache, **extra)
        cache.length += ids.shape[1]
        return states[:, -new:]

    def new_cache(self, batch: int, length: int) -> Memory:
        """Return an empty cache: the class's own where cached equals uncached, else one of ids.

        On `meta`, where nothing can be compared, the class's own.
        """
        if self._device.type == "meta":
            return self._memory(Way.CHUNKS, length)
        window = _window(self.inner.config)
        tried = LENGTH if window is None or length <= window else window + LENGTH
        if tried not in self._ways:
            self._ways[tried] = ask(self, self.vocab_size, self._find_way, tried)
        return self._memory(self._ways[tried], length)

    def _memory(self, way: Way, length: int) -> Memory:
        make = None if way is Way.AGAIN else functools.partial(new_state, self.inner.config, length)
        return Memory(way, make, keeps_ids=way is Way.AGAIN or self._stretch is not None)

    @property
    def _core(self) -> Any:
        """What is run for states: the base model, or the whole where the class could not be cut."""
        return getattr(self.inner, self._base) if self._head else self.inner

    def _run(self, ids: Tensor, **extra: Any) -> Tensor:
        states: Tensor = self._core(input_ids=ids, **{"use_cache": False, **extra})[0]
        return states

    def _remember(self, ids: Tensor, cache: Memory, **extra: Any) -> Tensor:
        """Run on from a cache of transformers."""
        if self._cache_name is None:
            raise Unsupported(f"{type(self.inner).__name__} takes no cache")
        return self._run(ids, use_cache=True, **{self._cache_name: cache.state}, **extra)

    @functools.cached_property
    def _cache_name(self) -> str | None:
        """What the class calls the cache that it is given, if it takes one."""
        taken = inspect.signature(self._core.forward).parameters
        # `cache` since Transformers 5.24
        return next((name for name in ("cache", "past_key_values", "cache_params") if name in taken), None)

    def _explicit(
        self, ids: Tensor, positions: Tensor | None, mask: Tensor | None, cache: Memory | None, keys: Tensor | None
    ) -> dict[str, Any]:
        """Return what makes the class obey positions and a mask. Raises Unsupported where it does not."""
        batch, new = ids.shape
        start = cache.length if cache else 0
        name = type(self.inner).__name__
        if self._takes_masks is None:
            self._takes_masks = True  # while it is being tried
            self._takes_masks = ask(self, self.vocab_size, self._obeys_masks)
        if not self._takes_masks or (cache and cache.way is not Way.CHUNKS):
            raise Unsupported(f"{name} takes no explicit positions or mask; give it one sequence a row")
        if positions is None:
            positions = torch.arange(start, start + new, device=ids.device)
        positions = positions.expand(batch, new)
        if mask is None:
            mask = torch.ones(new, start + new, dtype=torch.bool, device=ids.device).tril(start)
        mask = mask.expand(batch, 1, new, start + new) if mask.dim() == 2 else mask
        masks = self._masks(mask, positions, positions if keys is None else keys)
        return {"position_ids": positions, "attention_mask": masks}

    def _masks(self, mask: Tensor, positions: Tensor, keys: Tensor) -> Any:
        """Return an allowed mask [B, 1, T, S] as the class takes it, narrowed where its layers see a window only.

        Raises Unsupported for a class whose windows cannot be put into a mask.
        """
        window = _window(self.inner.config)
        if window is None or keys.shape[1] <= window:
            return self._additive(mask)
        if self._takes_windows is None:
            self._takes_windows = True  # while it is being tried
            self._takes_windows = ask(self, self.vocab_size, self._obeys_windows, window + LENGTH)
        if not self._takes_windows:
            raise Unsupported(
                f"{type(self.inner).__name__} attends over windows of {window} tokens, which an explicit mask over "
                f"{keys.shape[1]} would lift"
            )
        near = positions[:, None, :, None] - keys[:, None, None, :] < window
        narrow = self._additive(mask & near)
        kinds = set(getattr(self.inner.config.get_text_config(), "layer_types", None) or ())
        return {kind: self._additive(mask) if kind == _FULL else narrow for kind in kinds} if _FULL in kinds else narrow

    def _additive(self, mask: Tensor) -> Tensor:
        dtype = self.inner.dtype
        shift = torch.zeros(mask.shape, dtype=dtype, device=mask.device)
        return shift.masked_fill(~mask, torch.finfo(dtype).min)  # [B, 1, T, S]

    def _try(self) -> None:
        self._tried = True
        ask(self, self.vocab_size, self._cut)

    def _cut(self, ids: Tensor) -> None:
        """Keep the cut if it gives the class's own logits; refuse a class that looks ahead."""
        logits = self(ids)
        name = type(self.inner).__name__
        if not close(logits[0, :-1], logits[1, :-1]):
            raise Unsupported(
                f"as {name} it looks at the tokens to the right, so it is no causal language model; name another"
            )
        try:
            right = bool(self._head) and close(self.project(self.hidden(ids)), logits)
        except FAULTS:
            right = False
        if not right:
            self._head = ()
            warnings.warn(
                f"{name}: its logits cannot be made from its final states alone; going on with whole logits, "
                "so the memory for a large vocabulary is not bounded",
                stacklevel=2,
            )

    def _find_way(self, ids: Tensor) -> Way:
        """Return the fastest way to go on whose states equal those of the whole, in rows that change places too."""
        ids = torch.stack([ids[0], ids[0].flip(0)])
        whole = self._run(ids)
        turned = torch.tensor([1, 0], device=ids.device)
        for way in (Way.CHUNKS, Way.STEPS):
            cache = self._memory(way, ids.shape[1])
            try:
                first, *rest = torch.split(ids, [ids.shape[1] - 3, 2, 1], dim=1)
                parts = [self.hidden(first, cache=cache)[turned]]
                cache.select(turned)
                parts += [self.hidden(part[turned], cache=cache) for part in rest]
            except (Unsupported, *FAULTS):
                continue
            if close(torch.cat(parts, dim=1), whole[turned]):
                return way
        if whole.isfinite().all():  # states that are no numbers equal nothing, and whoever asks is told so
            warnings.warn(
                f"{type(self.inner).__name__}: its cache does not give the states that the whole text gives; the whole "
                "text is computed again for every token",
                stacklevel=2,
            )
        return Way.AGAIN

    def _obeys_masks(self, ids: Tensor) -> bool:
        """Say whether a trunk with two branches in one row equals the two sequences alone."""
        row = ids[:1]  # [1, 6]: trunk 0 1, branches 2 3 and 4 5
        positions = torch.tensor([0, 1, 2, 3, 2, 3], device=ids.device)
        mask = torch.ones(LENGTH, LENGTH, dtype=torch.bool, device=ids.device).tril()
        mask[4:, 2:4] = False
        first, second = row[:, :4], torch.cat([row[:, :2], row[:, 4:]], dim=1)
        apart = torch.cat([self._run(first), self._run(second)[:, 2:]], dim=1)
        try:
            packed = self.hidden(row, positions=positions, mask=mask)
        except FAULTS:
            return False
        return close(packed, apart)

    def _obeys_windows(self, ids: Tensor) -> bool:
        """Say whether a causal mask over more than a window gives what the class gives without one."""
        mask = torch.ones(ids.shape[1], ids.shape[1], dtype=torch.bool, device=ids.device).tril()
        try:
            explicit = self.hidden(ids[:1], mask=mask)
        except FAULTS:
            return False
        return close(explicit, self._run(ids[:1]))


def _rows(model: Any) -> int:
    weight = getattr(model.get_output_embeddings(), "weight", None)
    if isinstance(weight, Tensor) and weight.dim() == 2 and not hasattr(weight, "quant_state"):
        return weight.shape[0]
    return int(model.config.get_text_config().vocab_size)


def _window(config: PretrainedConfig) -> int | None:
    """Return the shortest window of a class whose layers do not all see everything."""
    inner = config.get_text_config()
    found = [value for name in _WINDOWS if isinstance(value := getattr(inner, name, None), int) and value > 0]
    return min(found, default=None)

"""Architectures: a typed config → a decoder that can be trained and scored without a [B, T, V] tensor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

__all__ = ["Architecture", "Cache", "Decoder", "DecoderConfig", "ParameterCount"]


class Cache(Protocol):
    """Keys and values of the tokens seen so far, for a batch of rows. `length`: slots filled per row."""

    length: int

    @property
    def bytes(self) -> int:
        """Size of what is kept for attention, slots that are not filled yet included."""

    def keep(self, slots: Tensor) -> None:
        """Keep the slots at the places `slots`, ascending int64 [new length], of every row; forget the others.

        Raises Unsupported where single tokens cannot be forgotten.
        """

    def select(self, rows: Tensor) -> None:
        """Keep the rows at the places `rows`, int64 [B], in this order; a row may be kept more than once."""

    def join(self, others: Sequence[Any]) -> None:
        """Put the rows of other caches of the same decoder below its own, all from slot 0.

        `length` becomes that of the longest. Slots that a shorter cache has not filled are finite, and a mask has to
        leave them out. Raises Unsupported where rows of different lengths cannot go on together.
        """


class DecoderConfig(Protocol):
    """The validated config of an architecture: what every one has."""

    @property
    def vocab_size(self) -> int:
        """Rows of the embedding."""

    @property
    def max_length(self) -> int:
        """Tokens that the decoder can attend over."""

    def model_dump(self) -> dict[str, Any]:
        """Return the fields as plain data."""


@runtime_checkable
class Decoder(Protocol):
    """The interface of a built module (an `nn.Module`). B rows, T tokens, D wide, V vocabulary.

    max_length: tokens it can attend over (its learned positions or trained context).
    `tilbench.kinds.capabilities.decoder` has what one may offer besides.
    """

    vocab_size: int
    max_length: int

    def hidden(
        self,
        ids: Tensor,
        *,
        positions: Tensor | None = None,
        mask: Tensor | None = None,
        cache: Any | None = None,
    ) -> Tensor:
        """Return the final normalised states [B, T, D] of `ids` [B, T].

        positions: int64 [B, T] or [T]; None counts from 0, or from `cache.length`.
        mask: bool, True = may attend, [T, S] or [B, 1, T, S] with S = cache.length + T; None is causal.
        cache: from `new_cache`; it is extended in place.
        """

    def project(self, hidden: Tensor) -> Tensor:
        """Return the logits [..., V] of states [..., D]."""

    def new_cache(self, batch: int, length: int) -> Cache:
        """Return an empty cache for `batch` rows of at most `length` tokens."""

    def forward(self, ids: Tensor) -> Tensor:
        """Return logits [B, T, V] of causal `ids` [B, T]; for small inputs and for comparisons."""


@dataclass(frozen=True, slots=True)
class ParameterCount:
    """The parameters of a component of a decoder. layers: those of each layer, where it is in layers."""

    parameters: int = 0
    layers: tuple[int, ...] = ()

    @property
    def per_layer(self) -> int | None:
        """Parameters of each layer; None where there are no layers, or not all have the same."""
        return self.layers[0] if len(set(self.layers)) == 1 else None


@runtime_checkable
class Architecture(Protocol):
    """A family of decoders.

    Config: a pydantic model that forbids unknown fields, and a `DecoderConfig`. Every `config` below is one of this
    class, which no type can say here. `tilbench.kinds.capabilities.architecture` has what one may offer besides.
    """

    Config: ClassVar[type[Any]]

    def parameters(self, config: Any) -> int:
        """Return the number of parameters by formula, tied weights counted once."""

    def build(self, config: Any) -> nn.Module:
        """Return a freshly initialised decoder (under `torch.device('meta')` nothing is allocated)."""

    def save(self, module: nn.Module, folder: Path) -> None:
        """Write the weights (and nothing that runs) into an existing folder."""

    def load(self, config: Any, folder: Path, *, dtype: torch.dtype | None = None) -> nn.Module:
        """Return the decoder saved in `folder`.

        Raises CheckpointError that names missing, extra or misshapen weights.
        """

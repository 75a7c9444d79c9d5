"""What a trainer may offer: other rows than documents, and a preview."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, ClassVar, Protocol, runtime_checkable

from tilbench.kinds.tokenizer import Tokenizer
from tilbench.kinds.trainer import Source, Start

if TYPE_CHECKING:
    from tilbench.config.model import ModelSpec

__all__ = ["LearnsFromRows", "Previews"]


@runtime_checkable
class LearnsFromRows(Protocol):
    """Learns from other rows than documents."""

    rows: ClassVar[frozenset[str]]
    """Kinds of rows (`tilbench.data.rows.KINDS`)."""


@runtime_checkable
class Previews(Protocol):
    """Shows what it would learn, for `tilbench train --preview`."""

    def preview(
        self, spec: ModelSpec, tokenizer: Tokenizer, sources: Sequence[Source], start: Start | None
    ) -> Iterator[str]:
        """Yield lines that show what would be learned; nothing is trained. Raises as `fit` does before its first step.

        start: the checkpoint that the training starts from, if any.
        """

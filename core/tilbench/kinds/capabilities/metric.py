"""What a metric may state of itself besides its values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

__all__ = ["HasNotes", "StatesDeciding"]


@runtime_checkable
class HasNotes(Protocol):
    """Has texts that belong beside its values in a record, such as the signature of the tool behind them."""

    @property
    def notes(self) -> Sequence[str]:
        """One sentence each."""


@runtime_checkable
class StatesDeciding(Protocol):
    """Depends on more than rows, answers, settings, examples and the task's language."""

    @property
    def deciding(self) -> Mapping[str, object]:
        """Plain data on all that it depends on besides, such as the version of a library or the digest of a file.

        It is part of the task's fingerprint.
        """

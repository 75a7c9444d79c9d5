"""What a tokenizer or its family may offer: a form for Transformers, and what it says of itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Protocol, runtime_checkable

__all__ = ["DropsCharacters", "LosesText", "MayNotDecode", "RunsInTransformers", "StatesSplitting"]


@runtime_checkable
class RunsInTransformers(Protocol):
    """A tokenizer that Transformers can run, for `tilbench export`."""

    def to_transformers(self) -> Mapping[str, Any]:
        """Return the content of a tokenizer.json with the same ids. Raises Unsupported where there is none."""


@runtime_checkable
class StatesSplitting(Protocol):
    """A tokenizer that says how it splits text before it forms tokens, for `tilbench tokenizer report`."""

    @property
    def pre_tokenizer(self) -> str:
        """The rule in words."""


@runtime_checkable
class MayNotDecode(Protocol):
    """A tokenizer that may have no way from ids to text."""

    @property
    def undecodable(self) -> str:
        """Why it cannot decode; empty where it can."""


@runtime_checkable
class LosesText(Protocol):
    """A family that says whether text without unknown tokens comes back as it was, for `tilbench check`."""

    lossless: ClassVar[bool]
    """False where more is lost than what `unknown` counts."""


@runtime_checkable
class DropsCharacters(Protocol):
    """A family that takes some characters as instructions and leaves them out, for `tilbench check`."""

    drops: ClassVar[str]
    """Those characters."""

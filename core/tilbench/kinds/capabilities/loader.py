"""What a loader may offer: published files to import, and settings to write with."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from tilbench.kinds.language_model import OpenOptions, Published, WritingDefaults

__all__ = ["HasWritingDefaults", "ReadsPublished"]


@runtime_checkable
class ReadsPublished(Protocol):
    """Reads files of weights of published models, for `tilbench import`."""

    def published(self, reference: str, options: OpenOptions) -> Published:
        """Return the files of a model; one on the Hub is fetched. Raises Unsupported for what is no whole model."""


@runtime_checkable
class HasWritingDefaults(Protocol):
    """Opens models that come with settings to write with, for `tilbench generate` and `tilbench chat`."""

    def defaults(self, reference: str) -> WritingDefaults:
        """Return how the model is meant to write, as its files say."""

"""Models that were opened before a run: those of `open_model`, and objects of the caller's own."""

from __future__ import annotations

from dataclasses import dataclass

from tilbench.kinds.language_model import LanguageModel, ModelCard, OpenOptions
from tilbench.resolve.models import ModelSource

__all__ = ["OpenedSource", "own_model"]


@dataclass(frozen=True, slots=True, eq=False)
class OpenedSource(ModelSource):
    """A model that was opened with `options`. It is opened again only where a run needs it otherwise."""

    model: LanguageModel
    options: OpenOptions

    def open(self, options: OpenOptions) -> LanguageModel:
        """Return the model, or open it anew where another prefix, precision, text or device is asked for."""
        same = self.card(options).fingerprint == self.model.card.fingerprint and options.device == self.options.device
        return self.model if same else ModelSource.open(self, options)


def own_model(model: LanguageModel) -> ModelSource:
    """Return the source of an object that answers requests. Its card's fingerprint is what records know it by.

    The card is read once, so that a run has one fingerprint.
    """
    card = model.card
    return ModelSource(card.name, card.name, _Own(model, card))


@dataclass(frozen=True, slots=True, eq=False)
class _Own:
    """The loader of an object that is there already."""

    model: LanguageModel
    described: ModelCard

    def recognises(self, reference: str) -> bool:
        """Say whether `reference` is this object's name."""
        return reference == self.described.name

    def card(self, reference: str, options: OpenOptions) -> ModelCard:
        """Return the object's card."""
        return self.described

    def open(self, reference: str, options: OpenOptions) -> LanguageModel:
        """Return the object."""
        return self.model

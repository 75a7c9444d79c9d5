"""A plugin that notes every request put to a model: `counting:MODEL` opens MODEL, slowly, and writes to $COUNTED."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from tilbench import hookimpl
from tilbench.hookspecs import Register
from tilbench.kinds.language_model import LanguageModel, ModelCard, OpenOptions
from tilbench.kinds.requests import Answer, Request, request_key
from tilbench.loader import load_plugins
from tilbench.resolve.models import ModelSource, find_model

_SCHEME = "counting:"


class Counting:
    """A model with a list of what it was asked, slowed down so that a test can stop it where it wants."""

    def __init__(self, model: LanguageModel) -> None:
        self._model = model
        self.card = model.card

    def answer(self, requests: Sequence[Request]) -> Iterator[Sequence[tuple[Request, Answer]]]:
        """Answer as the model does."""
        with Path(os.environ["COUNTED"]).open("a", encoding="utf-8") as file:
            for request in requests:
                file.write(json.dumps([self.card.fingerprint, request_key(request)]) + "\n")
        for batch in self._model.answer(requests):
            time.sleep(float(os.environ["PAUSE"]))
            yield batch


class CountingLoader:
    """Opens `counting:MODEL`."""

    def recognises(self, reference: str) -> bool:
        """Say whether the reference is ours."""
        return reference.startswith(_SCHEME)

    def card(self, reference: str, options: OpenOptions) -> ModelCard:
        """Describe the model underneath."""
        return _source(reference).card(options)

    def open(self, reference: str, options: OpenOptions) -> LanguageModel:
        """Open the model underneath."""
        return Counting(_source(reference).open(options))


def _source(reference: str) -> ModelSource:
    return find_model(reference.removeprefix(_SCHEME), load_plugins(entry_points=None).registry, Path("runs"))


@hookimpl
def register_loaders(register: Register) -> None:
    """Register the loader."""
    register("counting", CountingLoader, summary="notes what a model is asked")

"""Puts requests to models in whichever process an executor chooses. All that goes in or comes out can be pickled."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from tilbench.errors import CheckpointError
from tilbench.kinds.language_model import LanguageModel, OpenOptions
from tilbench.kinds.requests import Answer, Request
from tilbench.loader import load_plugins
from tilbench.memory import peak_memory
from tilbench.registry import Registry
from tilbench.resolve.datasets import ReferenceText
from tilbench.resolve.model_options import ModelOptions, open_options
from tilbench.resolve.models import ModelSource, find_model

__all__ = ["Answered", "Event", "Job", "Opened", "Worker", "answers"]


@dataclass(frozen=True, slots=True)
class Job:
    """What one model is asked. reference: names the model on any machine that has its files. name: for messages."""

    name: str
    reference: str
    requests: Sequence[Request]


@dataclass(frozen=True, slots=True)
class Opened:
    """The model is open: its files fit together."""


@dataclass(frozen=True, slots=True)
class Answered:
    """A batch of answers. seconds: that it took. peak_memory: of the worker's process so far, in bytes."""

    answers: Sequence[tuple[Request, Answer]]
    seconds: float
    peak_memory: int


Event = Opened | Answered


class Worker:
    """Opens the model of a job and puts the job's requests to it.

    asked: how models are opened. reference_text: datasets that trainable baselines learn from. plugins: plugin files
    besides the installed plugins. sources: models that are found already, by name; some exist in this process alone.

    A copy in another process has neither the registry nor the sources. It loads the same plugins once, and finds each
    model by its reference.
    """

    def __init__(
        self, asked: ModelOptions, reference_text: Sequence[str], data_dir: Path | None, plugins: Sequence[str]
    ) -> None:
        self._asked = asked
        self._reference_text = reference_text
        self._data_dir = data_dir
        self._plugins = plugins
        self.sources: dict[str, ModelSource] = {}

    @classmethod
    def here(
        cls, asked: ModelOptions, reference_text: Sequence[str], data_dir: Path | None, registry: Registry
    ) -> Worker:
        """Return a worker that uses this registry as long as it stays in this process."""
        worker = cls(asked, reference_text, data_dir, registry.files)
        worker.registry = registry
        return worker

    def __reduce__(self) -> tuple[type[Worker], tuple[object, ...]]:
        return Worker, (self._asked, tuple(self._reference_text), self._data_dir, self._plugins)

    @cached_property
    def registry(self) -> Registry:
        """What the plugins registered."""
        return load_plugins(self._plugins).registry

    @cached_property
    def options(self) -> OpenOptions:
        """What loaders are handed. Raises Unsupported for a device that is not here."""
        text = ReferenceText(self._reference_text, self.registry, self._data_dir)
        return open_options(self._asked, self.registry, text)

    def __call__(self, job: Job) -> Iterator[Event]:
        """Open the model and yield what it answers. Raises what opening it raises, and CheckpointError."""
        source = self.sources.get(job.name) or find_model(job.reference, self.registry, Path())
        yield from answers(source.open(self.options), job)


def answers(model: LanguageModel, job: Job) -> Iterator[Event]:
    """Yield what an opened model answers, batch by batch. Raises CheckpointError that names the model."""
    yield Opened()
    before = time.perf_counter()
    try:
        for batch in model.answer(job.requests):
            yield Answered(batch, time.perf_counter() - before, peak_memory())
            before = time.perf_counter()
    except CheckpointError as error:
        raise CheckpointError(f"{job.name}: {error}") from None

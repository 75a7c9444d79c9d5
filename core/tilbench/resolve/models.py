"""From a model reference to something that answers.

A reference is a registered loader's (`xz`, `hf:org/name@revision`, a Transformers folder), a checkpoint or run folder
of ours, or a model spec (`name[:variant][@step]`) whose run lies in the folder of runs.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from tilbench.checkpoints.folder import find_checkpoint, is_run, model_folder
from tilbench.config.references import SpecReference, is_path, parse_spec
from tilbench.errors import CheckpointError, MissingDataset, UnknownName
from tilbench.kinds.language_model import LanguageModel, Loader, ModelCard, OpenOptions
from tilbench.registry import Registry
from tilbench.resolve.checkpoint_loader import CheckpointLoader
from tilbench.resolve.specs import load_spec

if TYPE_CHECKING:
    from tilbench.scoring.encode.reader import Reader

__all__ = ["ModelSource", "Train", "Untrained", "find_model", "run_folder"]


class Untrained(CheckpointError):
    """A spec whose run is not there; the message has the command that trains it."""


Train = Callable[[str, Path], object]
"""Trains the spec of this label in this folder, or finds that it is done."""


@dataclass(frozen=True, slots=True)
class ModelSource:
    """A reference with the loader that will open it. `name` is what records call the model."""

    name: str
    reference: str
    loader: Loader

    def card(self, options: OpenOptions) -> ModelCard:
        """Describe the model under its name."""
        return replace(self.loader.card(self.reference, options), name=self.name)

    def open(self, options: OpenOptions) -> LanguageModel:
        """Open the model."""
        return self.loader.open(self.reference, options)

    @property
    def on_demand(self) -> bool:
        """Whether the model is trained when it is first asked for, so that nothing is known of it before."""
        return isinstance(self.loader, TrainedOnDemand)

    def reader(self, options: OpenOptions) -> Reader | None:
        """Return how the model reads text, without its weights; None where it reads no tokens."""
        from tilbench.scoring.encode.reader import ReadsTokens

        return self.loader.reader(self.reference, options) if isinstance(self.loader, ReadsTokens) else None

    @property
    def location(self) -> str:
        """The reference by which another process finds the same model: for a trained spec, its checkpoint's folder."""
        return self.loader.found() if isinstance(self.loader, TrainedOnDemand) else self.reference

    def check(self, options: OpenOptions) -> None:
        """Raise now what describing the model would raise later; one that is still to be trained is left alone."""
        if not self.on_demand:
            with contextlib.suppress(MissingDataset):  # its tasks will read "not run"
                self.card(options)


def run_folder(runs: Path, label: str) -> Path:
    """Return where the run of a spec is kept by default."""
    return runs / label.replace(":", "-")


def find_model(reference: str, registry: Registry, runs: Path, train: Train | None = None) -> ModelSource:
    """Find who opens `reference`, without opening it.

    train: makes the run of a spec when the model is first asked for; without it the run must be there.
    Raises UnknownName, Untrained, or CheckpointError for a folder that is no model.
    """
    if own := model_folder(reference):
        return ModelSource(reference.rstrip("/"), str(find_checkpoint(*own)), CheckpointLoader(registry))
    for _, loader in registry.loaders.all():
        if loader.recognises(reference):
            return ModelSource(reference.rstrip("/"), reference, loader)
    if is_path(reference):
        raise CheckpointError(f"{reference}: {_no_model(Path(reference).expanduser())}")
    return _spec(reference, registry, runs, train)


def _no_model(path: Path) -> str:
    """Say what there is at a path that no loader opens, and what to do."""
    from tilbench.checkpoints.stored import SUFFIXES

    if not path.exists():
        return "no such folder"
    files = [path] if path.is_file() else sorted(each for each in path.iterdir() if each.is_file())
    if any(each.suffix == ".gguf" for each in files):
        return (
            "GGUF is llama.cpp's format, which is not read; name the Transformers folder that it was made from "
            "(config.json with safetensors)"
        )
    if path.is_dir() and (path / "config.json").is_file():
        return (
            "its config.json has no model_type, which says what kind of model it is; take the model's own config.json"
        )
    weights = [each.name for each in files if each.suffix in SUFFIXES]
    if weights:
        file = path if path.is_file() else path / weights[0]
        return (
            f"weights without a config.json; make a checkpoint of them with 'tilbench import {file}' (docs/import.md)"
        )
    return "neither a checkpoint of ours (tilbench.json) nor a Transformers model (config.json)"


def _spec(reference: str, registry: Registry, runs: Path, train: Train | None) -> ModelSource:
    asked = parse_spec(reference)
    known = registry.models.names()
    if asked.name not in known:
        named = [name for name, loader in registry.loaders.all() if loader.recognises(name)]
        raise UnknownName("model", asked.name, [*known, *named], "a folder or hf:org/name is a model too")
    load_spec(asked, registry)
    folder = run_folder(runs, asked.label)
    if train is not None:
        return ModelSource(reference, str(folder), TrainedOnDemand(asked, folder, registry, train))
    if not is_run(folder):
        raise Untrained(
            f"{asked.label} has no checkpoint in {folder}; make one with 'tilbench train {asked.label} --out {folder}'"
        )
    return ModelSource(reference, str(find_checkpoint(folder, asked.step)), CheckpointLoader(registry))


class TrainedOnDemand:
    """Opens the run of a spec, which is trained (or found to be complete) when it is first asked for."""

    def __init__(self, asked: SpecReference, folder: Path, registry: Registry, train: Train) -> None:
        self._asked = asked
        self._folder = folder
        self._train = train
        self._checkpoints = CheckpointLoader(registry)

    def recognises(self, reference: str) -> bool:
        """Say whether `reference` is the folder of this run."""
        return reference == str(self._folder)

    def card(self, reference: str, options: OpenOptions) -> ModelCard:
        """Train where that is still to be done, then describe the checkpoint."""
        self._train(self._asked.label, self._folder)
        return self._checkpoints.card(self.found(), options)

    def open(self, reference: str, options: OpenOptions) -> LanguageModel:
        """Open the checkpoint."""
        return self._checkpoints.open(self.found(), options)

    def reader(self, reference: str, options: OpenOptions) -> Reader:
        """Return how the checkpoint reads text."""
        return self._checkpoints.reader(self.found(), options)

    def found(self) -> str:
        """Return the folder of the checkpoint that was asked for."""
        return str(find_checkpoint(self._folder, self._asked.step))

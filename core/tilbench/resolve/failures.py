"""Models that cannot be scored: each is reported, and the others go on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tilbench.errors import TilbenchError
from tilbench.kinds.language_model import OpenOptions
from tilbench.registry import Registry
from tilbench.resolve.models import ModelSource, Train, find_model

__all__ = ["Failure", "findable", "openable"]


@dataclass(frozen=True, slots=True)
class Failure:
    """A model that cannot be scored, and why. name: the reference by which it was named."""

    name: str
    error: TilbenchError

    def __str__(self) -> str:
        """Return one line that names the model."""
        said = str(self.error)
        return said if self.name in said else f"{self.name}: {said}"


def findable(
    references: Sequence[str | ModelSource], registry: Registry, runs: Path, train: Train | None = None
) -> tuple[list[ModelSource], list[Failure]]:
    """Return the models that references are found to mean, and the references that mean none with the reason.

    A reference that was resolved before stays as it is.
    """
    found, failures = [], []
    for reference in dict.fromkeys(references):
        if isinstance(reference, ModelSource):
            found.append(reference)
            continue
        try:
            found.append(find_model(reference, registry, runs, train))
        except TilbenchError as error:
            failures.append(Failure(reference.rstrip("/"), error))
    return found, failures


def openable(sources: Sequence[ModelSource], options: OpenOptions) -> tuple[list[ModelSource], list[Failure]]:
    """Return the models that can be described, and the others with the reason."""
    good, failures = [], []
    for source in sources:
        try:
            source.check(options)
            good.append(source)
        except TilbenchError as error:
            failures.append(Failure(source.name, error))
    return good, failures

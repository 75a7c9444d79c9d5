"""Model specs by reference, and the architecture of a checkpoint."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pydantic

from tilbench.checkpoints.folder import RUN
from tilbench.config.model import ModelSpec
from tilbench.config.references import SpecReference
from tilbench.config.spec_file import SpecFile
from tilbench.errors import CheckpointError, ConfigError
from tilbench.paths import package_file
from tilbench.registry import Registry

__all__ = ["load_spec", "run_spec", "variants"]


def _file(name: str, registry: Registry) -> SpecFile:
    entry = registry.models.entry(name)
    if entry.resource is None:
        raise ConfigError(f"model {name!r} of plugin {entry.plugin} is not a YAML file")
    return SpecFile.read(package_file(*entry.resource))


def variants(name: str, registry: Registry) -> list[str]:
    """Return the names of a spec's variants, sorted."""
    return sorted(_file(name, registry).variants)


def load_spec(reference: SpecReference, registry: Registry, overrides: Sequence[str] = ()) -> ModelSpec:
    """Read a spec with its variant and overrides laid over it.

    Raises UnknownName for a model or variant nobody registered, ConfigError for a fault in the file.
    """
    return _file(reference.name, registry).spec(reference.name, reference.variant, overrides)


def run_spec(run: Path) -> ModelSpec:
    """Return the spec that a run was trained by. Raises CheckpointError where its run.json does not say."""
    path = run / RUN
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return ModelSpec.model_validate(found["spec"])
    except (OSError, ValueError, KeyError, TypeError, pydantic.ValidationError) as error:
        reason = str(error).partition("\n")[0]
        raise CheckpointError(f"{path} does not say how the run was trained: {reason}") from None

"""Model specs by reference: variants laid over the document's own figures, then overrides."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pydantic

from tilbench.checkpoints.folder import RUN, CheckpointInfo
from tilbench.config import yaml
from tilbench.config.base import first_fault
from tilbench.config.model import ModelSpec
from tilbench.config.references import SpecReference
from tilbench.config.source import Source
from tilbench.errors import CheckpointError, ConfigError, UnknownName
from tilbench.paths import package_file
from tilbench.registry import Registry

__all__ = ["checkpoint_architecture", "load_spec", "run_spec", "variants"]


def _read(name: str, registry: Registry) -> tuple[Source, dict[str, Any], dict[str, Any]]:
    """Return the YAML source of a spec, its own fields and its variants."""
    entry = registry.entry("models", name)
    if entry.resource is None:
        raise ConfigError(f"model {name!r} of plugin {entry.plugin} is not a YAML file")
    source = yaml.read(package_file(*entry.resource))
    if not isinstance(source.data, dict):
        raise ConfigError(f"{source.path}: a model spec is a mapping of fields")
    fields = dict(source.data)
    return source, fields, fields.pop("variants", None) or {}


def variants(name: str, registry: Registry) -> list[str]:
    """Return the names of a spec's variants, sorted."""
    return sorted(_read(name, registry)[2])


def load_spec(reference: SpecReference, registry: Registry, overrides: Sequence[str] = ()) -> ModelSpec:
    """Read a spec with its variant and overrides laid over it.

    Raises UnknownName for a model or variant nobody registered, ConfigError for a fault in the file.
    """
    source, fields, known = _read(reference.name, registry)
    if reference.variant:
        if reference.variant not in known:
            raise UnknownName(f"variant of {reference.name}", reference.variant, known)
        fields = yaml.merge(fields, known[reference.variant])
    spec: ModelSpec = yaml.validate_overridden(fields, overrides, ModelSpec, source)
    return spec


def run_spec(run: Path) -> ModelSpec:
    """Return the spec that a run was trained by. Raises CheckpointError where its run.json does not say."""
    path = run / RUN
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return ModelSpec.model_validate(found["spec"])
    except (OSError, ValueError, KeyError, TypeError, pydantic.ValidationError) as error:
        reason = str(error).partition("\n")[0]
        raise CheckpointError(f"{path} does not say how the run was trained: {reason}") from None


def checkpoint_architecture(info: CheckpointInfo, folder: Path, registry: Registry) -> tuple[Any, Any]:
    """Return the architecture of a checkpoint and its validated config.

    Raises UnknownName for one that nobody registered, CheckpointError for sizes that it does not have.
    """
    architecture = registry.get("architectures", info.architecture.name)
    try:
        return architecture, architecture.Config.model_validate(info.architecture.config)
    except pydantic.ValidationError as error:
        where = f"{folder}: architecture {info.architecture.name}"
        raise CheckpointError(f"{where}: {first_fault(error)}") from None

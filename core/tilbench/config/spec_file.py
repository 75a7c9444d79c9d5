"""The YAML file of a model spec: the fields of the spec, and variants that are laid over them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tilbench.config import yaml
from tilbench.config.model import ModelSpec
from tilbench.config.source import Source
from tilbench.errors import ConfigError, UnknownName

__all__ = ["SpecFile", "load_spec_file"]


@dataclass(frozen=True, slots=True)
class SpecFile:
    """One file, read and not yet validated. variants: by name, the fields that each changes."""

    source: Source
    fields: Mapping[str, object]
    variants: Mapping[str, object]

    @classmethod
    def read(cls, path: Path) -> SpecFile:
        """Read a file. Raises ConfigError where it is not a mapping of fields."""
        source = yaml.read(path)
        if not isinstance(source.data, dict):
            raise ConfigError(f"{source.path}: a model spec is a mapping of fields")
        fields = dict(source.data)
        return cls(source, fields, fields.pop("variants", None) or {})

    def spec(self, name: str, variant: str = "", overrides: Sequence[str] = ()) -> ModelSpec:
        """Return the spec with a variant (empty: none) and then overrides laid over the file's own fields.

        name: of the model, for messages. Raises UnknownName for a variant that is not in the file, ConfigError for a
        fault in it.
        """
        if variant and variant not in self.variants:
            raise UnknownName(f"variant of {name}", variant, self.variants)
        fields = yaml.merge(self.fields, self.variants[variant]) if variant else self.fields
        return yaml.validate_overridden(fields, overrides, ModelSpec, self.source)


def load_spec_file(path: Path) -> ModelSpec:
    """Return the spec of a file without a variant. Raises ConfigError for a fault in the file."""
    return SpecFile.read(path).spec(path.stem)

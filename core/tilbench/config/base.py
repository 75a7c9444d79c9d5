"""The base of every schema."""

from __future__ import annotations

from typing import ClassVar

from pydantic import BaseModel, ConfigDict, ValidationError

from tilbench.config.source import Source

__all__ = ["RECORDED", "Schema", "first_fault"]


RECORDED = ConfigDict(extra="forbid", revalidate_instances="always", ser_json_inf_nan="strings")
"""How a dataclass that is part of a record is read and written: strict about names, numbers as their types say."""


class Schema(BaseModel):
    """Frozen, and strict about names: an unknown field is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, ser_json_inf_nan="strings")
    short_forms: ClassVar[tuple[str, ...]] = ()
    """Names that only a file has: `unfold` replaces them by fields."""

    @classmethod
    def unfold(cls, source: Source) -> Source:
        """Return a file's fields as the schema has them, where a file may write them in a shorter form."""
        return source


def first_fault(error: ValidationError) -> str:
    """Return the first thing that is wrong, in one line: "field.inner: what is wrong"."""
    fault = error.errors()[0]
    return ": ".join(filter(None, (".".join(map(str, fault["loc"])), fault["msg"])))

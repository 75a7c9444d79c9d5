"""JSON Schemas of what a file may write, from the pydantic models and with the short forms of suites and specs."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode, JsonSchemaValue
from pydantic_core import PydanticOmit, core_schema

__all__ = ["DIALECT", "JsonSchema", "chosen_by", "schemas_of", "with_short_tasks", "with_variants"]

JsonSchema = dict[str, Any]

DIALECT = "https://json-schema.org/draft/2020-12/schema"
_PLACEHOLDER = {"type": "string", "pattern": r"^\$(\{[a-z0-9_.]+\}|[a-z][a-z0-9_.]*)$"}
_OVER: JsonSchema = {
    "type": "object",
    "description": "Name → values. The entry stands for one task per value, or per combination of values of several. "
    "`$name` and `$name.field` in its texts stand for the value.",
    "minProperties": 1,
    "propertyNames": {"pattern": "^[a-z][a-z0-9_]*$"},
    "additionalProperties": {
        "type": "array",
        "minItems": 1,
        "items": {
            "type": ["string", "number", "boolean", "object"],
            "additionalProperties": {"type": ["string", "number", "boolean"]},
        },
    },
}


class _Written(GenerateJsonSchema):
    """Leaves out what no file can write: functions."""

    def callable_schema(self, schema: core_schema.CallableSchema) -> JsonSchemaValue:
        raise PydanticOmit


def schemas_of(models: Mapping[str, type]) -> tuple[dict[str, JsonSchema], dict[str, JsonSchema]]:
    """Return the schema of each model by its key (a reference into the definitions), and the definitions."""
    mode: JsonSchemaMode = "validation"
    adapters: list[tuple[str, JsonSchemaMode, TypeAdapter[Any]]] = [
        (key, mode, TypeAdapter(model)) for key, model in models.items()
    ]
    found, definitions = TypeAdapter.json_schemas(adapters, schema_generator=_Written)
    return {key: schema for (key, _), schema in found.items()}, definitions.get("$defs", {})


def chosen_by(field: str, contents: str, schemas: Mapping[str, JsonSchema]) -> list[JsonSchema]:
    """Return rules: where `field` is one of these names, `contents` has its schema.

    A name that is not here, such as one of another plugin, has no rule.
    """
    return [
        {
            "if": {"properties": {field: {"const": name}}, "required": [field]},
            "then": {"properties": {contents: schema}},
        }
        for name, schema in sorted(schemas.items())
    ]


def with_short_tasks(definitions: dict[str, JsonSchema], task: str, suite: str) -> None:
    """Let a suite have `defaults`, its tasks `over`, and a macro a pattern, in the definitions of these names."""
    own = definitions[task]
    own["required"] = ["name"]
    many, defaults = copy.deepcopy(own), copy.deepcopy(own)
    del defaults["required"], defaults["properties"]["name"]
    defaults["description"] = "Fields that every task has, unless it says otherwise."
    many.pop("allOf", None)
    many["description"] = "Many tasks: one per value of `over`."
    many["required"] = ["name", "over"]
    properties = many["properties"] = {name: _or_placeholder(field) for name, field in many["properties"].items()}
    properties |= {"over": _OVER, "settings": {"type": "object"}}
    definitions |= {"ManyTasks": many, "Defaults": defaults}
    fields = definitions[suite]["properties"]
    fields["defaults"] = {"$ref": "#/$defs/Defaults"}
    fields["tasks"]["items"] = {
        "type": "object",
        "if": {"required": ["over"]},
        "then": {"$ref": "#/$defs/ManyTasks"},
        "else": {"$ref": f"#/$defs/{task}"},
    }
    definitions[suite]["allOf"] = [
        {
            "if": {"not": {"required": ["defaults"], "properties": {"defaults": {"required": [name]}}}},
            "then": {"properties": {"tasks": {"items": {"required": [name]}}}},
        }
        for name in ("metric", "dataset")
    ]
    definitions["Macro"]["properties"]["tasks"]["minItems"] = 1  # a pattern stands for several


def _or_placeholder(field: JsonSchema) -> JsonSchema:
    """Let a field be a placeholder too, and a text have placeholders in it."""
    loose = {name: value for name, value in field.items() if name != "pattern"}
    if any(each.get("type") == "string" and "enum" not in each for each in (field, *field.get("anyOf", []))):
        return loose
    about: JsonSchema = {name: loose.pop(name) for name in ("description", "title", "default") if name in loose}
    return {**about, "anyOf": [loose, _PLACEHOLDER]}


def with_variants(definitions: dict[str, JsonSchema], spec: str) -> None:
    """Let a spec have `variants`: name → the fields that it changes, at any depth of mappings."""
    names = dict(_partials(definitions, spec, {}))
    definitions[spec]["properties"]["variants"] = {
        "type": "object",
        "description": "Name → the fields that the variant changes. Mappings are merged; lists are replaced whole.",
        "additionalProperties": {"$ref": f"#/$defs/{names[spec]}"},
    }


def _partials(definitions: dict[str, JsonSchema], name: str, made: dict[str, str]) -> Iterator[tuple[str, str]]:
    """Add the definition of a part of `name`, in which nothing is required, and those of the mappings in it."""
    if name in made:
        return
    made[name] = f"{name}Changes"
    yield name, made[name]
    partial = copy.deepcopy(definitions[name])
    partial.pop("required", None)
    partial.pop("allOf", None)
    definitions[made[name]] = partial
    for field in partial.get("properties", {}).values():
        for option in (field, *field.get("anyOf", [])):
            inner = option.get("$ref", "").rpartition("/")[2]
            if inner and definitions[inner].get("type") == "object":
                yield from _partials(definitions, inner, made)
                option["$ref"] = f"#/$defs/{made[inner]}"

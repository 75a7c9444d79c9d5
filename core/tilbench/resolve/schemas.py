"""JSON Schemas of suites, model specs and languages, with the registered names as examples."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping

from tilbench.config.json_schema import DIALECT, JsonSchema, chosen_by, schemas_of, with_short_tasks, with_variants
from tilbench.config.model import ModelSpec
from tilbench.config.suite import Suite
from tilbench.kinds.language import Language
from tilbench.registry import Registry
from tilbench.resolve.suites import suite_names

__all__ = ["SCHEMAS", "file_schema", "schema_text"]


def file_schema(kind: str, registry: Registry) -> JsonSchema:
    """Return the JSON Schema of a file of this kind (a key of SCHEMAS).

    Registered names are examples, which editors offer: a name of a plugin that is not installed here is valid too.
    """
    return {"$schema": DIALECT, **SCHEMAS[kind](registry)}


def schema_text(kind: str, registry: Registry) -> str:
    """Return the JSON Schema as the text of a file."""
    return json.dumps(file_schema(kind, registry), ensure_ascii=False, indent=1) + "\n"


def _suite(registry: Registry) -> JsonSchema:
    settings = {name: metric.Settings for name, metric in registry.metrics.all()}
    found, definitions = schemas_of({"suite": Suite, **{f"metric {name}": each for name, each in settings.items()}})
    for name in settings:  # one that is needed may stand in the suite's defaults
        definitions[found[f"metric {name}"]["$ref"].rpartition("/")[2]].pop("required", None)
    task = definitions["Task"]
    task["allOf"] = chosen_by("metric", "settings", {name: found[f"metric {name}"] for name in settings})
    with_short_tasks(definitions, "Task", "Suite")
    tasks = ("Task", "ManyTasks", "Defaults")
    _offer(definitions, "MetricName", settings, dict.fromkeys(tasks, "metric"))
    _offer(definitions, "LanguageTag", registry.languages.names(), dict.fromkeys((*tasks, "HarnessEntry"), "language"))
    used = {**dict.fromkeys(tasks, "dataset examples"), "Suite": "reference_text"}
    _offer(definitions, "DatasetName", registry.datasets.names(), used)
    models = [*registry.models.names(), *registry.loaders.names()]
    _offer(definitions, "ModelReference", models, {"Suite": "models baselines"})
    return {"title": "A tilbench suite", **found["suite"], "$defs": definitions}


def _model(registry: Registry) -> JsonSchema:
    configs = {name: each.Config for name, each in registry.architectures.all()}
    options = {name: each.Options for name, each in registry.tokenizers.all()}
    found, definitions = schemas_of(
        {
            "model": ModelSpec,
            **{f"architecture {name}": each for name, each in configs.items()},
            **{f"tokenizer {name}": each for name, each in options.items()},
        }
    )
    architecture, tokenizer = definitions["ArchitectureRef"], definitions["TokenizerRef"]
    architecture["allOf"] = chosen_by("name", "config", {name: found[f"architecture {name}"] for name in configs})
    tokenizer["allOf"] = chosen_by("family", "options", {name: found[f"tokenizer {name}"] for name in options})
    _offer(definitions, "ArchitectureName", configs, {"ArchitectureRef": "name"})
    _offer(definitions, "TokenizerFamily", options, {"TokenizerRef": "family"})
    _offer(definitions, "DatasetName", registry.datasets.names(), {"Data": "dataset heldout"})
    _offer(definitions, "TrainerName", registry.trainers.names(), {"Recipe": "trainer"})
    _offer(definitions, "LanguageTag", registry.languages.names(), {"ModelSpec": "languages"})
    _offer(definitions, "HardwareName", registry.hardware.names(), {"ModelSpec": "hardware"})
    _offer(definitions, "SuiteName", suite_names(registry), {"ModelSpec": "suites"})
    with_variants(definitions, "ModelSpec")
    return {"title": "A tilbench model spec", **found["model"], "$defs": definitions}


def _language(registry: Registry) -> JsonSchema:
    found, definitions = schemas_of({"language": Language})
    return {"title": "A tilbench language", **found["language"], "$defs": definitions}


SCHEMAS: Mapping[str, Callable[[Registry], JsonSchema]] = {"suite": _suite, "model": _model, "language": _language}
"""Kind of file → what makes its schema."""


def _offer(definitions: dict[str, JsonSchema], kind: str, names: Iterable[str], fields: Mapping[str, str]) -> None:
    """Define the texts of a kind with the registered names as examples, and say which fields are such a text.

    fields: definition → its fields, with spaces between them; of a list, the items are meant.
    """
    definitions[kind] = {"type": "string", "examples": sorted(names)}
    for definition, several in fields.items():
        for field in several.split():
            schema = definitions[definition]["properties"][field]
            for option in (schema, *schema.get("anyOf", []), schema.get("items", {})):
                if option.get("type") == "string":
                    del option["type"]
                    option["$ref"] = f"#/$defs/{kind}"

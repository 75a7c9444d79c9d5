"""What can be said of a model before it is run: its parameters, its cache, its training, and what its paper reports.

Figures are either the paper's, as they stand, or derived here from the spec and the hardware profile; each says
which.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pydantic

from tilbench.config.base import first_fault
from tilbench.config.model import ArchitectureRef, ModelSpec, Recipe, Reported
from tilbench.config.references import SpecReference, parse_spec
from tilbench.errors import ConfigError, TilbenchError
from tilbench.kinds.architecture import Architecture, Decoder, DecoderConfig
from tilbench.kinds.capabilities.architecture import StatesBudget
from tilbench.registry import Registry
from tilbench.resolve.checkpoint import Checkpoint
from tilbench.resolve.specs import load_spec, variants

__all__ = ["describe_checkpoint", "describe_spec"]

_BYTES = {"fp32": 4, "bf16": 2, "fp16": 2}
_SLOTS = 16
"""Tokens of the caches that are measured."""


def describe_spec(name: str, registry: Registry) -> dict[str, Any]:
    """Return a spec with all that follows from it. `name` is `spec` or `spec:variant`."""
    asked = parse_spec(name)
    spec = load_spec(asked, registry)
    known = variants(asked.name, registry)
    more = {"stated_parameters": spec.parameters, "variants": known}
    described = {
        **spec.model_dump(mode="json"),
        "name": asked.label,
        **_architecture(spec.architecture, registry),
        **more,
    }
    stages = {"": spec} if asked.variant else {"": spec, **_stages(spec, asked.name, known, registry)}
    return {**described, **_training(spec, stages, described["parameters"], registry)}


def describe_checkpoint(reference: str, registry: Registry) -> dict[str, Any]:
    """Return a checkpoint (the last one of a run, or `@STEP`) with the spec that it was trained from, where it has one.

    Raises CheckpointError where there is none.
    """
    checkpoint = Checkpoint.find(reference, registry)
    info, spec = checkpoint.info, checkpoint.run_spec
    described = {} if spec is None else {**spec.model_dump(mode="json"), "stated_parameters": spec.parameters}
    described |= {
        "name": info.model,
        "architecture": info.architecture.model_dump(mode="json"),
        **_architecture(info.architecture, registry),
        "checkpoint": {
            "folder": str(checkpoint.folder),
            "step": info.step,
            "trained_tokens": info.tokens,
            "tokenizer": info.tokenizer,
            "prefix": info.prefix,
            "lineage": list(info.lineage),
        },
    }
    return described | (_training(spec, {"": spec}, described["parameters"], registry) if spec else {})


def _architecture(chosen: ArchitectureRef, registry: Registry) -> dict[str, Any]:
    """Return the parameter count, where the parameters are, and what the cache takes a token."""
    architecture = registry.architectures.get(chosen.name)
    try:
        config: DecoderConfig = architecture.Config(**chosen.config)
    except pydantic.ValidationError as error:
        raise ConfigError(f"architecture {chosen.name}: {first_fault(error)}") from None
    total = architecture.parameters(config)
    described: dict[str, Any] = {"parameters": total}
    if isinstance(architecture, StatesBudget):
        described["budget"] = {
            name: {"parameters": part.parameters, "share": part.parameters / total, "per_layer": part.per_layer}
            for name, part in architecture.budget(config).items()
        }
    return {**described, "max_length": config.max_length, "cache_bytes_per_token": _cache(architecture, config)}


def _cache(architecture: Architecture, config: DecoderConfig) -> dict[str, int] | None:
    """Return the bytes that the cache keeps of each token, by precision, as a decoder on `meta` allocates it.

    None for one that remembers otherwise. What does not grow with the text, such as the state of a Mamba, is not in it.
    """
    import torch

    sizes = []
    try:
        with torch.device("meta"), torch.no_grad():
            module = architecture.build(config).eval()
            if not isinstance(module, Decoder):
                return None
            for slots in (_SLOTS, 2 * _SLOTS):
                cache = module.new_cache(1, slots)
                module.hidden(torch.zeros(1, slots, dtype=torch.int64), cache=cache)
                sizes.append(cache.bytes)
    except (TilbenchError, RuntimeError, NotImplementedError):  # a class that cannot be run without values
        return None
    numbers = (sizes[1] - sizes[0]) // _SLOTS // _BYTES["fp32"]
    return {precision: numbers * size for precision, size in _BYTES.items()}


def _stages(spec: ModelSpec, name: str, known: list[str], registry: Registry) -> dict[str, ModelSpec]:
    """Return the variants that train the same model further: of its size, on its hardware."""
    architecture = registry.architectures.get(spec.architecture.name)

    def size(each: ModelSpec) -> int:
        count: int = architecture.parameters(architecture.Config(**each.architecture.config))
        return count

    found = {variant: load_spec(SpecReference(name, variant), registry) for variant in known}
    same = {
        variant: each
        for variant, each in found.items()
        if each.recipe and each.architecture.name == spec.architecture.name and each.hardware == spec.hardware
    }
    return {variant: each for variant, each in same.items() if size(each) == size(spec)}


def _training(
    spec: ModelSpec, stages: Mapping[str, ModelSpec], parameters: int, registry: Registry
) -> dict[str, object]:
    timeline = [_stage(variant, each, each.recipe, parameters) for variant, each in stages.items() if each.recipe]
    tokens = timeline[0]["tokens_per_parameter"] if timeline else None
    costs = {"cost": list(_costs(spec, registry)), "speed": list(_speeds(spec))}
    return {"tokens_per_parameter": tokens, "timeline": timeline, **costs}


def _stage(variant: str, spec: ModelSpec, recipe: Recipe, parameters: int) -> dict[str, object]:
    tokens = recipe.steps * recipe.tokens_per_step
    return {
        "stage": variant,
        "title": spec.title,
        "trainer": recipe.trainer,
        "base": spec.base,
        "steps": recipe.steps,
        "sequence_length": recipe.sequence_length,
        "tokens_per_step": recipe.tokens_per_step,
        "tokens": tokens,
        "tokens_per_parameter": tokens / parameters,
        "phases": list(_phases(recipe)),
    }


def _phases(recipe: Recipe) -> Iterator[dict[str, object]]:
    """Yield the parts of a schedule with the learning rates at their two ends (`tilbench.config.model.Schedule`)."""
    schedule, peak = recipe.schedule, recipe.optimizer.learning_rate
    warm, top = min(schedule.warmup, recipe.steps), min(schedule.decay_start(recipe.steps), recipe.steps)
    parts = (
        ("warm-up", 0, warm, 0.0, peak),
        ("stable", warm, top, peak, peak),
        ("decay", top, recipe.steps, peak, peak * schedule.final),
    )
    for name, before, last, first_rate, last_rate in parts:
        if last > before:
            yield {
                "phase": name,
                "first_step": before + 1,
                "last_step": last,
                "steps": last - before,
                "tokens": (last - before) * recipe.tokens_per_step,
                "from": first_rate,
                "to": last_rate,
                "shape": _shape(name, recipe),
            }


def _shape(phase: str, recipe: Recipe) -> str:
    if phase != "decay":
        return "linear" if phase == "warm-up" else "constant"
    return recipe.schedule.tail if recipe.schedule.name == "wsd" else recipe.schedule.name


def _costs(spec: ModelSpec, registry: Registry) -> Iterator[dict[str, object]]:
    """Yield what each part of the training took: reported hours and money, and hours × the hardware profile's price.

    A paper that prints money prints it for what ran on the machine that was paid; hours of other machines have none.
    """
    price = registry.hardware.get(spec.hardware).price_per_hour if spec.hardware else None
    hours = {_part(each): each.value for each in spec.reported if each.metric == "wall_time" and each.unit == "hours"}
    paid = {_part(each): each.value for each in spec.reported if each.metric == "cost"}
    for on in dict.fromkeys([*hours, *paid]):
        priced = price is not None and on in hours and (not paid or on in paid)
        derived = hours[on] * price if priced and price is not None else None
        yield {
            "on": on,
            "reported_hours": hours.get(on),
            "reported_cost": paid.get(on),
            "derived_cost": derived,
            "price_per_hour": price,
            "hardware": spec.hardware,
        }


def _part(figure: Reported) -> str:
    """Return what a figure is of: the stage that it names, or what the paper measured it on."""
    return figure.model or figure.on


def _speeds(spec: ModelSpec) -> Iterator[dict[str, object]]:
    """Yield the tokens a second that the paper prints."""
    for each in spec.reported:
        if each.metric == "tokens_per_second":
            yield {"on": _part(each), "tokens_per_second": each.value, "note": each.note}

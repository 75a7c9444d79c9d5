"""What must hold before a run begins: said in one line now rather than in a traceback hours later."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from tilbench.config.model import Recipe
from tilbench.errors import ConfigError, Unsupported
from tilbench.kinds.hardware import HardwareProfile
from tilbench.kinds.tokenizer import ids_beyond
from tilbench.kinds.trainer import TrainingJob
from tilbench_trainers.data.batch import rank_rows
from tilbench_trainers.loop.forward import check_compiler
from tilbench_trainers.parallel import check_sharding, sharded

__all__ = ["check_module", "checked_recipe", "chosen_device", "remarks", "slower_precision"]


def checked_recipe(job: TrainingJob) -> Recipe:
    """Return the recipe. Raises where this trainer cannot run it, whatever the module. Builds no module."""
    recipe = job.spec.recipe
    if recipe is None:
        raise ConfigError(f"model {job.spec.name!r} has no recipe; give it one, or choose a variant that has")
    rank_rows(recipe.batch_size * recipe.accumulation * recipe.devices, job.ranks.rank, job.ranks.world)
    check_compiler(recipe, job.hardware)
    if recipe.keep_best and not any(source.validation for source in job.sources):
        raise ConfigError("recipe.keep_best needs held-out text, and no source has any; name some with data.heldout")
    if recipe.keep_best and recipe.validate_every == 0:
        raise ConfigError(
            "recipe.keep_best compares validations, and with validate_every 0 only the last step has one; set "
            "recipe.validate_every"
        )
    names = [source.name for source in job.sources]
    if doubled := {name for name in names if names.count(name) > 1}:
        raise ConfigError(f"two sources are called {min(doubled)!r}; give them different names")
    return recipe


def check_module(job: TrainingJob, recipe: Recipe) -> None:
    """Raise where this trainer cannot run the recipe with this module and tokenizer."""
    if sharded(recipe, job.ranks):
        check_sharding(recipe, job.module)
    longest, vocabulary = int(job.module.max_length), int(job.module.vocab_size)  # type: ignore[arg-type]
    if recipe.sequence_length > longest:
        raise ConfigError(
            f"recipe.sequence_length {recipe.sequence_length} is more than the model's {longest} positions"
        )
    if reason := ids_beyond(job.tokenizer, vocabulary):
        raise ConfigError(f"{reason}; set vocab_size")
    if recipe.adapter is not None and all(parameter.requires_grad for parameter in job.module.parameters()):
        raise ConfigError("the recipe has an adapter, and trainer 'pretrain' adds none; use a trainer that does")


def remarks(job: TrainingJob, recipe: Recipe) -> Iterator[str]:
    """Yield lines on what is run all the same, and is probably not what was meant."""
    if why := slower_precision(recipe, job.hardware):
        yield why
    if recipe.validate_every and not any(source.validation for source in job.sources):
        yield (
            f"note: recipe.validate_every is {recipe.validate_every}, and no source has held-out text, so nothing is "
            "validated; name some with data.heldout or data.validation_ratio"
        )


def slower_precision(recipe: Recipe, hardware: HardwareProfile) -> str:
    """Say in one line that fp32 would be faster here than what the recipe computes in; empty where it would not.

    A processor without bf16 instructions computes in it tens of times as slowly.
    """
    rate, plain = hardware.peak_tflops.get(recipe.precision), hardware.peak_tflops.get("fp32")
    if not rate or not plain or rate >= plain:
        return ""
    return (
        f"note: {recipe.precision} is {plain / rate:.1f} times as slow as fp32 on {hardware.name}; fp32 comes with "
        "--set recipe.precision=fp32"
    )


def chosen_device(job: TrainingJob) -> torch.device:
    """Return the profile's device. Raises Unsupported where this machine has none, and for fp16 off CUDA."""
    found = torch.accelerator.current_accelerator(check_available=True)
    if job.hardware.device == "cpu":
        device = torch.device("cpu")
    elif found is not None and found.type == job.hardware.device:
        device = torch.device(found.type, job.ranks.local) if job.ranks.world > 1 else found
    else:
        raise Unsupported(
            f"hardware profile {job.hardware.name!r} has a {job.hardware.device} device and this machine has none; "
            "train a smaller variant, or pass --hardware cpu"
        )
    if job.spec.recipe and job.spec.recipe.precision == "fp16" and device.type != "cuda":
        raise Unsupported(f"precision fp16 trains on CUDA only, and this is {device.type}; use bf16 or fp32")
    return device

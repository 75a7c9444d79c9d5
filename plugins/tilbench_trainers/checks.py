"""What must hold before a run begins: said in one line now rather than in a traceback hours later."""

from __future__ import annotations

import os

import torch

from tilbench.config.model import Recipe
from tilbench.errors import ConfigError, Unsupported
from tilbench.kinds.trainer import TrainingJob
from tilbench_trainers.forward import check_compiler

__all__ = ["checked_recipe", "chosen_device"]


def checked_recipe(job: TrainingJob) -> Recipe:
    """Return the recipe. Raises where this trainer cannot run it with this module and tokenizer."""
    recipe = job.spec.recipe
    if recipe is None:
        raise ConfigError(f"model {job.spec.name!r} has no recipe; give it one, or choose a variant that has")
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise Unsupported("trainer 'pretrain' runs in one process; start it without torchrun")
    longest, vocabulary = int(job.module.max_length), int(job.module.vocab_size)  # type: ignore[arg-type]
    if recipe.sequence_length > longest:
        raise ConfigError(
            f"recipe.sequence_length {recipe.sequence_length} is more than the model's {longest} positions"
        )
    if job.tokenizer.size > vocabulary:
        raise ConfigError(
            f"the tokenizer has {job.tokenizer.size:,} ids and the embedding {vocabulary:,} rows; set vocab_size"
        )
    if recipe.adapter is not None and all(parameter.requires_grad for parameter in job.module.parameters()):
        raise ConfigError("the recipe has an adapter, and trainer 'pretrain' adds none; use a trainer that does")
    check_compiler(recipe, job.hardware)
    if recipe.keep_best and not any(source.validation for source in job.sources):
        raise ConfigError("recipe.keep_best needs held-out text, and no source has any; name some with data.heldout")
    names = [source.name for source in job.sources]
    if doubled := {name for name in names if names.count(name) > 1}:
        raise ConfigError(f"two sources are called {min(doubled)!r}; give them different names")
    return recipe


def chosen_device(job: TrainingJob) -> torch.device:
    """Return the profile's device. Raises Unsupported where this machine has none, and for fp16 off CUDA."""
    found = torch.accelerator.current_accelerator(check_available=True)
    if job.hardware.device == "cpu":
        device = torch.device("cpu")
    elif found is not None and found.type == job.hardware.device:
        device = found
    else:
        raise Unsupported(
            f"hardware profile {job.hardware.name!r} has a {job.hardware.device} device and this machine has none; "
            "train a smaller variant, or pass --hardware cpu"
        )
    if job.spec.recipe and job.spec.recipe.precision == "fp16" and device.type != "cuda":
        raise Unsupported(f"precision fp16 trains on CUDA only, and this is {device.type}; use bf16 or fp32")
    return device

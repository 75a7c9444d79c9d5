"""Training: build what was resolved, and fit it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

from tilbench.checkpoints.folder import is_run
from tilbench.errors import DataError, Unsupported
from tilbench.kinds.architecture import Architecture
from tilbench.kinds.capabilities.trainer import Previews
from tilbench.kinds.trainer import Start, TrainingJob
from tilbench.ranks import Ranks, joined
from tilbench.registry import Registry
from tilbench.training.initial import base_origin, initial_module, model_size, with_adapter
from tilbench.training.resolve import Training, resolve_training
from tilbench.training.tokenizer import run_tokenizer

if TYPE_CHECKING:
    from torch import nn

__all__ = ["preview", "train", "train_if_needed"]


def train(training: Training, registry: Registry, out: Path, *, progress: bool = True) -> Path:
    """Build the model, fit it, and return the folder of the last checkpoint.

    The processes that torchrun started train together. Raises Stopped where a signal ended it.
    """
    if out.exists() and not out.is_dir():
        raise DataError(f"{out} is a file; a run goes into a folder, so name another with --out")
    architecture = registry.architectures.get(training.spec.architecture.name)
    with joined(training.hardware.device) as ranks:
        start = base_origin(training.spec, architecture, registry)
        _refuse_too_large(training, start, architecture, ranks)
        with ranks.in_turn():
            tokenizer = run_tokenizer(training, registry, out)
        job = TrainingJob(
            spec=training.spec,
            architecture=architecture,
            build=cache(partial(_built, training, start, registry)),
            tokenizer=tokenizer,
            sources=training.sources,
            hardware=training.hardware,
            out=out,
            reference=training.reference,
            progress=progress,
            evaluation=training.evaluation,
            start=training.start or start,
            ranks=ranks,
        )
        folder: Path = registry.trainers.get(training.recipe.trainer).fit(job)
    return folder


def _built(training: Training, start: Start | None, registry: Registry) -> nn.Module:
    """Return the module that training begins with: fresh weights by the recipe's seed, or those of `start`."""
    import torch

    architecture = registry.architectures.get(training.spec.architecture.name)
    torch.manual_seed(training.recipe.seed)
    module = initial_module(training.spec, architecture, training.config, start, registry)
    return with_adapter(training.spec, architecture, module)


def preview(training: Training, registry: Registry, out: Path) -> Iterator[str]:
    """Yield lines that show what the trainer would learn from its data; nothing is written.

    out: the run's folder; where it has a tokenizer, that is used. Raises Unsupported for a trainer without a preview.
    """
    trainer = registry.trainers.get(training.recipe.trainer)
    if not isinstance(trainer, Previews):
        raise Unsupported(f"trainer {training.recipe.trainer!r} has no preview; --dry-run shows what it would train")
    architecture = registry.architectures.get(training.spec.architecture.name)
    with tempfile.TemporaryDirectory() as aside:
        tokenizer = run_tokenizer(training, registry, out if is_run(out) else Path(aside))
        origin = base_origin(training.spec, architecture, registry)
        yield from trainer.preview(training.spec, tokenizer, training.sources, origin)


def train_if_needed(reference: str, out: Path, registry: Registry, data_dir: Path | None) -> Path:
    """Train `reference` in `out` with its own recipe, go on with it, or find that it is done."""
    return train(resolve_training(reference, registry, data_dir), registry, out)


def _refuse_too_large(training: Training, start: Start | None, architecture: Architecture, ranks: Ranks) -> None:
    """Raise Unsupported where weights, gradients and AdamW's two moments in fp32 exceed the memory of one device."""
    if training.recipe.adapter is not None:  # most weights are frozen and have neither
        return
    parameters = model_size(start, architecture, training.config)
    devices = ranks.world if training.recipe.parallel == "fsdp" else 1
    needed, there = 16 * parameters / devices / 2**30, training.hardware.memory_gib
    if needed > there:
        raise Unsupported(
            f"{training.reference} takes {needed:.0f} GiB for weights, gradients and optimizer alone, and "
            f"{training.hardware.name} has {there:.0f}; choose a smaller variant, other --hardware, or more processes "
            "of torchrun with recipe.parallel=fsdp"
        )

"""A decay branch: the tail of a learning rate's schedule, from a checkpoint of a run that is still stable.

Weights, optimizer state and the place in the data go on where they were; only the schedule is another one. Several
branches of one run are several answers to what it would be if it ended there (Hu et al., MiniCPM, 2024).
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Literal

from tilbench.checkpoints.folder import checkpoints, find_checkpoint
from tilbench.config.model import Recipe, Schedule
from tilbench.config.references import split_folder
from tilbench.errors import CheckpointError, ConfigError
from tilbench.paths import atomic_folder
from tilbench.registry import Registry
from tilbench.resolve.checkpoint import Checkpoint
from tilbench.resolve.specs import run_spec
from tilbench.training.resolve import Training, resolve_spec

__all__ = ["Tail", "resolve_branch", "share_tokens"]

Tail = Literal["linear", "cosine", "sqrt"]


def resolve_branch(
    reference: str,
    registry: Registry,
    data_dir: Path | None,
    *,
    decay: int,
    to: float,
    tail: Tail = "linear",
    hardware: str = "",
) -> Training:
    """Resolve the training that continues `reference` (RUN@STEP) for `decay` updates, down to learning rate `to`.

    Raises CheckpointError for a run or checkpoint that cannot be gone on from, ConfigError where the step is not in
    the stable part of the run's schedule or `to` is above the learning rate there.
    """
    run, step = split_folder(reference)
    folder = find_checkpoint(run, step)
    spec = run_spec(run)
    if spec.recipe is None:
        raise CheckpointError(f"{run} has no recipe to go on with")
    checkpoint = Checkpoint.open(folder, registry)
    info = checkpoint.info
    resumable = [int(path.name.removeprefix("step-")) for path in checkpoints(run) if (path / "training").is_dir()]
    if info.step not in resumable:
        raise CheckpointError(
            f"{folder} has no optimizer state any more; branch from step {', '.join(map(str, resumable)) or 'none'}, "
            "or train with recipe.keep_every, which keeps it"
        )
    start = checkpoint.start(f"{run}@{info.step}", resume=True)
    recipe = _decayed(spec.recipe, info.step, decay, to, tail)
    branch = spec.model_copy(update={"recipe": recipe})
    return resolve_spec(branch, info.model, registry, data_dir, hardware, start)


def share_tokens(run: Path, out: Path) -> None:
    """Give `out` the token files of `run`, without a copy where the file system can; a trainer checks what they are."""
    theirs, ours = run / "data", out / "data"
    if theirs.is_dir() and not ours.exists():
        with atomic_folder(ours) as aside:
            shutil.copytree(theirs, aside, copy_function=_linked, dirs_exist_ok=True)


def _linked(source: str, target: str) -> str:
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without links
        shutil.copyfile(source, target)
    return target


def _decayed(recipe: Recipe, step: int, decay: int, to: float, tail: Tail) -> Recipe:
    """Return the recipe whose schedule is stable up to `step` and then falls for `decay` updates."""
    schedule, peak = recipe.schedule, recipe.optimizer.learning_rate
    falls = recipe.steps - round(schedule.decay * recipe.steps)
    last = {"constant": recipe.steps, "wsd": falls}.get(schedule.name, schedule.warmup)
    if not schedule.warmup <= step <= last:
        raise ConfigError(
            f"step {step} is not in the stable part of the run's schedule ({schedule.name}: "
            f"{schedule.warmup} … {last}); branch from a step in it"
        )
    if not 0 <= to <= peak:
        raise ConfigError(f"a decay ends between 0 and the stable learning rate {peak:g}, and --to is {to:g}")
    steps = step + decay
    wsd = Schedule(name="wsd", warmup=schedule.warmup, decay=decay / steps, tail=tail, final=to / peak)
    return Recipe.model_validate(recipe.model_dump() | {"steps": steps, "schedule": wsd})

"""Checkpoints of a run: written whole or not at all, read back to the bit, pruned by the recipe."""

from __future__ import annotations

import os
import pickle
import shutil
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tilbench.checkpoints.folder import (
    CheckpointInfo,
    checkpoints,
    read_info,
    step_folder,
    write_info,
)
from tilbench.checkpoints.referenced import outside, weights_digest
from tilbench.config.model import Recipe
from tilbench.errors import CheckpointError
from tilbench.kinds.trainer import TrainingJob
from tilbench.paths import atomic_folder
from tilbench.ranks import Ranks
from tilbench.scoring.encode.prefix import Prefix
from tilbench.training.log import LOG, read_lines
from tilbench_trainers.checkpoint.best import validated
from tilbench_trainers.checkpoint.record import resolved_architecture
from tilbench_trainers.checkpoint.shards import read_shards, write_shards
from tilbench_trainers.optim.average import Average
from tilbench_trainers.optim.optimizer import trainable
from tilbench_trainers.parallel import Whole, as_shard, local_part, sharded

__all__ = ["State", "clean", "last_checkpoint", "restore", "save", "write_model"]

_TRAINING = "training"
_FILE = "state.pt"
_SHARDS = "shards"
"""Folder beside it, where the run was in shards: the optimizer's state, and the weights that an average stands for."""
_RESUMABLE = 2
"""Newest checkpoints that keep what is needed for going on."""


@dataclass(frozen=True, slots=True)
class State:
    """Everything that changes in training, and the run's digest, prefix rule and lineage, which do not."""

    module: nn.Module
    whole: Whole
    optimizer: torch.optim.Optimizer
    average: Average
    scaler: torch.amp.GradScaler
    device: torch.device
    ranks: Ranks
    digest: str
    prefix: Prefix
    lineage: tuple[str, ...] = ()


def last_checkpoint(out: Path) -> Path | None:
    """Return the newest checkpoint that can be gone on from; None in a folder without checkpoints.

    Raises CheckpointError where there are checkpoints but none has its training state.
    """
    found = checkpoints(out)
    for folder in reversed(found):
        if (folder / _TRAINING / _FILE).is_file():
            return folder
    if found:
        raise CheckpointError(
            f"{out} has {len(found)} checkpoints and none with {_TRAINING}/{_FILE}; train into another folder"
        )
    return None


def save(job: TrainingJob, recipe: Recipe, state: State, step: int) -> Path:
    """Write the checkpoint of `step`, then remove those that the recipe does not keep; return its folder.

    Each process calls it. The first one writes, and in shards each its own.
    """
    folder, first = step_folder(job.out, step), state.ranks.first
    in_shards = sharded(recipe, state.ranks)
    with (
        state.average.in_place(),
        state.whole.gathered(),
        atomic_folder(folder) if first else nullcontext() as mine,
    ):
        aside = state.ranks.told(mine)
        assert aside is not None
        if first:
            write_model(job, recipe, state, step, aside)
            (aside / _TRAINING).mkdir()
            with (aside / _TRAINING / _FILE).open("wb") as file:  # whose errors say more than torch's own
                torch.save(_training_state(state, step, in_shards), file)
        state.ranks.wait()
        if in_shards:
            write_shards(aside / _TRAINING / _SHARDS, state.optimizer, trainable(state.module), state.average.weights())
            state.ranks.wait()
        if first:
            _sync(aside)
    if first:
        _prune(job.out, recipe)
    state.ranks.wait()
    return folder


def write_model(job: TrainingJob, recipe: Recipe, state: State, step: int, folder: Path) -> None:
    """Write what opens a checkpoint into `folder`: the weights that the module has, the tokenizer, what they are.

    The first process calls it, while the module's weights are gathered.
    """
    module = state.whole.module
    job.architecture.save(module, folder)
    job.tokenizer.save(folder)
    info = CheckpointInfo(
        model=job.reference or job.spec.name,
        architecture=resolved_architecture(job),
        tokenizer=job.tokenizer.family,
        prefix=state.prefix.id,
        prefix_contexts=state.prefix.contexts or state.prefix.id is None,
        # Of a weight in 4 bits, two lie in one byte; its quant_state has the shape that it stands for.
        parameters=sum(getattr(each, "quant_state", each).shape.numel() for each in module.parameters()),
        step=step,
        tokens=step * recipe.tokens_per_step,
        run=state.digest,
        lineage=state.lineage,
        chat=recipe.chat.template if recipe.chat else "",
        base_weights=_base_weights(folder),
    )
    write_info(folder, info)


def _base_weights(folder: Path) -> str:
    """Return the digest of the weights under the adapter that was written, where they are not in the folder."""
    base = dict(outside(folder)).get("base")
    return "" if base is None else weights_digest(base)


def _training_state(state: State, step: int, in_shards: bool) -> dict[str, object]:
    whole = {} if in_shards else {"weights": state.average.weights(), "optimizer": state.optimizer.state_dict()}
    return {"step": step, "names": list(trainable(state.module)), "scaler": state.scaler.state_dict(), **whole}


def restore(job: TrainingJob, state: State, folder: Path) -> int:
    """Put module and optimizer back to what they were in `folder`, which any number of processes has written.

    Each process calls it. Return the step. Raises CheckpointError where the parts do not fit.
    """
    path = folder / _TRAINING / _FILE
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise CheckpointError(
            f"{path} cannot be read ({reason}); remove {folder} to go on from the one before"
        ) from None
    names, ours = saved["names"], trainable(state.module)
    if names != list(ours):
        odd = sorted(set(names) ^ set(ours))[:3] or ["their order"]
        raise CheckpointError(f"{path} is of other trainable parameters than the model's: {', '.join(odd)} differ")
    config = job.architecture.Config.model_validate(read_info(folder).architecture.config)
    _fill(state.module, job.architecture.load(config, folder))
    if "optimizer" in saved:
        weights = [
            as_shard(weight, like) for weight, like in zip(saved["weights"], ours.values(), strict=bool(state.average))
        ]
        state.optimizer.load_state_dict(_as_held(saved["optimizer"], state.optimizer))
    else:
        weights = read_shards(path.parent / _SHARDS, state.optimizer, ours)
    if state.average:
        state.average.restore([local_part(weight) for weight in weights])
    state.scaler.load_state_dict(saved["scaler"])
    return int(saved["step"])


def _as_held(saved: dict[str, Any], optimizer: torch.optim.Optimizer) -> dict[str, object]:
    """Return the saved state of an optimizer as its parameters are held: whole, or this process's parts."""
    if "state" not in saved:  # of several optimizers, of which none is used with shards
        return saved
    parameters = [each for group in optimizer.param_groups for each in group["params"]]
    state = {
        number: {
            name: as_shard(value, parameters[number]) if value.shape == parameters[number].shape else value
            for name, value in kept.items()
        }
        for number, kept in saved["state"].items()
    }
    return saved | {"state": state}


@torch.no_grad()
def _fill(module: nn.Module, stored: nn.Module) -> None:
    """Give `module` the weights of `stored`; where some are frozen, only those that are trained.

    The frozen ones are those it was built with, and ones in 4 bits cannot be copied by name.
    """
    weights: dict[str, Tensor] = stored.state_dict()
    ours = module.state_dict()
    if not all(parameter.requires_grad for parameter in module.parameters()):
        ours = {name: ours[name] for name in trainable(module)}
    for name, tensor in ours.items():
        tensor.copy_(as_shard(weights[name], tensor))


def clean(out: Path) -> None:
    """Remove what a killed process had begun to write: hidden folders and files beside the real ones."""
    for pattern in (".step-*", ".log.jsonl.*", ".run.json.*", "data/.*"):
        for path in out.glob(pattern):
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)


def _prune(out: Path, recipe: Recipe) -> None:
    """Keep the first, the last, the newest `keep` of those between that were due, multiples of `keep_every`, the best.

    A checkpoint between that was not due was written because somebody stopped the run there. The newest, and those
    that are kept for good, can be gone on from.
    """
    found = checkpoints(out)
    steps = {path: int(path.name.removeprefix("step-")) for path in found}
    every, whole = recipe.checkpoint_every, recipe.keep_every
    due = [path for path in found[1:-1] if every and steps[path] % every == 0]
    for_good = {path for path in found if whole and steps[path] % whole == 0}
    kept = {found[0], found[-1], *due[-recipe.keep :], *for_good, *_best(out, recipe, found)}
    for path in set(found) - kept:
        hidden = path.replace(out / f".{path.name}.old")  # so that half a folder never passes for a checkpoint
        shutil.rmtree(hidden, ignore_errors=True)
    for path in checkpoints(out)[:-_RESUMABLE]:
        if path not in for_good:
            shutil.rmtree(path / _TRAINING, ignore_errors=True)


def _best(out: Path, recipe: Recipe, found: Sequence[Path]) -> list[Path]:
    """Return the checkpoint with the lowest validation, the earliest of equals, if the recipe asks and one has any."""
    if not recipe.keep_best or not (out / LOG).is_file():
        return []
    means = {
        step_folder(out, line["step"]): mean
        for line in read_lines(out / LOG)
        if (mean := validated(line, recipe.keep_best)) is not None
    }
    return sorted((path for path in found if path in means), key=lambda path: means[path])[:1]


def _sync(folder: Path) -> None:
    """Wait until the disk has every file of `folder`, so that its rename cannot come before its content."""
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb+") as file:
                os.fsync(file.fileno())

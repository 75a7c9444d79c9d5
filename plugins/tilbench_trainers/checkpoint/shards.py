"""What a training in shards needs for going on, each process's part in safetensors files of its own.

Written and read by `torch.distributed.checkpoint`, in its safetensors form: nothing is unpickled, and any other number
of processes, one included, reads what these have written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tilbench.errors import CheckpointError
from tilbench_trainers.parallel import is_shard

__all__ = ["read_shards", "write_shards"]

_OWN = "weight"
"""What the weights that an average stands for are called; the rest goes by the optimizer's names."""


def write_shards(
    folder: Path, optimizer: torch.optim.Optimizer, parameters: Mapping[str, nn.Parameter], weights: Sequence[Tensor]
) -> None:
    """Write the optimizer's state, and the weights that an average stands for, if any. Each process calls it.

    parameters: those trained, by name. weights: this process's parts, in their order.
    """
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageWriter
    from torch.distributed.checkpoint.state_dict_saver import save

    names: dict[Tensor, str] = {parameter: name for name, parameter in parameters.items()}
    state = {
        f"{names[parameter]}/{what}": value
        for parameter, kept in optimizer.state.items()
        for what, value in kept.items()
    }
    for (name, parameter), weight in zip(parameters.items(), weights, strict=bool(weights)):
        state[f"{name}/{_OWN}"] = _like(weight, parameter)
    writer = HuggingFaceStorageWriter(str(folder), save_distributed=True)
    save(state, storage_writer=writer)


def read_shards(folder: Path, optimizer: torch.optim.Optimizer, parameters: Mapping[str, nn.Parameter]) -> list[Tensor]:
    """Give the optimizer its state, as the parameters are held now: whole, or this process's parts.

    Return the weights that an average stands for, in the order of the parameters. Each process calls it.
    Raises CheckpointError where a file is missing or damaged.
    """
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader
    from torch.distributed.checkpoint.state_dict_loader import load

    reader = HuggingFaceStorageReader(str(folder))
    try:
        stored: dict[str, Any] = reader.read_metadata().state_dict_metadata
        state: dict[str, Any] = {
            key: _room(parameters[key.rpartition("/")[0]], described.size) for key, described in stored.items()
        }
        load(state, storage_reader=reader)
    except Exception as error:  # of a damaged or missing file: OSError, SafetensorError, KeyError, CheckpointException
        reason = " ".join(str(error).split())[:300]
        raise CheckpointError(
            f"{folder} cannot be read ({reason}); remove the checkpoint to go on from another"
        ) from None
    for key, value in state.items():
        name, _, what = key.rpartition("/")
        if what != _OWN:
            optimizer.state[parameters[name]][what] = value
    return [state[f"{name}/{_OWN}"] for name in parameters if f"{name}/{_OWN}" in state]


def _room(parameter: nn.Parameter, size: torch.Size) -> Tensor:
    """Return an empty tensor of the stored size, held as the parameter is where it has its shape."""
    if size == parameter.shape:
        return torch.zeros_like(parameter, requires_grad=False)
    return torch.zeros(size, dtype=torch.float32, device=parameter.device)


def _like(part: Tensor, parameter: nn.Parameter) -> Tensor:
    """Return this process's part of a tensor as the whole parameter is held."""
    if not is_shard(parameter):
        return part
    from torch.distributed.tensor import DTensor

    shape, stride = parameter.shape, parameter.stride()
    return DTensor.from_local(
        part, parameter.device_mesh, parameter.placements, run_check=False, shape=shape, stride=stride
    )

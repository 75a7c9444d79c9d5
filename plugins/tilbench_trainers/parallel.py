"""Several processes at one step: each computes the loss of its rows, and the gradients of all are summed.

ddp keeps everything in every process (Li et al., PyTorch Distributed, 2020). fsdp keeps weights, gradients and the
optimizer's state in shards, and gathers a block's weights while it is computed (Zhao et al., PyTorch FSDP, 2023, in the
form of `torch.distributed.fsdp.fully_shard`). What shards need is imported where there are any: it takes two seconds.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, TypeGuard

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from tilbench.config.model import Recipe
from tilbench.errors import Unsupported
from tilbench.ranks import Ranks

if TYPE_CHECKING:
    from torch.distributed.tensor import DTensor

__all__ = ["Whole", "as_shard", "blocks", "check_sharding", "in_step", "is_shard", "local_part", "shared", "sharded"]


def sharded(recipe: Recipe, ranks: Ranks) -> bool:
    """Say whether each process holds a part of the weights only."""
    return recipe.parallel == "fsdp" and ranks.world > 1


def check_sharding(recipe: Recipe, module: nn.Module) -> None:
    """Raise Unsupported, with the way out, for what cannot be trained in shards."""
    faults = {
        "optimizer muon, which orthogonalises whole matrices": recipe.optimizer.name == "muon",
        "precision fp16, whose loss scaler wants whole gradients": recipe.precision == "fp16",
        "weights that are partly frozen": not all(each.requires_grad for each in module.parameters()),
    }
    if found := [what for what, there in faults.items() if there]:
        raise Unsupported(f"parallel fsdp takes no {found[0]}; set recipe.parallel=ddp")


def blocks(module: nn.Module, purpose: str) -> nn.ModuleList:
    """Return a decoder's blocks: the longest list of parts in the module. Raises Unsupported where there is none."""
    lists = [part for part in module.modules() if isinstance(part, nn.ModuleList) and len(part)]
    if not lists:
        raise Unsupported(f"{purpose} needs a decoder whose blocks are an nn.ModuleList; turn it off")
    return max(lists, key=len)


def shared(loss: nn.Module, recipe: Recipe, device: torch.device, ranks: Ranks) -> nn.Module:
    """Return what computes `loss` so that the gradients of all processes come out averaged; alone, `loss` itself.

    In shards, the parameters of `loss` are replaced by `DTensor`s, under their names.
    """
    if ranks.world == 1:
        return loss
    if not sharded(recipe, ranks):
        return DistributedDataParallel(loss, gradient_as_bucket_view=True)
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh(device.type, (ranks.world,))
    for block in blocks(loss, "parallel fsdp"):
        fully_shard(block, mesh=mesh)
    fully_shard(loss, mesh=mesh)
    return loss


def in_step(module: nn.Module, last: bool) -> AbstractContextManager[object]:
    """Return what to enter around a part of a step: copies exchange gradients in the `last` part only.

    Shards exchange theirs in every part, so that no process holds whole gradients.
    """
    return module.no_sync() if isinstance(module, DistributedDataParallel) and not last else nullcontext()


def is_shard(tensor: Tensor) -> TypeGuard[DTensor]:
    """Say whether a tensor is a `DTensor`, of which this process holds a part."""
    return hasattr(tensor, "placements")


def local_part(tensor: Tensor) -> Tensor:
    """Return the part of a tensor that this process holds, on the same memory."""
    return tensor.to_local() if is_shard(tensor) else tensor


def as_shard(whole: Tensor, like: Tensor) -> Tensor:
    """Return a whole tensor, the same in every process, as `like` is held: whole, or this process's part of it."""
    if not is_shard(like):
        return whole
    from torch.distributed.tensor import distribute_tensor

    # src_data_rank: every process has it, so nothing is sent.
    return distribute_tensor(whole.to(like.device), like.device_mesh, like.placements, src_data_rank=None)


class Whole:
    """The weights of a run as one process sees them: the module itself, or a copy that shards are gathered into."""

    def __init__(self, module: nn.Module, recipe: Recipe, device: torch.device, ranks: Ranks) -> None:
        """Take the module, on the CPU, before it is cut into shards."""
        self._module, self._device, self._ranks = module, device, ranks
        self._sharded = sharded(recipe, ranks)
        self.module = copy.deepcopy(module) if self._sharded and ranks.first else module
        """What has all weights while `gathered` is entered, in the first process."""

    @contextmanager
    def gathered(self) -> Iterator[None]:
        """While entered, the first process's `module` has the weights of now, on the device. Each enters it."""
        if not self._sharded:
            yield
            return
        self._gather()
        yield
        if self._ranks.first:
            self.module.cpu()

    @torch.no_grad()
    def _gather(self) -> None:
        ours: Sequence[Tensor] = []
        if self._ranks.first:
            ours = list(self.module.to(self._device).state_dict().values())
        for place, part in enumerate(self._module.state_dict().values()):
            whole = part.full_tensor() if is_shard(part) else part
            if self._ranks.first:
                ours[place].copy_(whole)

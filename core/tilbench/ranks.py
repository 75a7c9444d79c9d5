"""The processes that share one training: who each is, and how they wait for and hear of one another.

`torchrun` starts them and says in the environment who is who. They may be on several machines, which then share the
folder of the run. Without torchrun there is one process, and nothing here waits.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from tilbench.errors import Unsupported

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["ALONE", "Ranks", "joined", "rank"]

T = TypeVar("T")

_PATIENCE = timedelta(days=7)
"""How long one waits for another, which may be scoring a suite."""


def rank() -> int:
    """Return the number of this process among those that torchrun started; 0 without torchrun."""
    return int(os.environ.get("RANK", "0"))


@dataclass(frozen=True, slots=True)
class Ranks:
    """This process among `world`. local: its number on its own machine. host: their group for messages of the CPU."""

    rank: int = 0
    world: int = 1
    local: int = 0
    host: Any = None

    @property
    def first(self) -> bool:
        """Whether this is the process that writes files and speaks to people."""
        return self.rank == 0

    def wait(self) -> None:
        """Wait until all have come here."""
        if self.world > 1:
            import torch.distributed as dist

            dist.barrier(group=self.host)

    def told(self, value: T) -> T:
        """Return the first one's value. Each calls it."""
        if self.world == 1:
            return value
        import torch.distributed as dist

        held = [value]
        dist.broadcast_object_list(held, src=0, group=self.host)
        return held[0]

    def gathered(self, value: T) -> list[T]:
        """Return everyone's value, by rank. Each calls it."""
        if self.world == 1:
            return [value]
        import torch.distributed as dist

        found: list[Any] = [None] * self.world
        dist.all_gather_object(found, value, group=self.host)
        return found

    def summed(self, tensor: Tensor) -> Tensor:
        """Return the sum of everyone's tensor, which is on the device that they train on. Each calls it."""
        if self.world > 1:
            import torch.distributed as dist

            dist.all_reduce(tensor)
        return tensor

    @contextmanager
    def in_turn(self) -> Iterator[None]:
        """Let the first one go through a block before the others, who then find what it has made."""
        if not self.first:
            self.wait()
        try:
            yield
        finally:
            if self.first:
                self.wait()


ALONE = Ranks()
"""The one process of a training without torchrun."""


@contextmanager
def joined(device: str) -> Iterator[Ranks]:
    """Join the processes that torchrun started for a training on `device` (a torch device type), and leave them after.

    On an accelerator each takes the one of its local number. Raises Unsupported where there are fewer.
    """
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        yield ALONE
        return
    import torch
    import torch.distributed as dist

    local = int(os.environ.get("LOCAL_RANK", "0"))
    there = torch.accelerator.device_count()
    if device != "cpu" and local >= there:
        raise Unsupported(
            f"torchrun started {local + 1} processes or more on this machine, which has {there} accelerators; lower "
            "--nproc-per-node, or pass --hardware cpu"
        )
    backend = "gloo" if device == "cpu" else f"cpu:gloo,{device}:{dist.get_default_backend_for_device(device)}"
    if device != "cpu":
        torch.accelerator.set_device_index(local)
    dist.init_process_group(backend)
    try:
        yield Ranks(dist.get_rank(), world, local, dist.new_group(backend="gloo", timeout=_PATIENCE))
    finally:
        dist.destroy_process_group()

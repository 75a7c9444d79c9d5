"""AdamW and Muon over the trainable parameters, and the norm of their gradient."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any, cast

import torch
from torch import Tensor, nn

from tilbench.config.model import Optimizer
from tilbench.errors import ConfigError
from tilbench.kinds.weight_layout import Slot
from tilbench_trainers.optim.muon import PartedMuon, cuts, outer
from tilbench_trainers.parallel import is_shard

__all__ = ["Joint", "adamw", "clip", "make_optimizer", "muon", "trainable"]

_FUSED = frozenset({"cpu", "cuda", "mps", "xpu"})


def trainable(module: nn.Module) -> dict[str, nn.Parameter]:
    """Return the parameters that require a gradient, by name, a tied one once. ConfigError: none does."""
    found = {name: parameter for name, parameter in module.named_parameters() if parameter.requires_grad}
    if not found:
        raise ConfigError("nothing to train: no parameter of the model requires a gradient")
    return found


def make_optimizer(module: nn.Module, settings: Optimizer, slots: Sequence[Slot] = ()) -> torch.optim.Optimizer:
    """Return the optimizer that the recipe names. The loop sets the learning rate of each group before each step.

    slots: what the module's weights are made of, where its architecture says so.
    """
    if settings.name == "adamw":
        return adamw(module, settings)
    # A Joint has all of an optimizer that a loop and a gradient scaler ask for.
    return cast("torch.optim.Optimizer", muon(module, settings, slots))


def adamw(module: nn.Module, settings: Optimizer) -> torch.optim.AdamW:
    """Return AdamW (Loshchilov & Hutter, 2019) over the trainable parameters, fused where the device has it.

    Decoupled weight decay goes to parameters of two or more dimensions: every matrix, embeddings included;
    not to norms and biases.
    """
    return _adamw(list(trainable(module).values()), settings)


def muon(module: nn.Module, settings: Optimizer, slots: Sequence[Slot] = ()) -> Joint:
    """Return Muon (Jordan et al., 2024; `PartedMuon`) for the hidden matrices and AdamW for all else.

    Hidden are the matrices that are neither an embedding nor a projection to the vocabulary. Their updates are scaled
    to the root mean square of AdamW's (Liu et al., Muon is Scalable for LLM Training, 2025), so that one learning
    rate and one weight decay serve both. Raises ConfigError where there is no such matrix.
    """
    named = trainable(module)
    parameters, apart = named.values(), outer(module, slots)
    hidden = [each for each in parameters if each.ndim == 2 and id(each) not in apart]
    if not hidden:
        raise ConfigError("optimizer 'muon' is for hidden matrices, and no trainable parameter is one; use 'adamw'")
    matrices = PartedMuon(
        hidden,
        {id(named[name]): cut for name, cut in cuts(slots, named).items()},
        lr=settings.learning_rate,
        weight_decay=settings.weight_decay,
        momentum=settings.momentum,
    )
    ours = {id(each) for each in hidden}
    rest = [each for each in parameters if id(each) not in ours]
    return Joint([matrices, *([_adamw(rest, settings)] if rest else [])])


def _adamw(parameters: Sequence[nn.Parameter], settings: Optimizer) -> torch.optim.AdamW:
    matrices = [parameter for parameter in parameters if parameter.ndim >= 2]
    others = [parameter for parameter in parameters if parameter.ndim < 2]
    groups = [
        {"params": matrices, "weight_decay": settings.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        [group for group in groups if group["params"]],
        lr=settings.learning_rate,
        betas=settings.betas,
        eps=settings.eps,
        fused=all(each.device.type in _FUSED and each.is_floating_point() for each in parameters),
    )


class Joint:
    """Optimizers of disjoint parameters, used as one."""

    def __init__(self, parts: Sequence[torch.optim.Optimizer]) -> None:
        self._parts = parts

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """The groups of all parts."""
        return list(chain.from_iterable(part.param_groups for part in self._parts))

    @property
    def state(self) -> dict[Tensor, dict[str, Any]]:
        """What the parts keep of each parameter."""
        return {parameter: kept for part in self._parts for parameter, kept in part.state.items()}

    def step(self) -> None:
        """Take a step with each part."""
        for part in self._parts:
            part.step()

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients."""
        for part in self._parts:
            part.zero_grad(set_to_none)

    def state_dict(self) -> dict[str, Any]:
        """Return the parts' states by number."""
        return {str(number): part.state_dict() for number, part in enumerate(self._parts)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put the parts back to what `state_dict` returned."""
        for number, part in enumerate(self._parts):
            part.load_state_dict(state[str(number)])


def clip(parameters: Sequence[nn.Parameter], largest: float) -> Tensor:
    """Scale the gradients to a joint L2 norm of at most `largest` (0: leave them); return it from before.

    A scalar tensor on the parameters' device: nothing waits for the accelerator. Of parameters in shards it is the norm
    of the whole gradient.
    """
    if largest:
        norm = nn.utils.clip_grad_norm_(parameters, largest)
    else:
        norm = nn.utils.get_total_norm([each.grad for each in parameters if each.grad is not None])
    return norm.full_tensor() if is_shard(norm) else norm

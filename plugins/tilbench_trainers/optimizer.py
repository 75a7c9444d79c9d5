"""AdamW over the trainable parameters, and the norm of their gradient."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from tilbench.config.model import Optimizer
from tilbench.errors import ConfigError

__all__ = ["adamw", "clip", "trainable"]

_FUSED = frozenset({"cpu", "cuda", "mps", "xpu"})


def trainable(module: nn.Module) -> dict[str, nn.Parameter]:
    """Return the parameters that require a gradient, by name, a tied one once. ConfigError: none does."""
    found = {name: parameter for name, parameter in module.named_parameters() if parameter.requires_grad}
    if not found:
        raise ConfigError("nothing to train: no parameter of the model requires a gradient")
    return found


def adamw(module: nn.Module, settings: Optimizer) -> torch.optim.AdamW:
    """Return AdamW (Loshchilov & Hutter, 2019) over the trainable parameters, fused where the device has it.

    Decoupled weight decay goes to parameters of two or more dimensions: every matrix, embeddings included;
    not to norms and biases. The learning rate of each group is set before each step by the loop.
    """
    parameters = list(trainable(module).values())
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


def clip(parameters: Sequence[nn.Parameter], largest: float) -> Tensor:
    """Scale the gradients to a joint L2 norm of at most `largest` (0: leave them); return it from before.

    A scalar tensor on the parameters' device: nothing waits for the accelerator.
    """
    if largest:
        return nn.utils.clip_grad_norm_(parameters, largest)
    return nn.utils.get_total_norm([each.grad for each in parameters if each.grad is not None])

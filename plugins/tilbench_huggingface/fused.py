"""Finds the weights that hold several matrices in one, such as q, k and v, from what their outputs are used for.

No name of a class or a weight is looked at: GPT-2, GPT-NeoX and Falcon call the same things differently and lay them
out differently under the same name.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from itertools import groupby

import torch
from torch import Tensor, nn

from tilbench.kinds.weight_layout import Slot, WeightSlice

__all__ = ["fused_slots"]

_ROWS = 8
"""Pairs of tokens that are tried: a row of a weight may do nothing in one of them."""
_ZERO = 1e-5
"""Below this share of the largest gradient in its module, a gradient is rounding."""
_LONGEST = 4
"""Parts of a weight at most; what has more is laid out in a way that is not understood."""

_ATTENTION = frozenset({"q", "k", "v"})
_GATED = frozenset({"gate", "up"})

_Use = tuple[bool, bool]
_ROLES: dict[_Use, str] = {(False, False): "q", (True, False): "k", (True, True): "v", (False, True): "gate"}
"""Whether a later token's output depends on the row, and whether a token's own output does where there is no other."""


def fused_slots(module: nn.Module, vocab_size: int, run: Callable[[Tensor], Tensor]) -> list[Slot]:
    """Return a slot for each trained matrix of `module` that holds several, by its name in `module`.

    run: computes the module's states [B, T, D] of ids [B, T], without dropout.

    A row is of a query where its output at the first of two tokens changes nothing at the second, and where one token
    alone does not depend on it: the softmax of one score is 1. It is of a key where the second token depends on it and
    one token alone does not, of a value where both do. Rows that only their own token depends on are two matrices
    where half of them are multiplied by the other half: then the mixed second derivative is not 0.
    """
    ids = (torch.arange(2 * _ROWS, device=next(module.parameters()).device) * 7919 + 13) % vocab_size
    pairs = ids.view(_ROWS, 2)
    watch = _Watch(module)
    with torch.enable_grad(), watch:
        run(pairs[:, :1])
        run(pairs)
    named = ((name, watch.roles(name)) for name in watch.later if name in watch.alone)
    slots = (_slot(watch.linear[name], name, roles) for name, roles in named)
    return [slot for slot in slots if slot is not None]


class _Watch:
    """Hooks that measure how the output of a module depends on the outputs of its linear layers.

    alone, later: by a layer's name, which of its rows one token alone depends on, and the second of two on the first's.
    """

    def __init__(self, module: nn.Module) -> None:
        modules = dict(module.named_modules())
        self.linear = {name: each for name, each in modules.items() if _is_linear(each)}
        self.alone: dict[str, list[bool]] = {}
        self.later: dict[str, list[bool]] = {}
        self._gated: dict[str, Sequence[str]] = {}
        self._parents: dict[str, list[str]] = defaultdict(list)
        for name in self.linear:
            self._parents[name.rpartition(".")[0]].append(name)
        self._modules = modules
        self._outputs: dict[str, Tensor] = {}
        self._hooks: list[torch.utils.hooks.RemovableHandle] = []

    def __enter__(self) -> None:
        for name, each in self.linear.items():
            self._hooks.append(each.register_forward_hook(lambda *call, name=name: self._made(name, call[-1])))
        for parent, names in self._parents.items():
            hook = self._modules[parent].register_forward_hook(lambda *call, names=names: self._used(names, call[-1]))
            self._hooks.append(hook)

    def __exit__(self, *error: object) -> None:
        for hook in self._hooks:
            hook.remove()

    def roles(self, name: str) -> Sequence[str]:
        """Return what each row of a layer is used for."""
        uses = zip(self.later[name], self.alone[name], strict=True)
        return self._gated.get(name) or [_ROLES[use] for use in uses]

    def _made(self, name: str, output: object) -> object:
        if not isinstance(output, Tensor) or output.dim() != 3:
            return None
        self._outputs[name] = output
        return output.clone()  # what comes after may write into it

    def _used(self, names: Sequence[str], result: object) -> None:
        output = result[0] if isinstance(result, tuple) else result
        made = {name: self._outputs.pop(name) for name in names if name in self._outputs}
        if not made or not isinstance(output, Tensor) or output.dim() != 3 or not output.requires_grad:
            return
        last = output[:, -1]
        weights = torch.randn(last.shape, generator=torch.Generator().manual_seed(0)).to(last)
        total = (last * weights).sum()
        found = torch.autograd.grad(total, list(made.values()), allow_unused=True, retain_graph=True)
        sizes = {
            name: gradient[:, 0].norm(dim=0)  # of each row, over all texts
            for name, gradient in zip(made, found, strict=True)
            if gradient is not None
        }
        largest = max((float(size.max()) for size in sizes.values()), default=0.0)
        for name, size in sizes.items():
            if output.shape[1] == 1:
                self.alone[name] = (size > _ZERO * largest).tolist()
                continue
            self.later[name] = (size > 0).tolist()
            if self._may_be_gated(name, names):
                self._find_gate(name, total, made[name])

    def _may_be_gated(self, name: str, names: Sequence[str]) -> bool:
        """Say whether half as many numbers go on as the layer puts out, each from its own token."""
        inputs = {2 * _sizes(self.linear[each])[1] for each in names if each != name}
        pointwise = all(self.alone.get(name, [False])) and not any(self.later[name])
        return pointwise and _sizes(self.linear[name])[0] in inputs

    def _find_gate(self, name: str, total: Tensor, made: Tensor) -> None:
        size = made.shape[-1]
        (gradient,) = torch.autograd.grad(total, made, create_graph=True)
        place = torch.arange(size, device=made.device)
        for chosen in (place < size // 2, place % 2 == 0):
            if not gradient.requires_grad:
                return
            (mixed,) = torch.autograd.grad(gradient[..., chosen].sum(), made, retain_graph=True, allow_unused=True)
            if mixed is None:  # no row is multiplied by another
                return
            moved = mixed.abs().sum((0, 1))
            if (moved[~chosen] > 0).float().mean() > 0.5:
                own, other = ("gate", "up") if bool(moved[chosen].any()) else ("up", "gate")
                self._gated[name] = [own if each else other for each in chosen.tolist()]
                return


def _is_linear(module: nn.Module) -> bool:
    weight = getattr(module, "weight", None)
    return (
        isinstance(weight, nn.Parameter)
        and weight.requires_grad
        and weight.dim() == 2
        and not (isinstance(module, nn.Embedding))
    )


def _across(module: nn.Module) -> bool:
    """Say whether a layer holds its weight [inputs, outputs], as GPT-2's does."""
    return hasattr(module, "nf")


def _sizes(module: nn.Module) -> tuple[int, int]:
    """Return the outputs and inputs of a layer."""
    rows, columns = module.weight.shape  # type: ignore[misc]
    return (int(columns), int(rows)) if _across(module) else (int(rows), int(columns))


def _slot(module: nn.Module, name: str, roles: Sequence[str]) -> Slot | None:
    """Return the slot of a weight by the roles of its rows; None where it is one part, or is not understood."""
    runs = [(role, len(list(each))) for role, each in groupby(roles)]
    rows, columns = _sizes(module)
    period = next((size for size in range(2, _LONGEST + 1) if runs == runs[:size] * (len(runs) // size)), 0)
    understood = set(roles) <= _ATTENTION or set(roles) == _GATED  # a state space mixes them, and is left whole
    if rows != len(roles) or not period or len(runs) < 2 or not understood:
        return None
    times = len(runs) // period
    parts = tuple(WeightSlice(role, size * times, times) for role, size in runs[:period])
    return Slot(f"{name}.weight", parts, columns, by_head=times > 1, transposed=_across(module))

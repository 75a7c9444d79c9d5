"""Where the parameters of a decoder are, read from the modules that hold them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import TYPE_CHECKING

from tilbench.kinds.architecture import ParameterCount

if TYPE_CHECKING:
    from torch import nn

__all__ = ["COMPONENTS", "parameter_budget"]

TOKENS, POSITIONS, ATTENTION, FEED_FORWARD, NORMS, HEAD, OTHER = COMPONENTS = (
    "token embedding",
    "position embedding",
    "attention",
    "feed-forward",
    "norms",
    "output head",
    "other",
)
_NAMES = {
    ATTENTION: ("attn", "attention"),
    FEED_FORWARD: ("mlp", "feed_forward", "ffn", "moe", "expert", "fc1", "fc2"),
}
"""What is in the names of a component's modules, in our decoders and in the classes of Transformers."""


def parameter_budget(module: nn.Module, vocab_size: int) -> Mapping[str, ParameterCount]:
    """Return the parameters of each component, in the order of `COMPONENTS`; each parameter is counted once.

    A norm inside attention is one of the norms. Tied weights are the embedding's. What has no name that is known here,
    such as the mixer of a state-space model, is `other`; the rest is there even where it is 0.
    """
    totals: dict[str, int] = defaultdict(int)
    layers: dict[str, dict[int, int]] = defaultdict(lambda: defaultdict(int))
    seen: set[int] = set()
    deepest = 0
    for path, part in module.named_modules():
        for parameter in part.parameters(recurse=False):
            if id(parameter) in seen:
                continue
            seen.add(id(parameter))
            layer = next((int(name) for name in path.split(".") if name.isdecimal()), None)
            component = _component(path, part, layer, parameter.shape[0] if parameter.ndim else 0, vocab_size)
            totals[component] += parameter.numel()
            if layer is not None:
                layers[component][layer] += parameter.numel()
                deepest = max(deepest, layer + 1)
    return {
        name: ParameterCount(
            totals[name], tuple(layers[name].get(layer, 0) for layer in range(deepest) if name in layers)
        )
        for name in COMPONENTS
        if name != OTHER or totals[OTHER]
    }


def _component(path: str, part: nn.Module, layer: int | None, rows: int, vocab_size: int) -> str:
    """Return the component that a parameter of `rows` rows belongs to."""
    from torch import nn

    if "norm" in type(part).__name__.lower():
        return NORMS
    if isinstance(part, nn.Embedding):
        return TOKENS if rows == vocab_size else POSITIONS
    if layer is None and rows == vocab_size:
        return HEAD
    names = path.lower().split(".")
    return next((each for each, marks in _NAMES.items() if any(m in n for n in names for m in marks)), OTHER)

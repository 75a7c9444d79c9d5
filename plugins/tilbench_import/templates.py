"""The tensors of a foreign checkpoint, those of all layers taken together under one name."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from tilbench.errors import CheckpointError

__all__ = ["Shape", "Template", "templates"]

Shape = tuple[int, ...]

_NUMBER = re.compile(r"\d+")
_HEAD = re.compile(r"(?<=head[._])\d+|(?<=heads[._])\d+")
_ENDINGS = {"weight": False, "kernel": False, "gamma": False, "scale": False, "bias": True, "beta": True}
"""Last words of names that say what a tensor is to its module: whether it is a bias."""


@dataclass(frozen=True, slots=True)
class Template:
    """One tensor of theirs, in every layer or outside them.

    name: `*` stands for the layer, `#` for the head where each head has a tensor of its own. base: without the word
    for weight or bias. shape: of a layer's, heads joined and leading ones left out.
    members: by layer (0 outside the layers) the names as they are stored, a head's each.
    """

    name: str
    base: str
    bias: bool
    shape: Shape
    members: Mapping[int, tuple[str, ...]] = field(hash=False)

    @property
    def layered(self) -> bool:
        """Whether every layer has one."""
        return "*" in self.name


def templates(shapes: Mapping[str, Shape], layers: int, source: str) -> list[Template]:
    """Return the templates of tensors by name, in the order of their names.

    layers: of the model. Raises CheckpointError where a layer is missing or too many, wholly or of one tensor, and
    where a tensor is of another shape in another layer.
    """
    first = _first_layer(shapes, layers, source)
    grouped: dict[str, dict[int, dict[int, str]]] = defaultdict(lambda: defaultdict(dict))
    for name in shapes:
        stem, layer = first.get(name, (name, 0))
        head = _HEAD.search(stem)
        number = int(head[0]) if head else 0
        stem = f"{stem[: head.start()]}#{stem[head.end() :]}" if head else stem
        grouped[stem][layer][number] = name
    return [_template(name, grouped[name], shapes, layers, source) for name in sorted(grouped)]


def _first_layer(names: Iterable[str], layers: int, source: str) -> dict[str, tuple[str, int]]:
    """Map each name inside a layer to itself with `*` for the layer, and the layer, counted from 0.

    The number of the layer is the first in a name, or a later one before which most names say the same.
    """
    fault = f"{source}: no name has the number of a layer"
    numbers = {name: list(_NUMBER.finditer(name)) for name in names}
    for place in range(max(map(len, numbers.values()), default=0)):
        found: dict[str, dict[str, int]] = defaultdict(dict)  # what stands before the number → names → number
        for name, matches in numbers.items():
            if len(matches) > place:
                found[name[: matches[place].start()]][name] = int(matches[place][0])
        main = max(sorted(found), key=lambda before: len(found[before]))
        there = set(found[main].values())
        start = min(min(there), 1)
        wanted = set(range(start, start + layers))
        if there != wanted or (place and 2 * len(found[main]) < len(numbers)):
            fault = fault if place else _layer_fault(source, main, there, wanted)
            continue
        return {
            name: (f"{before}*{name[len(before) + len(str(number)) :]}", number - start)
            for before, members in found.items()
            if set(members.values()) == wanted
            for name, number in members.items()
        }
    raise CheckpointError(f"{fault}; the model has {layers} layers")


def _layer_fault(source: str, before: str, there: set[int], wanted: set[int]) -> str:
    said = f"{source}: '{before}…' goes from {min(there)} to {max(there)}"
    if missing := sorted(wanted - there):
        said += f", without {', '.join(map(str, missing[:3]))}{', …' if len(missing) > 3 else ''}"
    return said


def _template(
    name: str, members: Mapping[int, Mapping[int, str]], shapes: Mapping[str, Shape], layers: int, source: str
) -> Template:
    if "*" in name and (missing := sorted(set(range(layers)) - set(members))):
        raise CheckpointError(f"{source}: {name} is missing in layer {', '.join(map(str, missing[:3]))}")
    heads = Counter(len(each) for each in members.values())
    if len(heads) > 1 or any(set(each) != set(range(len(each))) for each in members.values() if "#" in name):
        raise CheckpointError(f"{source}: {name} has other heads in one layer than in another, or one is missing")
    found: dict[Shape, str] = {}
    for each in members.values():
        for stored in each.values():
            found.setdefault(_without_ones(shapes[stored]), stored)
    if len(found) > 1:
        (shape, one), (other, two) = list(found.items())[:2]
        raise CheckpointError(f"{source}: {one} is {list(shape)} and {two} is {list(other)}")
    shape = next(iter(found))
    count = next(iter(heads))
    if "#" in name and shape:
        shape = (shape[0] * count, *shape[1:])
    base, ending = _split(name)
    return Template(
        name=name,
        base=base,
        bias=_ENDINGS.get(ending, False),
        shape=shape,
        members={layer: tuple(each[head] for head in sorted(each)) for layer, each in sorted(members.items())},
    )


def _split(name: str) -> tuple[str, str]:
    """Return a name without its last word, and that word, where it says what the tensor is to its module."""
    for ending in _ENDINGS:
        for joint in "._":
            if name.endswith(joint + ending):
                return name[: -len(ending) - 1], ending
    return name, ""


def _without_ones(shape: Shape) -> Shape:
    """Return a shape without leading ones, which a parameter for positions may have."""
    while len(shape) > 2 and shape[0] == 1:
        shape = shape[1:]
    return shape

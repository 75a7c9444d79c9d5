"""A file of weights alone → our state dict: by our own names, else by what their names and shapes say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tilbench.checkpoints.stored import StoredWeights
from tilbench.checkpoints.unsupported import unsupported
from tilbench.errors import CheckpointError, ConfigError, Unsupported
from tilbench.kinds.architecture import Architecture, DecoderConfig
from tilbench.kinds.capabilities.architecture import StatesParts
from tilbench.kinds.weight_layout import Slot
from tilbench_import.assemble import assemble
from tilbench_import.match import Match, Options, match
from tilbench_import.templates import templates
from tilbench_import.words import Guess, gelu_convention, is_buffer

__all__ = ["Row", "StateMap", "left_over", "map_state", "native_shapes", "parse_roles"]


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the map: their tensor (`*` for the layer, `#` for the head), ours, its shape, and what decided."""

    theirs: str
    ours: str
    shape: tuple[int, ...]
    by: str


@dataclass(frozen=True, slots=True)
class StateMap:
    """How a file's tensors become ours. set_aside: names that are no weights. notes: conventions that decided."""

    rows: tuple[Row, ...]
    set_aside: tuple[str, ...]
    notes: tuple[str, ...]
    _stored: StoredWeights
    _slots: tuple[Slot, ...] = ()
    _match: Match | None = None
    _layers: int = 0
    _ours: tuple[str, ...] = ()

    @property
    def rotary(self) -> bool:
        """Whether the weights depend on which rows rotary positions turn together."""
        return self._match is not None and any(part.rotated for slot in self._slots for part in slot.parts)

    @property
    def neighbours(self) -> bool:
        """Whether rotary positions are taken to turn rows 2i and 2i + 1 of a head together."""
        return self._match is not None and self._match.neighbours

    @property
    def activation(self) -> tuple[str, str]:
        """Which GELU the names and layout mean, and why; empty where they do not say."""
        if self._match is None:
            return "", ""
        return gelu_convention(self._stored.shapes.keys(), self._match.transposed)

    def weights(self) -> dict[str, Tensor]:
        """Read the file and return our state dict. Raises CheckpointError for values that cannot be."""
        if self._match is None:
            return {name: self._stored[name] for name in self._ours}
        return assemble(self._slots, self._match, self._stored, self._layers)


def map_state(stored: StoredWeights, architecture: Architecture, config: DecoderConfig, options: Options) -> StateMap:
    """Return how the tensors of a file become the weights of a model of this config, without reading them.

    Raises CheckpointError where they do not, or not in one way only; Unsupported for foreign names where the
    architecture does not say what it is made of.
    """
    if why := unsupported(stored.shapes.keys()):
        raise Unsupported(f"{stored.path}: {why}")
    native = native_shapes(architecture, config)
    if native.keys() <= stored.keys():
        return _by_our_names(stored, native)
    if not isinstance(architecture, StatesParts):
        raise Unsupported(
            f"{stored.path}: its names are not those of {type(architecture).__name__}, which does not say what its "
            "weights are made of (parts), so that no other names can be understood"
        )
    slots = tuple(architecture.parts(config))
    layers = _layer_count(slots, native)
    aside = [
        name
        for name, shape in stored.shapes.items()
        if not stored.dtypes[name].is_floating_point or is_buffer(name, shape)
    ]
    shapes = {name: shape for name, shape in stored.shapes.items() if name not in aside}
    found = match(slots, templates(shapes, layers, str(stored.path)), options, str(stored.path))
    rows = tuple(
        Row(
            template.name,
            ("/" if guess.by_head else ",").join(f"{role}.bias" if template.bias else role for role in guess.roles),
            template.shape,
            by,
        )
        for template, guess, by in found.found
    )
    return StateMap(rows, tuple(sorted(aside)), found.notes, stored, slots, found, layers)


def native_shapes(architecture: Architecture, config: DecoderConfig) -> dict[str, tuple[int, ...]]:
    """Return the shapes of a model's weights by their names in our state dict."""
    with torch.device("meta"):
        return {name: tuple(each.shape) for name, each in architecture.build(config).state_dict().items()}


def parse_roles(text: str) -> tuple[str, Guess]:
    """Read `THEIRS=ROLE`, `THEIRS=q,k,v` (one below the other) or `THEIRS=q/k/v` (a head of each in turn)."""
    name, _, roles = text.partition("=")
    joint = "/" if "/" in roles else ","
    parts = tuple(part.strip() for part in roles.split(joint))
    if not name or not all(parts):
        raise ConfigError(f"--map {text!r}: write THEIRS=ROLE, such as 'layers.*.mlp.w1=gate' or 'h.*.attn.qkv=q,k,v'")
    return name.strip(), Guess(parts, joint == "/")


def left_over(stored: StoredWeights) -> list[str]:
    """Return the names that were not read and are no weights: buffers, and copies of a weight that was.

    Raises CheckpointError for any other.
    """
    used, aside, extra = sorted(stored.used), [], []
    for name in sorted(stored.keys() - stored.used):
        shape = stored.shapes[name]
        if (
            not stored.dtypes[name].is_floating_point
            or is_buffer(name, shape)
            or any(stored.shapes[other] == shape and torch.equal(stored[name], stored[other]) for other in used)
        ):
            aside.append(name)
        else:
            extra.append(name)
    if extra:
        shown = ", ".join(extra[:3]) + (f" and {len(extra) - 3} more" if len(extra) > 3 else "")
        raise CheckpointError(f"{stored.path}: {shown} is no part of the model")
    return aside


def _by_our_names(stored: StoredWeights, native: dict[str, tuple[int, ...]]) -> StateMap:
    for name, shape in native.items():
        if stored.shapes[name] != shape:
            raise CheckpointError(
                f"{stored.path}: {name} is {list(stored.shapes[name])} and {list(shape)} in the model"
            )
    extra = [name for name in stored if name not in native and not is_buffer(name, stored.shapes[name])]
    if extra:
        raise CheckpointError(f"{stored.path}: {extra[0]} is no part of the model")
    aside = tuple(sorted(stored.keys() - native.keys()))
    return StateMap((), aside, ("the names are ours",), stored, _ours=tuple(native))


def _layer_count(slots: Sequence[Slot], native: dict[str, tuple[int, ...]]) -> int:
    """Return how many layers have the first weight that every layer has."""
    before, _, after = next(slot.name for slot in slots if slot.layered).partition("*")
    return sum(name.startswith(before) and name.endswith(after) for name in native)

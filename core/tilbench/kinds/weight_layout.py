"""What the weights of an architecture are made of, for reading checkpoints that name and cut them otherwise."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Slot", "WeightSlice"]


@dataclass(frozen=True, slots=True)
class WeightSlice:
    """Rows of a weight that another implementation may hold as a tensor of its own.

    role: what it is (`q`, `gate`, `attention_norm`; docs/import.md has the list); that of a bias ends in `.bias`.
    heads: attention heads that the rows belong to, one after the other. rotated: rows at the end of each head that
    turn by rotary angles, the pairs half of them apart.
    """

    role: str
    rows: int
    heads: int = 1
    rotated: int = 0


@dataclass(frozen=True, slots=True)
class Slot:
    """A weight of ours: its parts one below the other, or, with `by_head`, a head of each in turn.

    name: as in the module's state dict, `*` for the number of the layer. columns: width; 0 for a vector.
    copy: the module does not have this weight; a file may, and it must then equal `name`. transposed: the module holds
    the weight with its rows as columns.
    """

    name: str
    parts: tuple[WeightSlice, ...]
    columns: int = 0
    by_head: bool = False
    copy: bool = False
    transposed: bool = False

    @property
    def layered(self) -> bool:
        """Whether every layer has one."""
        return "*" in self.name

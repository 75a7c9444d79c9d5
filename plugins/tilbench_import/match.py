"""Which of their tensors is which part of ours: by name, then by shape, and never by a guess."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from tilbench.errors import CheckpointError
from tilbench.kinds.weight_layout import Slot, WeightSlice
from tilbench_import.templates import Shape, Template
from tilbench_import.words import Guess, guesses, leaf, rotary_convention

__all__ = ["Match", "Options", "match"]


_SHOWN = 16
"""Maps that are looked at to say between what the choice is; one that fits beside another is too many."""


@dataclass(frozen=True, slots=True)
class Options:
    """What a user says where names and shapes do not.

    roles: by name of theirs (a template's, or its base) what it is. neighbours: whether rotary pairs are rows 2i and
    2i + 1. transposed: whether matrices are [in, out].
    """

    roles: Mapping[str, Guess] = field(default_factory=dict)
    neighbours: bool | None = None
    transposed: bool | None = None


@dataclass(frozen=True, slots=True)
class Match:
    """The whole map.

    found: each of their tensors, what it is, and what decided: name, shape or --map. transposed: whether the matrices
    of layers are [in, out]. neighbours: whether rotary pairs are rows 2i and 2i + 1. notes: conventions that decided.
    """

    found: tuple[tuple[Template, Guess, str], ...]
    transposed: bool
    neighbours: bool
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Unit:
    """A weight and its bias, which are always the same parts."""

    weight: Template | None
    bias: Template | None

    @property
    def members(self) -> list[Template]:
        return [each for each in (self.weight, self.bias) if each is not None]

    @property
    def head(self) -> Template:
        return self.members[0]


class _Roles:
    """The parts of a model by role, and the shapes that tensors of them have."""

    def __init__(self, slots: Sequence[Slot]) -> None:
        self.slots = slots
        self.parts = {part.role: (part, slot) for slot in slots for part in slot.parts}
        self.needed = frozenset(part.role for slot in slots for part in slot.parts if not slot.copy)

    def fits(self, template: Template, guess: Guess, transposed: bool) -> bool:
        """Say whether a tensor of theirs has the shape of these roles together."""
        roles = [f"{role}.bias" for role in guess.roles] if template.bias else list(guess.roles)
        if not all(role in self.parts for role in roles):
            return False
        found = [self.parts[role] for role in roles]
        if any(slot.layered != template.layered or slot.columns != found[0][1].columns for _, slot in found):
            return False
        return template.shape == self.shape(roles, transposed)

    def shape(self, roles: Sequence[str], transposed: bool) -> tuple[int, ...]:
        """Return the shape of a tensor of these roles."""
        part, slot = self.parts[roles[0]]
        rows = sum(self.parts[role][0].rows for role in roles)
        if not slot.columns:
            return (rows,)
        fixed = part.role in ("embedding", "positions")
        return (slot.columns, rows) if transposed and slot.layered and not fixed else (rows, slot.columns)

    def any_fit(self) -> Iterator[Guess]:
        """Yield every role alone, and every way in which neighbouring parts of a slot can be one tensor."""
        for slot in self.slots:
            parts = slot.parts
            yield from (Guess((part.role,)) for part in parts if not part.role.endswith(".bias"))
            for size in range(2, len(parts) + 1):
                for start in range(len(parts) - size + 1):
                    run = parts[start : start + size]
                    names = tuple(part.role for part in run)
                    if names[0].endswith(".bias"):
                        continue
                    yield Guess(names)
                    if _groups(run) > 1:
                        yield Guess(names, True)
                    if size == 2 and all(part.heads == 1 for part in run):
                        yield Guess(names[::-1])


def _groups(parts: Sequence[WeightSlice]) -> int:
    return math.gcd(*(part.heads for part in parts))


def match(slots: Sequence[Slot], found: Sequence[Template], options: Options, source: str) -> Match:
    """Return the one map from `found` to all parts of `slots`.

    Raises CheckpointError where weights are missing, left over or of other shapes, and where more than one map fits:
    the message names what is undecided and the option that decides.
    """
    roles = _Roles(slots)
    units = _units(found)
    leaves = {leaf(template): template.shape for template in found if not template.bias}
    _known(options, found, roles, source)
    wanted = {unit: _said(unit, roles, leaves, options) for unit in units}
    ways = [options.transposed] if options.transposed is not None else [False, True]
    candidates = {way: {unit: _fitting(unit, wanted[unit], roles, way) for unit in units} for way in ways}
    solutions = [
        (way, solution)
        for way in ways
        for solution in itertools.islice(_solutions(candidates[way], roles.needed), _SHOWN)
    ]
    if not solutions:
        way = max(ways, key=lambda way: sum(map(bool, candidates[way].values())))
        raise CheckpointError(f"{source}: {_impossible(candidates[way], wanted, roles, way)}")
    if len(solutions) > 1:
        raise CheckpointError(f"{source}: {_ambiguous(solutions)}")
    transposed, chosen = solutions[0]
    neighbours, why = _rotary(roles, leaves, options, source)
    notes = dict.fromkeys(guess.why for guess in chosen.values() if guess.why)
    if transposed:
        notes["matrices are [in, out], as in GPT-2's Conv1D"] = None
    triples = [(template, chosen[unit], _decided(unit, wanted, options)) for unit in units for template in unit.members]
    return Match(tuple(triples), transposed, neighbours, (*notes, *([why] if why else [])))


def _decided(unit: _Unit, wanted: Mapping[_Unit, Sequence[Guess]], options: Options) -> str:
    if any(name in options.roles for each in unit.members for name in (each.name, each.base)):
        return "--map"
    return "name" if len(wanted[unit]) == 1 else "shape"


def _units(found: Sequence[Template]) -> list[_Unit]:
    bases: dict[str, dict[bool, Template]] = {}
    for template in found:
        bases.setdefault(template.base, {})[template.bias] = template
    return [_Unit(each.get(False), each.get(True)) for each in bases.values()]


def _known(options: Options, found: Sequence[Template], roles: _Roles, source: str) -> None:
    names = {name for template in found for name in (template.name, template.base)}
    for name, guess in options.roles.items():
        if name not in names:
            there = ", ".join(sorted({template.base for template in found})[:12])
            raise CheckpointError(f"{source}: --map names {name!r}; known: {there}")
        if unknown := [role for role in guess.roles if role not in roles.parts]:
            there = ", ".join(role for role in roles.parts if not role.endswith(".bias"))
            raise CheckpointError(f"--map {name}: the model has no {unknown[0]!r}; it has {there}")


def _said(unit: _Unit, roles: _Roles, leaves: Mapping[str, Shape], options: Options) -> list[Guess]:
    """Return what the user or the names say of a unit; nothing where neither does."""
    for template in unit.members:
        for name in (template.name, template.base):
            if name in options.roles:
                return [options.roles[name]]
    return guesses(unit.head, roles.parts.keys(), leaves)


def _fitting(unit: _Unit, said: Sequence[Guess], roles: _Roles, way: bool) -> list[Guess]:
    fitting: dict[tuple[object, ...], Guess] = {}
    for guess in said or roles.any_fit():
        if not all(roles.fits(template, guess, way) for template in unit.members):
            continue
        parts = [roles.parts[role][0] for role in guess.roles if role in roles.parts]
        # Of one head in all, a head of each in turn is one below the other.
        by_head = guess.by_head and _groups(parts) > 1
        fitting.setdefault((guess.roles, by_head), Guess(guess.roles, by_head, guess.why))
    return list(fitting.values())


def _covered(unit: _Unit, guess: Guess) -> frozenset[str]:
    return frozenset(f"{role}.bias" if each.bias else role for each in unit.members for role in guess.roles)


def _solutions(candidates: Mapping[_Unit, Sequence[Guess]], needed: frozenset[str]) -> Iterator[dict[_Unit, Guess]]:
    """Yield the ways to give every unit a candidate of its own so that all needed roles are there once."""
    order = sorted(candidates, key=lambda unit: len(candidates[unit]))

    def extend(place: int, taken: frozenset[str], chosen: dict[_Unit, Guess]) -> Iterator[dict[_Unit, Guess]]:
        if place == len(order):
            if needed <= taken:
                yield chosen
            return
        unit = order[place]
        for guess in candidates[unit]:
            covered = _covered(unit, guess)
            if not covered & taken:
                yield from extend(place + 1, taken | covered, {**chosen, unit: guess})

    return extend(0, frozenset(), {})


def _impossible(
    candidates: Mapping[_Unit, Sequence[Guess]], wanted: Mapping[_Unit, Sequence[Guess]], roles: _Roles, way: bool
) -> str:
    """Say why no map fits."""
    faults = []
    for unit in (unit for unit, fitting in candidates.items() if not fitting):
        said = wanted[unit]
        misshapen = [
            f"{each.name} is {list(each.shape)} and {_named(said[0])} is {list(roles.shape(names, way))} in the model"
            for each in unit.members
            if said
            and set(names := [f"{role}.bias" if each.bias else role for role in said[0].roles]) <= set(roles.parts)
            and each.shape != roles.shape(names, way)
        ]
        extra = [f"{each.name} {list(each.shape)} is no part of the model" for each in unit.members]
        faults += misshapen or extra
    possible = {role for unit, each in candidates.items() for guess in each for role in _covered(unit, guess)}
    faults += [f"{role} {list(roles.shape([role], way))} is missing" for role in sorted(roles.needed - possible)]
    if not faults:
        fixed: dict[str, str] = {}
        for unit, each in candidates.items():
            for role in _covered(unit, each[0]) if len(each) == 1 else ():
                if role in fixed:
                    faults.append(f"{fixed[role]} and {unit.head.name} both look like {role}")
                fixed[role] = unit.head.name
    shown = "; ".join(faults[:3]) + (f"; and {len(faults) - 3} more" if len(faults) > 3 else "")
    return shown or "its tensors have the shapes of parts of the model, but do not make all of them"


def _ambiguous(solutions: Sequence[tuple[bool, Mapping[_Unit, Guess]]]) -> str:
    """Say between what the maps leave the choice."""
    if len({way for way, _ in solutions}) > 1:
        return (
            "its matrices fit as [out, in] and as [in, out]; say which with --not-transposed (torch's Linear) or "
            "--transposed (GPT-2's Conv1D)"
        )
    choices = {unit: list(dict.fromkeys(each[unit] for _, each in solutions)) for unit in solutions[0][1]}
    undecided = {unit: choice for unit, choice in choices.items() if len(choice) > 1}
    said = "; ".join(
        f"{unit.head.base} may be {' or '.join(map(_named, choice))}" for unit, choice in list(undecided.items())[:4]
    )
    unit, choice = next(iter(undecided.items()))
    return f"names and shapes do not decide: {said}; say which, as in --map '{unit.head.base}={_spelled(choice[0])}'"


def _named(guess: Guess) -> str:
    return _spelled(guess) + (" (a head of each in turn)" if guess.by_head else "")


def _spelled(guess: Guess) -> str:
    return ("/" if guess.by_head else ",").join(guess.roles)


def _rotary(roles: _Roles, leaves: Mapping[str, Shape], options: Options, source: str) -> tuple[bool, str]:
    if not any(part.rotated for part, _ in roles.parts.values()):
        return False, ""
    if options.neighbours is not None:
        return options.neighbours, ""
    found, why = rotary_convention(leaves)
    if found is None:
        raise CheckpointError(
            f"{source}: the names do not say which rows of a head its rotary positions turn together; say it with "
            "--rotary half (i and i + n/2, as in Transformers) or --rotary interleaved (2i and 2i + 1, as in Meta's "
            "Llama)"
        )
    return found, why

"""Whether imported weights predict a text: a wrong map of them does not, nor a wrong rotary convention."""

from __future__ import annotations

import math
import tempfile
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from tilbench.errors import DataError
from tilbench.kinds.language_model import OpenOptions
from tilbench.kinds.requests import Document, Likelihood
from tilbench.registry import Registry
from tilbench.resolve.checkpoint_loader import CheckpointLoader
from tilbench.resolve.tokenizers import load_tokenizer
from tilbench_import.plan import Asked, Import, plan_import, write_import

__all__ = ["Tried", "loss_on", "try_rotary"]

_CHARACTERS = 4000
"""Of the text, from its beginning, that are scored."""
_APART = 0.02
"""Nats a token by which one convention must be better than the other to be told from it."""
_WAYS = {False: "half a head apart", True: "neighbours"}


@dataclass(frozen=True, slots=True)
class Tried:
    """An import whose rotary convention was tried on a text. note: what was found. warning: why to doubt it."""

    plan: Import
    note: str = ""
    warning: str = ""


def try_rotary(source: str, registry: Registry, asked: Asked, file: Path | None) -> Tried:
    """Return the import whose rotary convention predicts a text better.

    The names of a file can mislead, and a wrong convention gives a model that is worse and not obviously broken. So
    both are tried on the text. One that the user chose stays, with a warning where the other is better. What was
    chosen or what the names say also stays where there is no text, or where neither is better than guessing or than
    the other; a warning says so. Raises CheckpointError where then nothing decides.
    """
    ways = {way: replace(asked, options=replace(asked.options, neighbours=way)) for way in _WAYS}
    alone = Path(source).expanduser().is_file()  # a folder's config.json says which convention it has
    if file is None or not alone or not (first := plan_import(source, registry, ways[False])).rotary:
        plan = plan_import(source, registry, asked)
        untried = "which rows rotary positions turn together was not tried on a text: give one with --text FILE"
        return Tried(plan, warning=untried if plan.rotary else "")
    plans = {False: first, True: plan_import(source, registry, ways[True])}
    losses = {way: _loss(plan, file, registry) for way, plan in plans.items()}
    better = min(losses, key=lambda way: losses[way][0])
    loss, chance = losses[better]
    worse = losses[not better][0]
    found = f"rotary pairs are {_WAYS[better]}: {loss:.3f} nats a token on {file}, {worse:.3f} if {_WAYS[not better]}"
    if loss >= chance or worse - loss < _APART:
        return Tried(
            plan_import(source, registry, asked),
            warning=f"the text does not tell the rotary conventions apart ({losses[False][0]:.3f} nats a token "
            f"{_WAYS[False]}, {losses[True][0]:.3f} {_WAYS[True]}, {chance:.3f} by guessing)",
        )
    if asked.options.neighbours not in (None, better):
        return Tried(plans[not better], warning=f"--rotary says otherwise, but {found}")
    return Tried(plans[better], note=found)


def _loss(plan: Import, file: Path, registry: Registry) -> tuple[float, float]:
    with tempfile.TemporaryDirectory() as folder:
        return loss_on(write_import(plan, Path(folder) / "tried"), file, registry)


def loss_on(folder: Path, file: Path, registry: Registry) -> tuple[float, float]:
    """Return a checkpoint's mean loss on the beginning of a text, in nats a token, and that of guessing (ln V)."""
    try:
        text = file.read_text(encoding="utf-8")[:_CHARACTERS]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file} cannot be read as text: {error}") from None
    if not text.strip():
        raise DataError(f"{file} has no text to score")
    options = OpenOptions(load_tokenizer=partial(load_tokenizer, registry=registry))
    model = CheckpointLoader(registry).open(str(folder), options)
    ((_, answer),) = (pair for batch in model.answer([Document(text)]) for pair in batch)
    assert isinstance(answer, Likelihood)
    assert answer.tokens
    vocabulary = load_tokenizer(str(folder), registry).size
    return -answer.logprob / answer.tokens, math.log(vocabulary)

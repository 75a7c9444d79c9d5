"""A mixture of two models of a text, which may change from one to the other at any character.

The n-gram and uniform bytes are the two states of a hidden Markov chain (the fixed-share forecaster of Herbster and
Warmuth, "Tracking the best expert", 1998). What a text costs is summed over all ways to change between them, so it is a
probability like any other.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["SWITCH", "advance", "uniform_bytes"]

SWITCH = 2.0**-10
"""Probability of a change before each character: a change costs 10 bits, staying costs 0.0014 bits per character."""
_LIMITS = (0x80, 0x800, 0x10000)
"""Code points from which UTF-8 takes a byte more."""
_SHARES = np.array([256.0**-size for size in (1, 2, 3, 4)])
_USED = float(_SHARES @ [0x80, 0x780, 0xF000, 0x100000])
"""Share of uniform byte sequences that are a character in UTF-8, surrogates left out: 0.533."""

Floats = NDArray[np.float64]


def uniform_bytes(text: str) -> Floats:
    """Return the probability of each character when bytes are uniform and together they are UTF-8.

    A character of n bytes has 256⁻ⁿ / 0.533: 8 bits per byte, less 0.9 bits per character.
    """
    points = np.frombuffer(text.encode("utf-32-le"), dtype="<u4")
    shares: Floats = (_SHARES / _USED)[np.searchsorted(_LIMITS, points, side="right")]
    return shares


def advance(state: Floats, first: Floats, second: Floats) -> tuple[Floats, float]:
    """Return the weights of the two models after a text, and ln of the text's probability.

    state: weights of the models after the character before, which sum to 1. first, second: what each gives every
    character.
    """
    stay, change = 1 - SWITCH, SWITCH
    steps = np.empty((len(first), 2, 2))
    steps[:, 0, 0], steps[:, 0, 1] = stay * first, change * second
    steps[:, 1, 0], steps[:, 1, 1] = change * first, stay * second
    scale = 0.0
    while len(steps) > 1:  # a product of matrices, in pairs, so that numpy does all pairs at once
        most = steps.max(axis=(1, 2), keepdims=True)
        scale += float(np.log(most).sum())
        steps = steps / most
        odd = steps[len(steps) & ~1 :]
        steps = np.concatenate([steps[0 : len(steps) & ~1 : 2] @ steps[1::2], odd])
    after = state @ steps[0] if len(steps) else state
    total = float(after.sum())
    return after / total, scale + float(np.log(total))

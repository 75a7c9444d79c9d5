"""The step whose validation is the best so far: the lowest mean over the sources, the earliest of equals."""

from __future__ import annotations

import math
from collections.abc import Mapping
from statistics import fmean
from typing import Any

__all__ = ["Best", "validated"]


def validated(line: Mapping[str, Any], name: str) -> float | None:
    """Return the mean of value `name` over the sources of a log line; None where nothing finite was measured."""
    sources = line.get("validation") or {}
    mean = fmean(source[name] for source in sources.values()) if sources else math.nan
    return mean if math.isfinite(mean) else None


class Best:
    """Listens to a run's log. step: the best validated so far; None where there is none yet, or nobody asks for it."""

    def __init__(self, name: str) -> None:
        """Compare validations by value `name`, of which less is better; an empty name compares none."""
        self.step: int | None = None
        self._name, self._lowest = name, math.inf

    def note(self, line: Mapping[str, Any], live: bool) -> None:
        """Take in a line of the log, a kept one of an earlier sitting too."""
        mean = validated(line, self._name) if self._name else None
        if mean is not None and mean < self._lowest:
            self.step, self._lowest = line["step"], mean

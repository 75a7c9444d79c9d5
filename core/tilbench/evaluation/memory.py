"""How much memory this process has used."""

from __future__ import annotations

import resource
import sys

__all__ = ["peak_memory"]


def peak_memory() -> int:
    """Return the largest resident size of this process so far, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024

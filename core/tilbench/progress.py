"""How a long piece of work says how far it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

__all__ = ["Progress"]

Progress: TypeAlias = Callable[[str, int, int], None]
"""Called with what is worked on (a model, a source), how many of its parts are done, and how many there are."""

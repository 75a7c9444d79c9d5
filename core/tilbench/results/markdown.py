"""Markdown that every viewer shows as it was meant: escaped text and tables."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

__all__ = ["escape", "table"]

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>()#+!|~$&])")
_RULES = {"l": "---", "r": "---:"}


def escape(text: str) -> str:
    """Return text on one line that Markdown and HTML show as it is."""
    return _SPECIAL.sub(r"\\\1", " ".join(text.split())).replace(r"\<", "&lt;").replace(r"\>", "&gt;")


def table(head: Sequence[str], rows: Iterable[Sequence[str]], align: str = "") -> list[str]:
    """Return the lines of a table. The caller escapes what others wrote.

    align: for each column "l" (left, for text) or "r" (right, for numbers). Without it, the first column is text and
    the others are numbers.
    """
    align = align or "l" + "r" * (len(head) - 1)
    lines = [_line(head), f"|{'|'.join(_RULES[side] for side in align)}|"]
    return [*lines, *map(_line, rows)]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"

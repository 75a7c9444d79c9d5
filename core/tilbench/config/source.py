"""The data of a YAML file, and the line of each of its fields."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from tilbench.errors import ConfigError

__all__ = ["Location", "Source"]

Location = tuple[str | int, ...]
"""Where a field stands: the keys and indices that lead to it."""


class Source:
    """A YAML document's data, and the line of each of its fields."""

    def __init__(
        self,
        path: Path | str,
        data: object,
        lines: Mapping[Location, int],
        moved: Mapping[Location, Location] | None = None,
    ) -> None:
        """Keep the parts.

        path: what the data is from, for messages. moved: where the file writes fields that `data` has elsewhere;
        what lies inside such a field moves with it.
        """
        self.path = path
        self.data = data
        self.lines = lines
        self.moved = moved or {}

    def written(self, location: Sequence[str | int]) -> Location:
        """Return where the file writes what `data` has at `location`."""
        for length in range(len(location), 0, -1):
            if (place := self.moved.get(tuple(location[:length]))) is not None:
                return (*place, *location[length:])
        return tuple(location)

    def place(self, location: Sequence[str | int]) -> str:
        """Return `file:line` of the nearest known field at or above `location`, as the file writes it."""
        known = [part for part in range(len(location), -1, -1) if tuple(location[:part]) in self.lines]
        return f"{self.path}:{self.lines[tuple(location[: known[0]])]}" if known else str(self.path)

    def fault(self, location: Sequence[str | int], message: str) -> ConfigError:
        """Return the error that says what is wrong at `location`, as the file writes it."""
        return ConfigError(f"{self.place(location)}: {message}")

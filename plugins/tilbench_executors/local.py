"""Does jobs one after another in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from tilbench.errors import TilbenchError
from tilbench.kinds.executor import Ended

__all__ = ["LocalExecutor"]

Job = TypeVar("Job")
Event = TypeVar("Event")


class LocalExecutor:
    """Needs nothing, costs nothing. A process that dies takes the run with it; the journal keeps the answers."""

    def run(self, work: Callable[[Job], Iterable[Event]], jobs: Iterable[Job]) -> Iterator[tuple[int, Event | Ended]]:
        """Yield the events of each job, in order."""
        for place, job in enumerate(jobs):
            try:
                for event in work(job):
                    yield place, event
            except TilbenchError as error:
                yield place, Ended(error)
            else:
                yield place, Ended()

"""An executor does jobs somewhere: in this process, in another one, under torchrun, on Ray."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol, TypeVar, runtime_checkable

from tilbench.errors import TilbenchError

__all__ = ["Ended", "Executor"]

Job = TypeVar("Job")
Event = TypeVar("Event")


@dataclass(frozen=True, slots=True)
class Ended:
    """The last event of a job. error: what ended it early; None: all of it is done."""

    error: TilbenchError | None = None


@runtime_checkable
class Executor(Protocol):
    """Does jobs, and hands back what comes of them while they are done.

    The caller keeps everything that is written, the journal of answers and the records. What a job needs goes in with
    the job, and what it finds comes back as events.
    """

    def run(self, work: Callable[[Job], Iterable[Event]], jobs: Iterable[Job]) -> Iterator[tuple[int, Event | Ended]]:
        """Yield each event of `work(job)` with the place of its job, 0 for the first, and then `Ended`.

        work, jobs and events can be pickled; `work` may be copied once and called for many jobs. Events of one job come
        in their order; those of several jobs may be mixed. A job is taken from `jobs` only when it can begin, because
        taking it may cost something, such as a training.

        A TilbenchError that `work` raises ends that job, not the others, and so does a process that dies. Any other
        exception is raised. Where the iterator is closed before its end, the jobs under way are stopped.
        """

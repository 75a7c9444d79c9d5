"""Does jobs one after another in a second process, whose death ends one job and not the run."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any, TypeVar

from tilbench.errors import TilbenchError
from tilbench.kinds.executor import Ended

__all__ = ["ProcessExecutor"]

Job = TypeVar("Job")
Event = TypeVar("Event")

_DYING = 10.0
"""Seconds that a process may take to end after it has closed its pipe."""


@dataclass(frozen=True, slots=True)
class _Warned:
    """A warning given in the other process."""

    message: str


@dataclass(frozen=True, slots=True)
class _Broken:
    """An exception that is no TilbenchError, as text."""

    trace: str


class ProcessExecutor:
    """Starts one process for all jobs, and another one where that dies. It ends with the run, however the run ends."""

    def run(self, work: Callable[[Job], Iterable[Event]], jobs: Iterable[Job]) -> Iterator[tuple[int, Event | Ended]]:
        """Yield the events of each job, in order. A process that dies ends its job with a TilbenchError."""
        child: _Child | None = None
        try:
            for place, job in enumerate(jobs):
                if child is None or not child.alive:
                    child = _Child(work)
                for event in child.events(job):
                    yield place, event
        finally:
            if child is not None:
                child.stop()


class _Child:
    """A process that does jobs for as long as this one lives."""

    def __init__(self, work: Callable[[Any], Iterable[Any]]) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs,), name="tilbench-worker", daemon=True)
        with _uninterrupted():
            self._process.start()
        theirs.close()  # so that its end shows here
        self._work: Callable[[Any], Iterable[Any]] | None = work

    @property
    def alive(self) -> bool:
        return self._process.is_alive()

    def events(self, job: object) -> Iterator[Any]:
        """Yield what the process finds, and `Ended` last."""
        try:
            if self._work is not None:
                self._connection.send(self._work)
                self._work = None
            self._connection.send(job)
            while True:
                event = self._connection.recv()
                if isinstance(event, _Warned):
                    warnings.warn(event.message, stacklevel=2)
                    continue
                if isinstance(event, _Broken):
                    raise RuntimeError(f"in the worker process:\n{event.trace}")
                yield event
                if isinstance(event, Ended):
                    return
        except (EOFError, ConnectionError):
            self._process.join(_DYING)  # so that its own status is seen
            self.stop()
            yield Ended(TilbenchError(_obituary(self._process.exitcode)))

    def stop(self) -> None:
        """End the process, whatever it does."""
        self._process.kill()
        self._process.join()
        self._connection.close()


def _obituary(status: int | None) -> str:
    """Say how a process died and what helps."""
    if status == -signal.SIGKILL:
        return (
            "its process was killed, as happens where memory runs out; free memory or lower --batch-tokens, and the "
            "same command resumes it"
        )
    how = f"by signal {-status}" if status is not None and status < 0 else f"with status {status}"
    return f"its process ended {how} before the job was done; the same command resumes it"


@contextlib.contextmanager
def _uninterrupted() -> Iterator[None]:
    """Let a process that is started now ignore Ctrl-C, which a terminal sends to it too: the first process ends it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _serve(connection: Connection) -> None:
    """Do jobs until there is nobody to do them for."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    sending = threading.Lock()

    def send(event: object) -> None:
        try:
            with sending:
                connection.send(event)
        except ConnectionError:  # nobody is there any more
            os._exit(1)

    def warned(message: Warning | str, *_place: object, **_more: object) -> None:
        send(_Warned(str(message)))

    warnings.showwarning = warned
    work: Callable[[Any], Iterable[Any]] | None = None
    while True:
        try:
            work = work or connection.recv()
            job = connection.recv()
        except EOFError:
            return
        try:
            for event in work(job):
                send(event)
            send(Ended())
        except TilbenchError as error:
            send(Ended(error))
        except Exception:
            send(_Broken(traceback.format_exc()))


def _end_with_parent() -> None:
    """End this process when the one that started it is gone, even if nothing told it to."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)

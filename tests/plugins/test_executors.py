"""Jobs in a second process: what dies there ends one job, and nothing of it outlives the run."""

from __future__ import annotations

import inspect
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tilbench.errors import TilbenchError
from tilbench.kinds.executor import Ended
from tilbench_executors.process import ProcessExecutor


def subclasses(kind: type[TilbenchError]) -> Iterator[type[TilbenchError]]:
    yield kind
    for each in kind.__subclasses__():
        yield from subclasses(each)


@pytest.mark.parametrize("kind", dict.fromkeys(subclasses(TilbenchError)))
def test_every_error_keeps_its_class_and_message_when_pickled(kind: type[TilbenchError]) -> None:
    own = None if kind.__init__ is Exception.__init__ else inspect.signature(kind.__init__)
    needed = [each for each in own.parameters.values() if each.default is each.empty][1:] if own else ["message"]
    error = kind(*"abc"[: len(needed)])
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301
    assert (type(copy), str(copy)) == (kind, str(error))


def work(job: str) -> Iterator[tuple[str, int]]:
    """Yield the process's number, then do what the job says."""
    yield job, os.getpid()
    if job == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if job == "leave":
        os._exit(3)
    if job == "wait":
        time.sleep(600)


@pytest.mark.parametrize(("how", "says"), [("die", "memory"), ("leave", "with status 3")])
def test_a_process_that_dies_ends_its_own_job_and_no_other(how: str, says: str) -> None:
    found: dict[int, list[Any]] = {}
    for place, event in ProcessExecutor().run(work, ["a", how, "b", "c"]):
        found.setdefault(place, []).append(event)
    processes = [events[0][1] for events in found.values()]
    assert [events[0][0] for events in found.values()] == ["a", how, "b", "c"]
    assert processes[0] == processes[1] != processes[2] == processes[3]  # one process for all, and one after it
    assert [found[place][1:] for place in (0, 2, 3)] == [[Ended()]] * 3
    (ended,) = found[1][1:]
    assert says in str(ended.error)
    assert not any(psutil.pid_exists(process) for process in processes)


def test_closing_it_early_stops_the_process() -> None:
    events = ProcessExecutor().run(work, ["wait"])
    _, (_, process) = next(events)  # type: ignore[misc]
    assert psutil.pid_exists(process)
    events.close()  # type: ignore[attr-defined]
    assert not psutil.pid_exists(process)


def test_a_job_is_taken_only_when_it_can_begin() -> None:
    taken = []

    def jobs() -> Iterator[str]:
        for job in ("a", "b"):
            taken.append(job)
            yield job

    for place, _ in ProcessExecutor().run(work, jobs()):
        assert len(taken) == place + 1
    assert taken == ["a", "b"]


def test_warnings_of_the_process_are_given_here() -> None:
    with pytest.warns(UserWarning, match="be careful"):
        list(ProcessExecutor().run(warn, ["a"]))


def warn(job: str) -> Iterator[str]:
    import warnings

    warnings.warn("be careful", stacklevel=1)
    yield job


SCRIPT = """
import sys
sys.path[:0] = [{folder!r}]
from test_executors import work
from tilbench_executors.process import ProcessExecutor
if __name__ == "__main__":
    for _, event in ProcessExecutor().run(work, ["wait"]):
        print(event[1], flush=True)
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_run_leaves_no_process(how: signal.Signals, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(folder=str(Path(__file__).parent)), encoding="utf-8")
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        worker = psutil.Process(int(run.stdout.readline()))
        run.send_signal(how)
        run.wait(60)
    psutil.wait_procs([worker], timeout=60)
    assert not worker.is_running()

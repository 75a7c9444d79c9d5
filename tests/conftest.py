"""What every test shares: one thread, no user settings, and the data directory where there is one."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import hypothesis
import pytest
import torch

from tilbench.__main__ import main
from tilbench.loader import Host, load_plugins

# Machines that run the tests are busy: an example may take any time.
hypothesis.settings.register_profile("tilbench", deadline=None)
hypothesis.settings.load_profile("tilbench")

ROOT = Path(__file__).parents[1]
_SIBLING = ROOT.parent / "shared" / "data"
_KEPT = "TILBENCH_TEST_DATA"  # for pytest-xdist's processes, which start when the setting is already hidden
_FOUND = str(_SIBLING) if _SIBLING.is_dir() else ""
_DATA = os.environ[_KEPT] = os.environ.pop("TILBENCH_DATA", "") or os.environ.get(_KEPT, "") or _FOUND


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> Iterator[None]:
    """Let commands that tests start compute with one thread: several processes share the cores."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        torch.set_num_threads(1)
        yield


@pytest.fixture(autouse=True, scope="session")
def _control_c() -> None:
    """Let commands that tests start notice Ctrl-C: a shell that runs the tests in the background has it ignored."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide the developer's own settings from the tests, and keep Hub clients off the network."""
    for name in ("TILBENCH_DATA", "TILBENCH_PLUGINS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def host() -> Host:
    """Return the installed plugins."""
    return load_plugins()


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Return a folder with real text and questions (see docs/data.md); skip the test where there is none."""
    if not _DATA:
        pytest.skip("no data directory: set TILBENCH_DATA to run the tests on real text")
    return Path(_DATA)


@pytest.fixture(scope="session")
def root() -> Path:
    """Return the checkout."""
    return ROOT


@pytest.fixture(scope="session")
def growth() -> Callable[[Callable[[int], object], int], float]:
    """Return a function that says how many times the CPU time of `work(size)` is that of `work(size / 10)`.

    About 10 is linear, 100 is quadratic. It depends neither on the machine nor on what else runs on it.
    """

    def cpu_seconds(work: Callable[[int], object], size: int) -> float:
        begun = time.process_time()
        work(size)
        return time.process_time() - begun

    def measure(work: Callable[[int], object], size: int) -> float:
        # Other sizes each time, because tokenizers remember texts.
        small = min(cpu_seconds(work, size // 10 + more) for more in range(3))
        return cpu_seconds(work, size) / small

    return measure


class Outcome(NamedTuple):
    """How a command ended and what it printed."""

    status: int
    out: str
    err: str


@pytest.fixture
def tilbench(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Return a function that runs the `tilbench` command in this process."""

    def call(*arguments: str | Path) -> Outcome:
        monkeypatch.setattr("sys.argv", ["tilbench", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            main()
        printed = capsys.readouterr()
        return Outcome(int(stop.value.code or 0), printed.out, printed.err)

    return call

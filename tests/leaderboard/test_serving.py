"""The served page lives as long as the command does."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.support.records import save, showcase

pytestmark = pytest.mark.slow


def free_port() -> int:
    with socket.create_server(("localhost", 0)) as server:
        number: int = server.getsockname()[1]
        return number


def answers(port: int) -> bool:
    """Say whether something listens."""
    try:
        socket.create_connection(("localhost", port), timeout=1).close()
    except OSError:
        return False
    return True


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_to_the_command_frees_the_port(tmp_path: Path, how: signal.Signals) -> None:
    save(tmp_path, showcase())
    port = free_port()
    command = [sys.executable, "-m", "tilbench", "leaderboard", "--records", str(tmp_path), "--headless"]
    process = subprocess.Popen([*command, "--port", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while not answers(port):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.1)
        process.send_signal(how)
        process.wait(timeout=20)
        assert not answers(port)
    finally:
        process.kill()
        process.wait()

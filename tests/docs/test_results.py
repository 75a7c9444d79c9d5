"""The published results hold, and their document says what they say."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tilbench.results.store import RecordStore


def test_the_tables_of_the_document_are_those_of_the_records(root: Path) -> None:
    command = [sys.executable, str(root / "benchmarks" / "results.py")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    document = (root / "docs" / "results.md").read_text(encoding="utf-8")
    tables = done.stdout.strip().split("\n\n")
    assert len(tables) == 6
    for table in tables:
        assert table in document, table


@pytest.mark.slow
def test_published_records_hold(root: Path, tilbench: Callable[..., Any]) -> None:
    done = tilbench("records", "verify", root / "leaderboard" / "records")
    assert done.status == 0, done.err[-2000:] + done.out[-2000:]


def test_published_records_name_no_machine(root: Path) -> None:
    folder = root / "leaderboard" / "records" / "tiny"
    records = [record for _, record in RecordStore(folder).records()]
    assert len(records) > 100
    for record in records:
        assert record.source == "measured"
        for text in (record.measured.command, record.task.dataset.origin, record.model.name):
            assert not [word for word in text.replace("=", " ").split() if word.startswith("/")], text

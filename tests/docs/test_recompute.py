"""`benchmarks/recompute.py` makes old intervals new and leaves values alone."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

SUITE = """
name: small
baselines: [uniform-bytes]
tasks:
  - {name: bpb-kk, metric: bpb, dataset: text/kk/heldout}
  - {name: bpb-ru, metric: bpb, dataset: text/ru/heldout}
macros:
  - {name: both, value: bpb, tasks: [bpb-kk, bpb-ru]}
"""


def recompute(root: Path, records: Path) -> tuple[int, str]:
    script = str(root / "benchmarks" / "recompute.py")
    done = subprocess.run([sys.executable, script, str(records)], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def changed(path: Path, **fields: float) -> str:
    """Change the headline of a record, and return the record as it was."""
    before = path.read_text()
    content: dict[str, Any] = json.loads(before)
    content["values"]["bpb"] |= fields
    path.write_text(json.dumps(content))
    return before


@pytest.mark.slow
def test_old_intervals_become_new_and_values_stay(tmp_path: Path, root: Path, tilbench: Callable[..., Any]) -> None:
    (tmp_path / "small.yaml").write_text(SUITE, encoding="utf-8")
    records = tmp_path / "records"
    assert tilbench("run", tmp_path / "small.yaml", "--out", records).status == 0
    assert recompute(root, records) == (0, f"{records}: 0 records rewritten, 0 left as they are\n")
    paths = {path.parent.name: path for path in records.glob("small/*/*.json")}
    before = {name: changed(path, low=0.5, stderr=3.0) for name, path in paths.items()}
    assert tilbench("records", "verify", records).status == 1
    assert recompute(root, records) == (0, f"{records}: 3 records rewritten, 0 left as they are\n")
    assert {name: path.read_text() for name, path in paths.items()} == before
    assert tilbench("records", "verify", records).status == 0
    changed(paths["bpb-kk"], value=0.5)
    status, out = recompute(root, records)
    assert (status, "2 left as they are" in out) == (1, True)  # the task, and the macro that is made of it
    assert "bpb is 0.5, and its items give 8.0; score it again" in out

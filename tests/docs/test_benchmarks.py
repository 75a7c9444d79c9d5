"""The benchmarks of training run, at sizes that say nothing about speed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.long


def lines(root: Path, script: str, *arguments: str) -> list[dict[str, Any]]:
    """Return the lines of JSON that a benchmark prints."""
    script = str(root / "benchmarks" / script)
    command = [sys.executable, script, "--small", "--precision", "fp32", "--json", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_both_sides_learn_the_same(root: Path) -> None:
    (line,) = lines(root, "training.py", "--steps", "2", "--turns", "1", "--peers", "trainer", "--eager")
    assert line["case"] == "ours against trainer"
    assert line["loss_steps"] == 4
    assert line["largest_loss_difference"] < 1e-4
    assert line["ours_loss"] == pytest.approx(line["peer_loss"], abs=1e-4)
    assert min(line[f"{side}_{what}"] for side in ("ours", "peer") for what in ("tok_s", "peak_bytes")) > 0
    assert line["ratio"] == pytest.approx(line["ours_tok_s"] / line["peer_tok_s"], rel=1e-2)


def test_every_document_that_trains_from_scratch_has_a_line(root: Path) -> None:
    found = lines(root, "training_documents.py", "--steps", "1")
    assert {line["case"] for line in found} == {
        f"{model}:tiny" for model in ("1gpu-small-en-it", "auto-g-nano-1b", "til-mini-1b", "turkish-v1", "turkish-v2")
    }
    assert all(line["tok_s"] > 0 and line["parameters"] > 0 for line in found)

"""The command line answers at once: what it prints needs no torch, and costs no more than lm-eval's own help."""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

TIMES = 5


def seconds(command: Sequence[str | Path]) -> float:
    before = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - before


@pytest.fixture(scope="module")
def executable() -> Path:
    return Path(sys.executable).with_name("tilbench")


def test_help_is_no_slower_than_that_of_lm_eval(executable: Path) -> None:
    theirs = shutil.which("lm-eval", path=str(executable.parent))
    if theirs is None:
        pytest.skip("lm-eval is not installed beside tilbench")
    pairs = [(seconds([executable, "--help"]), seconds([theirs, "--help"])) for _ in range(TIMES)]
    ours, lm_eval = (statistics.median(side) for side in zip(*pairs, strict=True))
    assert ours <= lm_eval


def test_models_are_listed_within_six_tenths_of_a_second(executable: Path) -> None:
    assert statistics.median(seconds([executable, "list", "models"]) for _ in range(TIMES)) < 0.6


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["run", "--help"], ["show", "--help"], ["chat", "--help"], ["list", "models"], ["plugins"]],
)
def test_help_and_listings_import_no_heavy_library(arguments: list[str]) -> None:
    assert not heavy_libraries(arguments)


@pytest.mark.parametrize(
    "arguments",
    [
        ["generate", "runs/a", "--file", "nowhere.txt"],
        ["generate", "runs/a", "hi", "--template", "chatlm"],
        ["chat", "runs/a", "--template", "chatlm"],
        ["export", "runs/a", "--to", "pt", "--out", "."],
        ["import", "runs/a", "--out", "."],
        ["release", "runs/a", "--out", "."],
    ],
)
def test_an_argument_that_is_wrong_in_itself_is_refused_before_anything_heavy(arguments: list[str]) -> None:
    assert not heavy_libraries(arguments, status=2)


def heavy_libraries(arguments: list[str], status: int = 0) -> set[str]:
    """Return the libraries that take long to import, of those that a command had imported when it ended."""
    report = (
        "import atexit, json, sys; atexit.register(lambda: print(json.dumps(sorted(sys.modules)), file=sys.stderr))"
    )
    code = f"{report}; from tilbench.__main__ import main; sys.argv = ['tilbench', *{arguments!r}]; main()"
    ended = subprocess.run(
        [sys.executable, "-c", code],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert ended.returncode == status, ended.stderr
    heavy = {"torch", "transformers", "datasets", "pandas", "streamlit", "pyarrow", "scipy"}
    return heavy & set(json.loads(ended.stderr.splitlines()[-1]))


def test_show_says_how_many_parameters_til_mini_has(tilbench: Callable[..., Any]) -> None:
    shown = json.loads(tilbench("show", "til-mini-1b", "--json").out)
    assert shown["parameters"] == 956_337_408

"""The command line answers at once: what it prints needs no torch, and costs a fraction of lm-eval's own help."""

from __future__ import annotations

import json
import resource
import shutil
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

TURNS = 9


def cpu_seconds(command: Sequence[str | Path]) -> float:
    """Return the CPU time of a command, which other programs on the machine hardly change."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


@pytest.mark.slow
def test_help_and_listings_take_a_fraction_of_the_time_of_lm_eval() -> None:
    folder = Path(sys.executable).parent
    theirs = shutil.which("lm-eval", path=str(folder))
    if theirs is None:
        pytest.skip("lm-eval is not installed beside tilbench")
    commands: dict[str, Sequence[str | Path]] = {
        "lm-eval --help": [theirs, "--help"],
        "--help": [folder / "tilbench", "--help"],
        "list models": [folder / "tilbench", "list", "models"],
    }
    turns = [{name: cpu_seconds(command) for name, command in commands.items()} for _ in range(TURNS)]
    medians = {name: statistics.median(turn[name] for turn in turns) for name in commands}
    assert medians["--help"] <= 0.4 * medians["lm-eval --help"], medians
    assert medians["list models"] <= 0.5 * medians["lm-eval --help"], medians


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

"""The commands of docs/generate.md run, in order, as they are written; what they say of settings and commands holds."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest

from tilbench.cli import cli

DOCUMENT = (Path(__file__).parents[2] / "docs/generate.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_every_command_runs_in_order(tmp_path: Path) -> None:
    (block,) = re.findall(r"^```sh\n(.*?)^```", DOCUMENT, flags=re.MULTILINE | re.DOTALL)
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    printed = []
    for line in block.splitlines():
        done = subprocess.run(
            ["bash", "-c", line],
            cwd=tmp_path,
            env={**os.environ, "PATH": path},
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        assert done.returncode == 0, f"{line}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
        printed.append(done.stdout)
    rows = [json.loads(row) for row in printed[3].splitlines()]
    assert [row["prompt"] for row in rows] == ["Name a river.", "What is bread made of?"]
    for row in rows:
        assert all(f"`{key}`" in DOCUMENT for key in row)


@pytest.mark.parametrize("name", ["generate", "chat"])
def test_every_option_named_exists(name: str) -> None:
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    known = {option for parameter in command.params for option in parameter.opts}
    settings = set(re.findall(r"(--[a-z][a-z-]*)", DOCUMENT.partition("## Settings")[2].partition("## generate")[0]))
    section = DOCUMENT.partition(f"## {name}")[2].partition("\n## ")[0]
    assert settings | set(re.findall(r"`(--[a-z][a-z-]*)", section)) <= known

"""The documents are true: every command in the README runs, in order, as a newcomer would type it."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
_NOT_HERE = re.compile(r"make |pip install -c ")
"""Commands that set up an environment; the packaging tests and the demo cover them."""


def commands(document: str) -> list[str]:
    text = (ROOT / document).read_text(encoding="utf-8")
    blocks = re.findall(r"^```sh\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    return [line for block in blocks for line in block.splitlines() if line and not _NOT_HERE.match(line)]


@pytest.mark.slow
def test_every_command_of_the_readme_runs_in_order(tmp_path: Path) -> None:
    site = tmp_path / "site"
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(site)}
    (tmp_path / "suites").symlink_to(ROOT / "suites")
    assert len(commands("README.md")) > 10
    for line in commands("README.md"):
        words = shlex.split(line)
        if words[:2] == ["pip", "install"]:  # into a folder of the test's own, from what is installed already
            words = [*words[:2], "--quiet", "--no-deps", "--no-build-isolation", "--target", str(site), words[-1]]
        done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{line}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"


def test_the_plugin_of_the_contributing_guide_works(tmp_path: Path) -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"^```python\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    (tmp_path / "my_plugin.py").write_text(code, encoding="utf-8")
    command = [sys.executable, "-m", "tilbench", "--plugin", "my_plugin.py", "show", "my/news"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "news.jsonl" in done.stdout


@pytest.mark.parametrize("document", ["README.md", "CONTRIBUTING.md", "docs/data.md"])
def test_every_link_and_module_named_exists(document: str) -> None:
    path = ROOT / document
    text = path.read_text(encoding="utf-8")
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", text):
        assert (path.parent / target).exists(), target
    for named in re.findall(r"`((?:core|plugins|suites|leaderboard|docs)/[\w/.-]+)`", text):
        assert (ROOT / named).exists(), named

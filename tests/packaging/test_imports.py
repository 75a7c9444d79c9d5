"""Who imports whom: the contracts of pyproject.toml, the rules of import_rules.py; both catch a planted violation."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from fnmatch import fnmatchcase
from pathlib import Path

import pytest
from tests.packaging.import_rules import public

LINTER = ["-c", "from importlinter.cli import lint_imports_command; lint_imports_command()", "--no-cache"]


def _rules(root: Path, checkout: Path) -> str:
    script = root / "tests" / "packaging" / "import_rules.py"
    done = subprocess.run([sys.executable, script, checkout], capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr, done.stderr
    assert bool(done.returncode) == bool(done.stderr.strip())
    return done.stderr.strip()


def test_the_rules_about_plugins_hold(root: Path) -> None:
    assert _rules(root, root) == ""


def test_every_public_module_is_there_and_used(root: Path) -> None:
    code = [path for folder in ("plugins", "core/tilbench/cli/templates") for path in (root / folder).rglob("*.py*")]
    used = "\n".join(path.read_text(encoding="utf-8") for path in code if path.suffix in (".py", ".tmpl"))
    for name in public(root):
        path = root / "core" / name.removesuffix(".*").replace(".", "/")
        assert path.is_dir() or (not name.endswith(".*") and path.with_suffix(".py").is_file()), name
        imported = re.search(rf"(from|import) {re.escape(name.removesuffix('*'))}", used)
        assert imported, f"no plugin imports {name}: take it out of CONTRIBUTING.md"


def test_what_tilbench_new_writes_imports_public_modules(root: Path) -> None:
    written = [*(root / "core/tilbench/cli/templates").rglob("*.py.tmpl"), root / "CONTRIBUTING.md"]
    assert len(written) > 4
    for path in written:
        found = re.findall(r"^(?:from|import) (tilbench[\w.]*)", path.read_text(encoding="utf-8"), re.MULTILINE)
        assert found
        for name in found:
            assert any(fnmatchcase(name, pattern) for pattern in public(root)), f"{path}: {name}"


@pytest.fixture
def copy(root: Path, tmp_path: Path) -> Path:
    """Return a copy of the checkout's code, to plant a violation in."""
    for folder in ("core", "plugins", "leaderboard"):
        for source in (root / folder).rglob("*.py"):
            target = tmp_path / source.relative_to(root)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(source.read_bytes())
    for name in ("pyproject.toml", "CONTRIBUTING.md"):
        (tmp_path / name).write_bytes((root / name).read_bytes())
    return tmp_path


@pytest.mark.parametrize(
    ("place", "line", "rule"),
    [
        ("core/tilbench/scoring/planted.py", "import tilbench_kazakh", "tilbench imports no plugin"),
        ("core/tilbench/data/planted.py", "import tilbench_leaderboard.app", "nothing imports the leaderboard"),
        ("leaderboard/tilbench_leaderboard/planted.py", "import tilbench_kazakh", "tilbench_leaderboard imports no"),
        ("plugins/tilbench_kazakh/planted.py", "import tilbench_turkish", "plugins do not import each other"),
        (
            "plugins/tilbench_kazakh/planted.py",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import tilbench_turkish",
            "plugins do not import each other",
        ),
        ("plugins/tilbench_kazakh/planted.py", "import tilbench.results.store", "plugins import the core's public"),
        ("plugins/tilbench_kazakh/planted.py", "from tilbench.cli import run", "plugins import the core's public"),
        ("plugins/tilbench_new/__init__.py", "import tilbench_turkish", "plugins do not import each other"),
    ],
)
def test_a_planted_import_breaks_a_rule(root: Path, copy: Path, place: str, line: str, rule: str) -> None:
    (copy / place).parent.mkdir(exist_ok=True)
    (copy / place).write_text(line + "\n", encoding="utf-8")
    (found,) = _rules(root, copy).splitlines()
    assert found.startswith(rule)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("place", "line", "contract"),
    [
        ("core/tilbench/data/planted.py", "import tilbench.evaluation.plan", "imports point down"),
        ("leaderboard/tilbench_leaderboard/planted.py", "import tilbench.cli.run", "The leaderboard reads results"),
    ],
)
def test_a_planted_import_breaks_a_contract(copy: Path, place: str, line: str, contract: str) -> None:
    (copy / place).write_text(line + "\n", encoding="utf-8")
    path = os.pathsep.join(str(copy / folder) for folder in ("core", "plugins", "leaderboard"))
    environment = {"PYTHONPATH": path, "PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        [sys.executable, *LINTER], cwd=copy, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1, done.stdout + done.stderr
    broken = [text for text in done.stdout.splitlines() if "BROKEN" in text]
    assert any(contract in text for text in broken), done.stdout

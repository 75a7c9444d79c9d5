"""The distribution: what is registered, what is shipped, and what stays out of the import path."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest

import tilbench


@pytest.fixture(scope="module")
def project(root: Path) -> dict[str, Any]:
    return tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))


def test_the_tests_run_against_this_checkout(root: Path) -> None:
    assert Path(str(tilbench.__file__)).is_relative_to(root), "another checkout is installed: pip install -e ."


def test_every_plugin_folder_is_an_entry_point_and_installed(root: Path, project: dict[str, Any]) -> None:
    folders = {path.parent.name for path in (root / "plugins").glob("*/__init__.py")}
    declared = project["project"]["entry-points"]["tilbench"]
    installed = {
        point.value for point in entry_points(group="tilbench") if point.dist and point.dist.name == "tilbench"
    }
    assert set(declared.values()) == folders
    assert installed == folders, "plugins changed: run pip install -e . again"
    assert all(f"tilbench_{name}" == module for name, module in declared.items())


def test_import_contracts_cover_every_plugin(root: Path, project: dict[str, Any]) -> None:
    folders = {path.parent.name for path in (root / "plugins").glob("*/__init__.py")}
    contracts = {each["name"]: each for each in project["tool"]["importlinter"]["contracts"]}
    assert folders <= set(project["tool"]["importlinter"]["root_packages"])
    assert folders <= set(contracts["The core imports no plugin and no page"]["forbidden_modules"])
    assert folders == set(contracts["Plugins do not import each other"]["modules"])


def test_only_packages_become_importable(root: Path) -> None:
    """Folders of this checkout; what else a developer has installed is another matter."""
    code = """if True:
        import importlib.util, json
        specs = {name: importlib.util.find_spec(name) for name in ("core", "plugins", "suites", "tests")}
        places = {name: [spec.origin, *(spec.submodule_search_locations or ())] for name, spec in specs.items() if spec}
        print(json.dumps(places))
    """
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True, cwd="/")
    places = json.loads(done.stdout)
    ours = [name for name, found in places.items() if any(each and Path(each).is_relative_to(root) for each in found)]
    assert not ours, places


@pytest.mark.slow
def test_the_wheel_holds_packages_data_and_suites_and_nothing_else(root: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--quiet", "-w", str(tmp_path), str(root)]
    subprocess.run(command, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names if ".dist-info/" not in name}
    assert tops == {
        "tilbench",
        "tilbench_leaderboard",
        *(path.parent.name for path in (root / "plugins").glob("*/__init__.py")),
    }
    expected = [path.relative_to(root / "plugins").as_posix() for path in (root / "plugins").glob("*/data/**/*.jsonl")]
    expected += [f"tilbench/suites/{path.name}" for path in (root / "suites").glob("*.yaml")]
    expected += [
        path.relative_to(root / "core").as_posix() for path in (root / "core" / "tilbench" / "data").glob("*.py")
    ]
    assert set(expected) <= set(names)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("place", "line", "contract"),
    [
        ("core/tilbench/scoring/planted.py", "import tilbench_kazakh", "The core imports no plugin"),
        ("core/tilbench/data/planted.py", "import tilbench.evaluation.plan", "imports point down"),
        ("plugins/tilbench_kazakh/planted.py", "import tilbench_turkish", "Plugins do not import each other"),
    ],
)
def test_a_planted_violation_is_caught(root: Path, tmp_path: Path, place: str, line: str, contract: str) -> None:
    copy = tmp_path / "copy"
    for folder in ("core", "plugins", "leaderboard"):
        for source in (root / folder).rglob("*.py"):
            target = copy / source.relative_to(root)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(source.read_bytes())
    (copy / "pyproject.toml").write_bytes((root / "pyproject.toml").read_bytes())
    (copy / place).write_text(line + "\n", encoding="utf-8")
    path = ":".join(str(copy / folder) for folder in ("core", "plugins", "leaderboard"))
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "from importlinter.cli import lint_imports_command; lint_imports_command()",
            "--no-cache",
        ],
        cwd=copy,
        env={"PYTHONPATH": path, "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    broken = [text for text in done.stdout.splitlines() if "BROKEN" in text]
    assert any(contract in text for text in broken), done.stdout

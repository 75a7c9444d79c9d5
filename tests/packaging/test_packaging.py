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


def test_the_project_file_is_readable(root: Path) -> None:
    lines = (root / "pyproject.toml").read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if len(line) > 120] == []


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

"""The workflows run what a developer runs, on the Python versions that the metadata names."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import yaml

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE))
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def jobs(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))["jobs"]
    return found


def commands(name: str) -> dict[str, list[str]]:
    """Return the commands of each job of a workflow."""
    found = jobs(ROOT / ".github" / "workflows" / f"{name}.yml")
    return {job: [step["run"] for step in each["steps"] if "run" in step] for job, each in found.items()}


def supported() -> list[str]:
    return re.findall(r"Python :: (3\.\d+)", "\n".join(PROJECT["project"]["classifiers"]))


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_runs_make_targets_and_actions_of_a_major_version(path: Path) -> None:
    for job in jobs(path).values():
        for step in job["steps"]:
            if "uses" in step:
                assert re.fullmatch(r"actions/[a-z-]+@v\d+", step["uses"])
            else:
                make, target = step["run"].split()
                assert make == "make"
                assert target in TARGETS
    assert "://" not in path.read_text(encoding="utf-8")


def test_changes_are_linted_and_tested_on_the_oldest_and_newest_python_and_the_rest_runs_at_night() -> None:
    assert commands("checks") == {"lint": ["make lint"], "test": ["make test"]}
    assert commands("nightly") == {"long": ["make test-long"], "coverage": ["make coverage"]}
    for path in WORKFLOWS:
        for job in jobs(path).values():
            if "strategy" in job:
                assert job["strategy"]["matrix"]["python"] == [supported()[0], supported()[-1]]
    gate = (ROOT / ".ci" / "run").read_text(encoding="utf-8") if (ROOT / ".ci").is_dir() else "make lint\nmake test\n"
    assert re.findall(r"^make \S+$", gate, flags=re.MULTILINE) == ["make lint", "make test"]


def test_the_metadata_name_every_python_that_they_allow() -> None:
    versions = supported()
    oldest, newest = versions[0], versions[-1]
    minors = [int(version.partition(".")[2]) for version in versions]
    assert minors == list(range(minors[0], minors[-1] + 1))
    assert PROJECT["project"]["requires-python"] == f">={oldest},<3.{minors[-1] + 1}"
    assert PROJECT["tool"]["ruff"]["target-version"] == f"py{oldest.replace('.', '')}"
    assert f"Python {oldest} to {newest}" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_coverage_has_a_floor() -> None:
    assert PROJECT["tool"]["coverage"]["report"]["fail_under"] >= 80


def test_no_property_test_has_a_deadline() -> None:
    assert hypothesis.settings().deadline is None
    here = Path(__file__)
    own = [path for path in (ROOT / "tests").rglob("*.py") if re.search(r"\bdeadline=", path.read_text("utf-8"))]
    assert [path for path in own if path != here] == [ROOT / "tests" / "conftest.py"]

"""JSON Schemas of suites, model specs and languages: they are the code's, and say what the code says of a file."""

from __future__ import annotations

import json
import re
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from jsonschema import Draft202012Validator

from tilbench.cli import cli
from tilbench.config.model import Recipe
from tilbench.config.suite import load_suite
from tilbench.errors import ConfigError
from tilbench.loader import load_plugins
from tilbench.resolve.schemas import SCHEMAS, schema_text

ROOT = Path(__file__).parents[2]
SUITES = sorted((ROOT / "suites").glob("*.yaml"))
LANGUAGES = sorted(path for path in (ROOT / "plugins").rglob("*.yaml") if "\ntag:" in path.read_text(encoding="utf-8"))
SPECS = sorted({*(ROOT / "plugins").rglob("*.yaml")} - {*LANGUAGES})
FILES = [("suite", path) for path in SUITES]
FILES += [("model", path) for path in SPECS] + [("language", path) for path in LANGUAGES]


def schema(kind: str) -> Any:
    return json.loads((ROOT / "schemas" / f"{kind}.json").read_text(encoding="utf-8"))


def validator(kind: str) -> Draft202012Validator:
    return Draft202012Validator(schema(kind))


@pytest.mark.parametrize("kind", SCHEMAS)
def test_the_schemas_in_the_repository_are_those_of_the_code(kind: str) -> None:
    names = sorted(folder.parent.name for folder in (ROOT / "plugins").glob("tilbench_*/__init__.py"))
    points = [(EntryPoint(name.removeprefix("tilbench_"), name, "tilbench"), "tilbench") for name in names]
    written = (ROOT / "schemas" / f"{kind}.json").read_text(encoding="utf-8")
    assert written == schema_text(kind, load_plugins(entry_points=points).registry), "run: make schemas"
    Draft202012Validator.check_schema(json.loads(written))


def test_there_are_files_of_every_kind() -> None:
    assert len(SUITES) > 10
    assert len(SPECS) > 5
    assert len(LANGUAGES) > 5


@pytest.mark.parametrize(("kind", "path"), FILES, ids=lambda each: each.name if isinstance(each, Path) else each)
def test_a_shipped_file_is_valid_and_names_its_schema(kind: str, path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    named = re.match(r"# yaml-language-server: \$schema=(\S+)\n", text)
    assert named
    assert (path.parent / named[1]).resolve() == ROOT / "schemas" / f"{kind}.json"
    assert not list(validator(kind).iter_errors(yaml.safe_load(text)))


GOOD: dict[str, Any] = {"name": "s", "tasks": [{"name": "t", "metric": "bpb", "dataset": "text/kk/heldout"}]}
TASK: dict[str, Any] = GOOD["tasks"][0]


def task(**fields: Any) -> dict[str, Any]:
    return {**GOOD, "tasks": [{**TASK, **fields}]}


@pytest.mark.parametrize(
    "data",
    [
        GOOD,
        task(metric="theirs", settings={"anything": 1}, dataset="their/data", language="xx-Latn"),
        task(dataset={"path": "a.jsonl", "kind": "questions", "columns": {"choices": ["a", "b"]}}),
        task(over={"a": ["x", 2], "b": [{"c": 8}], "n": [3]}, name="t-$a", limit="$n", settings={"window": "$b.c"}),
        task(metric="choice", settings={"form": "cloze"}, limit=None),
        {"name": "s", "lm_eval": ["arc_easy", {"task": "copa", "limit": 3}]},
        {
            "name": "s",
            "defaults": {"metric": "choice", "dataset": "d", "settings": {"form": "cloze"}},
            "tasks": [{"name": "a"}, {"name": "b"}],
            "macros": [
                {"name": "m", "tasks": ["a", "b*"], "value": "acc"},
                {"name": "n", "tasks": ["*"], "value": "acc"},
            ],
        },
    ],
)
def test_what_the_code_reads_is_valid(tmp_path: Path, data: dict[str, Any]) -> None:
    assert not list(validator("suite").iter_errors(data))
    (tmp_path / "s.yaml").write_text(yaml.safe_dump(data), encoding="utf-8")
    load_suite(tmp_path / "s.yaml")


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        ("suite", {**GOOD, "name": "Not a name"}),
        ("suite", {**GOOD, "taks": []}),
        ("suite", {**GOOD, "train": "sometimes"}),
        ("suite", {"tasks": [TASK]}),
        ("suite", {"name": "s", "tasks": [{"name": "t", "dataset": "d"}]}),
        ("suite", {"name": "s", "defaults": {"language": "kk-Cyrl"}, "tasks": [{"name": "t", "dataset": "d"}]}),
        ("suite", {**GOOD, "defaults": {"limt": 3}}),
        ("suite", {**GOOD, "defaults": {"limit": "three"}}),
        ("suite", task(limits=3)),
        ("suite", task(limit=0)),
        ("suite", task(dataset={"path": "a", "kind": "question"})),
        ("suite", task(metric="bpb", settings={"windows": 3})),
        ("suite", task(metric="choice", settings={"form": "letters"})),
        ("suite", task(over=["a"])),
        ("suite", task(over={"a": []})),
        ("suite", task(over={"A": ["x"]})),
        ("suite", task(over={"a": ["x"]}, limit="x$a")),
        ("suite", {**GOOD, "macros": [{"name": "m", "tasks": ["t", "u"]}]}),
        ("model", {"title": None}),
        ("model", {"architecture": {"name": "llama", "config": {"layer": 2}}}),
        ("model", {"recipe": {"steps": "many"}}),
        ("model", {"variants": {"tiny": {"recipe": {"step": 3}}}}),
        ("model", {"variants": {"tiny": {"data": [{"weight": 1}]}}}),
        ("language", {"cues": {"passage": "P"}}),
        ("language", {"cue": {}}),
    ],
)
def test_what_is_wrong_is_invalid(tmp_path: Path, kind: str, data: dict[str, Any]) -> None:
    if kind == "suite" and "settings" not in data.get("tasks", [{}])[0]:  # settings are read when a task is planned
        path = tmp_path / "s.yaml"
        path.write_text(yaml.safe_dump(data), encoding="utf-8")
        with pytest.raises(ConfigError):
            load_suite(path)
    if kind != "suite":
        shipped = yaml.safe_load((SPECS if kind == "model" else LANGUAGES)[0].read_text(encoding="utf-8"))
        data = {**shipped, **data}
    assert list(validator(kind).iter_errors(data))


def test_a_schema_says_what_fields_mean_and_what_they_are_by_default() -> None:
    definitions = schema("model")["$defs"]
    recipe = definitions["Recipe"]["properties"]["trainer"]
    assert recipe["default"] == Recipe.model_fields["trainer"].default
    assert "pretrain" in definitions["TrainerName"]["examples"]
    assert definitions["Data"]["properties"]["split"]["enum"] == ["none", "blank_lines"]
    assert "hash of their ids" in definitions["Data"]["properties"]["validation_ratio"]["description"]
    task = schema("suite")["$defs"]["Task"]["properties"]
    assert task["shots"]["description"] == "Solved examples shown before each question."
    assert task["truncation"]["enum"] == ["allow", "error"]


def test_the_command_writes_a_file_or_prints(tmp_path: Path) -> None:
    out = tmp_path / "suite.json"
    printed = CliRunner().invoke(cli, ["schema", "suite"], catch_exceptions=False)
    written = CliRunner().invoke(cli, ["schema", "suite", "--out", str(out)], catch_exceptions=False)
    assert written.output == f"wrote {out}\n"
    assert json.loads(printed.output) == json.loads(out.read_text(encoding="utf-8"))

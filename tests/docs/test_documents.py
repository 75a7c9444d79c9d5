"""The documents are true: every command in the README runs, in order, as a newcomer would type it."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml

from tilbench.config.suite import Macro, Suite, Task
from tilbench.config.yaml import load
from tilbench.data.dataset import Dataset
from tilbench.loader import Host

ROOT = Path(__file__).parents[2]
_NOT_HERE = re.compile(r"make |pip install -c ")
"""Commands that set up an environment; the packaging tests and the demo cover them."""


def blocks(document: str, language: str) -> list[str]:
    text = (ROOT / document).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)


def commands(document: str, taken: bool = False) -> list[str]:
    """Return the commands of a document; taken: its example language is installed here, so take another."""
    lines = [line for block in blocks(document, "sh") for line in block.splitlines()]
    if taken:
        renamed = (("ba-Cyrl", "qab-Cyrl"), ("Bashkir", "Zzyzx"), ("bashkir", "zzyzx"))
        for old, new in renamed:
            lines = [line.replace(old, new) for line in lines]
    return [line for line in lines if line and not _NOT_HERE.match(line)]


def run(folder: Path, *arguments: str) -> str:
    command = [sys.executable, "-m", "tilbench", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    return done.stdout


@pytest.mark.long
def test_every_command_of_the_readme_runs_in_order(tmp_path: Path, host: Host) -> None:
    site, checkout = tmp_path / "site", tmp_path / "checkout"
    checkout.mkdir()
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(site)}
    (checkout / "suites").symlink_to(ROOT / "suites")
    plugins = {plugin.name for plugin in host.plugins}
    lines = commands("README.md", taken="bashkir" in plugins or "ba-Cyrl" in host.registry.languages)
    assert len(lines) > 10
    for line in lines:
        words = shlex.split(line)
        if words[:2] == ["pip", "install"]:  # into a folder of the test's own, from what is installed already
            words = [*words[:2], "--quiet", "--no-deps", "--no-build-isolation", "--target", str(site), words[-1]]
        done = subprocess.run(words, cwd=checkout, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{line}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    assert not [each for each in checkout.iterdir() if each.name.startswith("tilbench-")]
    for code in blocks("README.md", "python"):
        words = [sys.executable, "-W", "ignore", "-c", code]
        done = subprocess.run(words, cwd=checkout, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{code}\n{done.stderr[-2000:]}"
        assert done.stdout.strip(), code


def test_the_readme_writes_new_plugins_outside_the_checkout() -> None:
    made = [shlex.split(line) for line in commands("README.md") if line.startswith("tilbench new ")]
    assert made
    for words in made:
        assert words[words.index("--out") + 1].startswith("../")


def test_the_dataset_of_the_contributing_guide_works(tmp_path: Path) -> None:
    (code,) = [code for code in blocks("CONTRIBUTING.md", "python") if "def register_datasets" in code]
    (tmp_path / "my_plugin.py").write_text(code, encoding="utf-8")
    assert "news.jsonl" in run(tmp_path, "--plugin", "my_plugin.py", "show", "my/news")


def test_the_language_of_the_contributing_guide_is_what_tilbench_new_writes(tmp_path: Path) -> None:
    (code,) = [code for code in blocks("CONTRIBUTING.md", "python") if "language_plugin" in code]
    run(tmp_path, "new", "language", "ba-Cyrl", "--name", "Bashkir", "--out", "made")
    written = (tmp_path / "made" / "src" / "tilbench_bashkir" / "__init__.py").read_text(encoding="utf-8")
    assert written.endswith(code)


def test_the_metric_of_the_contributing_guide_works(tmp_path: Path) -> None:
    (code,) = [code for code in blocks("CONTRIBUTING.md", "python") if "register_metrics" in code]
    (tmp_path / "my_metric.py").write_text(code, encoding="utf-8")
    checked = json.loads(run(tmp_path, "--plugin", "my_metric.py", "check", "bpc", "--json"))
    assert len(checked) > 5
    assert {each["status"] for each in checked} == {"pass"}
    (tmp_path / "text.txt").write_text("қазақ\n\ntili\n", encoding="utf-8")
    suite = {"name": "mine", "tasks": [{"name": "bpc", "metric": "bpc", "dataset": "text.txt"}]}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(suite), encoding="utf-8")
    run(tmp_path, "--plugin", "my_metric.py", "run", "mine.yaml", "--models", "uniform-bytes")
    (record,) = records(tmp_path)
    assert record["values"]["bpc"]["value"] == pytest.approx(8 * 14 / 9)  # 14 bytes, 9 characters


def records(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted((folder / "records").rglob("*.json"))]


def own_files(folder: Path) -> None:
    """Write what the example of docs/suites.md speaks of."""
    texts = ["Bugün hava çok güzel.", "Kardeşim okula gitti.", "Akşam yemeğinde çorba içtik."]
    (folder / "metinler.txt").write_text("\n\n".join(texts), encoding="utf-8")
    for name, first in (("sorular", 2), ("ornekler", 7)):
        rows = [
            {"soru": f"{n} + {n} kaç eder?", "a": str(2 * n - 1), "b": str(2 * n), "c": str(2 * n + 1), "cevap": "B"}
            for n in range(first, first + 4)
        ]
        lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
        (folder / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")


def test_the_suite_of_the_documents_runs(tmp_path: Path) -> None:
    example, _ = blocks("docs/suites.md", "yaml")
    (tmp_path / "my-turkish.yaml").write_text(example, encoding="utf-8")
    own_files(tmp_path)
    run(tmp_path, "run", "my-turkish.yaml", "--dry-run")
    run(tmp_path, "run", "my-turkish.yaml")
    found = {(each["task"]["name"], each["model"]["name"]): each for each in records(tmp_path)}
    for model in ("uniform-bytes", "ngram", "xz"):
        assert found["bpb", model]["status"] == "done", found["bpb", model]
    for task in ("exam-letter", "exam-cloze"):
        assert found[task, "ngram"]["status"] == "done", found[task, "ngram"]
        assert found[task, "xz"]["status"] == "n/a"
    assert found["bpb", "uniform-bytes"]["values"]["bpb"]["value"] == pytest.approx(8)
    assert found["exam-letter", "ngram"]["values"]["acc"]["n"] == 4


def test_the_short_forms_of_the_documents_stand_for_thirteen_tasks(tmp_path: Path) -> None:
    _, example = blocks("docs/suites.md", "yaml")
    path = tmp_path / "exams.yaml"
    path.write_text(example, encoding="utf-8")
    suite = load(path, Suite)
    assert len(suite.tasks) == 13
    assert suite.tasks[4].name == "kazmmlu-kazakh-history-cloze"
    assert suite.tasks[4].settings == {"form": "cloze"}
    assert [task.language for task in suite.tasks[-2:]] == ["tr-Latn", "it-Latn"]
    assert len(suite.macros[0].tasks) == 5


def test_the_renamed_columns_of_the_documents_work(tmp_path: Path) -> None:
    (row,) = blocks("docs/data.md", "json")
    (written,) = blocks("docs/data.md", "yaml")
    (tmp_path / "sorular.jsonl").write_text(row, encoding="utf-8")
    task = {"name": "mine", "metric": "choice", **yaml.safe_load(written)}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump({"name": "mine", "tasks": [task]}), encoding="utf-8")
    shown = run(tmp_path, "run", "mine.yaml", "--models", "uniform-bytes", "--dry-run")
    assert "B) Ankara" in shown


@pytest.mark.slow
def test_the_commands_of_the_export_document_run(tmp_path: Path) -> None:
    sets = ("recipe.steps=1", "recipe.evaluate=null", "tokenizer={family: bytes}", "data=[{dataset: text/tr/train}]")
    run(tmp_path, "train", "turkish-v1:tiny", "--out", "runs/a", *(part for each in sets for part in ("--set", each)))
    lines = commands("docs/export.md")
    assert len(lines) > 2
    for line in lines:
        words = shlex.split(line)
        run(tmp_path, *words[1:])
        assert any((tmp_path / words[words.index("--out") + 1]).iterdir())


def test_the_documents_name_every_field_and_setting(host: Host) -> None:
    text = (ROOT / "docs/suites.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`([a-z_]+)`", text))
    for schema in (Suite, Task, Macro):
        assert {*schema.model_fields, *schema.short_forms} <= named, schema
    assert {field.name for field in fields(Dataset)} <= named
    for metric in ("bpb", "choice", "fertility", "probe", "behavior"):
        settings = host.registry.metrics.get(metric).Settings
        assert {metric, *settings.model_fields} <= named, metric


@pytest.mark.parametrize(
    "document", ["README.md", "CONTRIBUTING.md", "docs/data.md", "docs/export.md", "docs/release.md", "docs/suites.md"]
)
def test_every_link_and_module_named_exists(document: str) -> None:
    path = ROOT / document
    text = path.read_text(encoding="utf-8")
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", text):
        assert (path.parent / target).exists(), target
    for named in re.findall(r"`((?:core|plugins|suites|leaderboard|docs)/[\w/.-]+)`", text):
        assert (ROOT / named).exists(), named

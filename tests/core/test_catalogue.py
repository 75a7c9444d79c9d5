"""`tilbench show DATASET`: what a run would read, from where, or how to get it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tilbench.loader import Host

Tilbench = Callable[..., Any]


def write(path: Path, *rows: dict[str, Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def shown(tilbench: Tilbench, *arguments: str | Path) -> dict[str, Any]:
    done = tilbench("show", *arguments, "--json")
    assert done.status == 0, done.err
    found: dict[str, Any] = json.loads(done.out)
    return found


def test_a_registered_dataset_shows_its_rows(host: Host, tilbench: Tilbench) -> None:
    name = next(each for each in host.registry.datasets.names() if host.registry.datasets.get(each).package)
    dataset = host.registry.datasets.get(name)
    found = shown(tilbench, name)
    assert (found["origin"], found["kind"]) == (f"{dataset.package}/{dataset.file}", dataset.kind)
    assert found["rows"] > 1
    assert found["first_row"]["id"]


def test_the_data_directory_comes_first(host: Host, tilbench: Tilbench, tmp_path: Path) -> None:
    name = next(each for each in host.registry.datasets.names() if host.registry.datasets.get(each).kind == "documents")
    file = write(tmp_path / f"{name}.jsonl", {"text": "one"}, {"text": "two"})
    found = shown(tilbench, name, "--data", tmp_path)
    assert (found["origin"], found["rows"], found["first_row"]["text"]) == (str(file), 2, "one")


def test_a_dataset_that_nobody_registered(tilbench: Tilbench, tmp_path: Path) -> None:
    file = write(tmp_path / "mine/exam.jsonl", {"question": "2 + 2 = ?", "choices": ["3", "4"], "answer": 1})
    found = shown(tilbench, "mine/exam", "--data", tmp_path)
    assert (found["kind"], found["origin"], found["rows"]) == ("questions", str(file), 1)
    assert found["first_row"]["choices"] == ["3", "4"]
    assert shown(tilbench, file)["rows"] == 1  # by its path
    done = tilbench("show", "mine/exam", "--data", tmp_path)
    assert "origin: " in done.out
    assert "rows: 1" in done.out
    assert "2 + 2 = ?" in done.out
    assert tilbench("show", "mine/exams", "--data", tmp_path).status == 2
    assert tilbench("show", "mine/exam", "--kind", "models", "--data", tmp_path).status == 2


def test_long_texts_are_cut_for_people_only(tilbench: Tilbench, tmp_path: Path) -> None:
    write(tmp_path / "long.jsonl", {"text": "word " * 500})
    assert "…" in tilbench("show", "long", "--data", tmp_path).out
    assert len(shown(tilbench, "long", "--data", tmp_path)["first_row"]["text"]) == 2500


SOURCES = {
    "nowhere": "Dataset(kind='documents')",
    "a-path": "Dataset(kind='documents', path='no/such.jsonl')",
    "the-hub": "Dataset(kind='documents', hub='org/corpus', config='kk', split='test')",
}
PLUGIN = """
from tilbench import hookimpl
from tilbench.data.dataset import Dataset


@hookimpl
def register_datasets(register):
    register("my/text", {source}, summary="texts of mine")
"""


@pytest.mark.parametrize("source", SOURCES)
def test_a_missing_dataset_is_still_described(
    source: str, tilbench: Tilbench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plugin = tmp_path / "plugin.py"
    plugin.write_text(PLUGIN.format(source=SOURCES[source]), encoding="utf-8")
    monkeypatch.setenv("TILBENCH_PLUGINS", str(plugin))
    found = shown(tilbench, "my/text")
    assert found["summary"] == "texts of mine"
    assert found["rows"].count("not on this machine") == 1
    assert "--data" in found["rows"]
    assert "first_row" not in found
    (tmp_path / "data").mkdir()
    assert "not on this machine" in tilbench("show", "my/text", "--data", tmp_path / "data").out
    write(tmp_path / "data/my/text.jsonl", {"text": "here"})
    assert shown(tilbench, "my/text", "--data", tmp_path / "data")["rows"] == 1


def test_a_dataset_of_the_hub_is_found_by_its_id(
    tilbench: Tilbench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plugin = tmp_path / "plugin.py"
    plugin.write_text(PLUGIN.format(source=SOURCES["the-hub"]), encoding="utf-8")
    monkeypatch.setenv("TILBENCH_PLUGINS", str(plugin))
    file = write(tmp_path / "org/corpus/kk/test.jsonl", {"text": "here"})
    assert shown(tilbench, "my/text", "--data", tmp_path)["origin"] == str(file)

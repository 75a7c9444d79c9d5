"""A model whose files refer to others is another model when those change: its fingerprint, its records, its merge."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file, save_file

from tilbench.checkpoints.folder import checkpoint_fingerprint, read_info
from tilbench.cli import cli
from tilbench.errors import CheckpointError
from tilbench.kinds.language_model import OpenOptions
from tilbench.publish.export import export
from tilbench.publish.merge import merge
from tilbench.resolve.models import find_model
from tilbench.resolve.tokenizers import load_tokenizer

from .bases import REGISTRY, answers, published, tuned

SUITE = """
name: text
version: 1
title: Text
summary: One text
tasks:
  - {name: text, metric: bpb, dataset: {path: text.txt, kind: documents}, language: en-Latn}
"""


def fingerprint(reference: Path) -> str:
    options = OpenOptions(load_tokenizer=lambda name: load_tokenizer(name, REGISTRY))
    return find_model(str(reference), REGISTRY, Path("runs")).card(options).fingerprint


def change(folder: Path) -> None:
    """Give a model other weights."""
    file = folder / "model.safetensors"
    weights = {name: each + 0.1 * torch.randn_like(each) for name, each in load_file(file).items()}
    save_file(weights, file, {"format": "pt"})


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with `base` and the run `run` of an adapter on it."""
    folder = tmp_path_factory.mktemp("trained")
    tuned(published(folder / "base"), folder / "run")
    return folder


@pytest.fixture
def both(trained: Path, tmp_path: Path) -> Path:
    """Return a copy of it whose adapter belongs to the base beside it."""
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
    for file in tmp_path.glob("run/step-*/adapter_config.json"):
        settings = json.loads(file.read_text()) | {"base_model_name_or_path": str(tmp_path / "base")}
        file.write_text(json.dumps(settings))
    return tmp_path


def test_the_records_of_an_adapter_are_those_of_its_base_too(both: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(both)
    (both / "suite.yaml").write_text(SUITE)
    (both / "text.txt").write_text("The sky is blue, and the sea is deep.\n")
    command = ["run", "suite.yaml", "--models", "run", "--out", "records"]
    assert "1 results new, 0 already there" in CliRunner().invoke(cli, command).output
    assert "0 results new, 1 already there" in CliRunner().invoke(cli, command).output
    change(both / "base")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        again = CliRunner().invoke(cli, command)
    assert "1 results new, 0 already there" in again.output, again.output
    assert len(list(both.glob("records/*/*/*.json"))) == 2


def test_the_change_is_said_and_nothing_is_merged_or_exported(both: Path) -> None:
    last = both / "run" / "step-00000002"
    assert read_info(merge(str(last), both / "merged", REGISTRY)).base_weights == ""
    before = answers(last)
    change(both / "base")
    with pytest.warns(UserWarning, match=r"the base .*base has other weights than those that the adapter was trained"):
        assert answers(last) != before
    with pytest.raises(CheckpointError, match="has other weights than those that the adapter was trained on; put"):
        merge(str(last), both / "again", REGISTRY)
    with pytest.raises(CheckpointError, match="has other weights than those that the adapter was trained on; put"):
        export(str(last), "transformers", both / "exported", REGISTRY)


def test_what_is_no_weight_changes_the_fingerprint_and_is_no_reason_to_refuse(both: Path) -> None:
    last, before = both / "run" / "step-00000002", fingerprint(both / "run")
    (both / "base" / "generation_config.json").write_text('{"max_new_tokens": 3}')
    assert fingerprint(both / "run") != before
    merge(str(last), both / "merged", REGISTRY)


def test_an_adapter_of_peft_alone_too(both: Path) -> None:
    folder = both / "run" / "step-00000002"
    (folder / "tilbench.json").unlink()
    before = fingerprint(folder)
    assert fingerprint(folder) == before
    change(both / "base")
    assert fingerprint(folder) != before


def refer_to_base(name: str) -> Callable[[Path], Path]:
    def made(root: Path) -> Path:
        (root / "model" / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": name}))
        (root / "other").mkdir()
        return root / "other" / "model.safetensors"

    return made


def refer_by_index(root: Path) -> Path:
    index = {"weight_map": {"a": "../shards/one.safetensors", "b": "two.safetensors"}}
    (root / "model" / "model.safetensors.index.json").write_text(json.dumps(index))
    (root / "shards").mkdir()
    return root / "shards" / "one.safetensors"


def refer_to_tokenizer(root: Path) -> Path:
    (root / "model" / "tokenizer_config.json").write_text(json.dumps({"vocab_file": str(root / "vocabulary.json")}))
    return root / "vocabulary.json"


@pytest.mark.parametrize(
    "refer",
    [
        *(refer_to_base("../other"), refer_to_base("{root}/other"), refer_to_base("other")),
        *(refer_by_index, refer_to_tokenizer),
    ],
    ids=["beside", "absolute", "from-here", "index", "tokenizer"],
)
def test_every_file_that_is_referred_to_is_in_the_fingerprint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refer: Callable[[Path], Path]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model").mkdir()
    file = refer(tmp_path)
    settings = tmp_path / "model" / "adapter_config.json"
    if settings.is_file():
        settings.write_text(settings.read_text().replace("{root}", str(tmp_path)))
    file.write_text("one")
    before = checkpoint_fingerprint(tmp_path / "model")
    assert checkpoint_fingerprint(tmp_path / "model") == before
    file.write_text("two")
    assert checkpoint_fingerprint(tmp_path / "model") != before


def test_a_circle_of_references_ends(tmp_path: Path) -> None:
    for name, other in (("one", "two"), ("two", "one")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": f"../{other}"}))
    assert checkpoint_fingerprint(tmp_path / "one") != checkpoint_fingerprint(tmp_path / "two")

"""A folder that cannot be scored is one line: its name, what is wrong with it, and what to do. Other models go on."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.plugins.test_huggingface import make
from transformers import T5Config, T5ForConditionalGeneration

from tilbench.cli import cli

SUITE = """
name: bad
tasks:
  - name: bits
    metric: bpb
    dataset: {kind: documents, language: en-Latn, path: texts.jsonl}
"""
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n"


def weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], Any]) -> None:
    """Change the stored weights."""
    found = load_file(folder / "model.safetensors")
    change(found)
    save_file(found, folder / "model.safetensors", metadata={"format": "pt"})


def config(folder: Path, **fields: Any) -> None:
    """Change fields of config.json; None removes one."""
    path = folder / "config.json"
    content = {**json.loads(path.read_text()), **fields}
    path.write_text(json.dumps({name: value for name, value in content.items() if value is not None}))


def with_nan(folder: Path) -> None:
    weights(folder, lambda found: found["model.layers.1.mlp.up_proj.weight"].view(-1)[7].fill_(float("nan")))


def with_integers(folder: Path) -> None:
    weights(folder, lambda found: found.update({"model.norm.weight": torch.ones(32, dtype=torch.int32)}))


def encoder_decoder(folder: Path) -> None:
    small = T5Config(d_model=16, d_kv=4, d_ff=32, num_layers=1, num_heads=2, vocab_size=300)
    T5ForConditionalGeneration(small).save_pretrained(folder)


def bidirectional(folder: Path) -> None:
    config(folder, model_type="vit")


def pointer(name: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_text(POINTER)


def gguf(folder: Path) -> None:
    for file in folder.iterdir():
        file.unlink()
    (folder / "model-q4.gguf").write_bytes(b"GGUF\x03\x00\x00\x00")


def without_tokenizer(folder: Path) -> None:
    for file in folder.glob("tokenizer*"):
        file.unlink()


def without_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def elsewhere(folder: Path) -> None:
    """Put the weights beside the folder, and an index that names them there."""
    names = list(load_file(folder / "model.safetensors"))
    shutil.move(folder / "model.safetensors", folder.parent / "outside.safetensors")
    index = {"metadata": {}, "weight_map": dict.fromkeys(names, "../outside.safetensors")}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def cut_short(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])


BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "nan": (with_nan, "1 of the 2,048 values of model.layers.1.mlp.up_proj.weight are not finite"),
    "integers": (with_integers, "model.norm.weight is stored as integers; save it as fp32"),
    "encoder-decoder": (encoder_decoder, "t5 is an encoder–decoder"),
    "not of text": (bidirectional, "no causal language model of type vit"),
    "pointer to weights": (pointer("model.safetensors"), "model.safetensors is a Git LFS pointer"),
    "pointer to a tokenizer": (pointer("tokenizer.json"), "tokenizer.json is a Git LFS pointer"),
    "gguf": (gguf, "GGUF is llama.cpp's format"),
    "no tokenizer": (without_tokenizer, "has no tokenizer; copy"),
    "no weights": (without_weights, "has no weights: neither model.safetensors nor"),
    "weights elsewhere": (elsewhere, "outside.safetensors, which is not beside it"),
    "cut short": (cut_short, "incomplete or damaged"),
    "no model type": (lambda folder: config(folder, model_type=None), "its config.json has no model_type"),
    "no config": (lambda folder: (folder / "config.json").unlink(), "weights without a config.json"),
}


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    """Score models on one document; return status, standard error and the names of the models with records."""
    monkeypatch.chdir(tmp_path)
    Path("suite.yaml").write_text(SUITE)
    Path("texts.jsonl").write_text('{"id": "1", "text": "A school is large and has many books."}\n')

    def scored(*models: str, dry: bool = False) -> tuple[int, str, set[str]]:
        from tilbench.errors import TilbenchError

        arguments = ["run", "suite.yaml", "--models", ",".join(models), "--out", "out", *(["--dry-run"] if dry else [])]
        try:
            status = cli.main(arguments, standalone_mode=False) or 0
            said = ""
        except TilbenchError as error:
            status, said = 2, f"error: {error}"
        names = {json.loads(file.read_text())["model"]["name"] for file in Path("out").glob("bad/*/*.json")}
        written = capsys.readouterr()
        return status, (" ".join(written.out.split()) if dry else written.err) + said, names

    return scored


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", BAD)
def test_a_bad_folder_is_one_line_and_the_others_are_scored(run: Callable[..., Any], kind: str) -> None:
    spoil, message = BAD[kind]
    make(Path("good"), "llama")
    make(Path("spoiled"), "llama")
    spoil(Path("spoiled"))
    status, said, names = run("./spoiled", "./good")
    (line,) = [line for line in said.splitlines() if line.startswith("error:")]
    assert "spoiled" in line
    assert message in line
    assert (status, names) == (1, {"./good"})
    status, said, names = run("./spoiled")
    assert status == 2
    assert message in said


@pytest.mark.filterwarnings("ignore")
def test_a_dry_run_opens_every_card(run: Callable[..., Any]) -> None:
    make(Path("good"), "llama")
    make(Path("spoiled"), "llama")
    without_tokenizer(Path("spoiled"))
    status, said, names = run("./spoiled", "./good", "./nowhere", dry=True)
    assert (status, names) == (1, set())
    assert "spoiled has no tokenizer" in said
    assert "./nowhere: no such folder" in said
    assert run("./good", dry=True)[0] == 0

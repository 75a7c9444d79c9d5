"""What is wrong is said in one line with status 2 before anything is written; what is only unusual is scored."""

from __future__ import annotations

import contextlib
import json
import math
import os
import resource
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest
import torch
from safetensors.torch import load_file, save_file

from tilbench.loader import Host

Tilbench = Callable[..., Any]
Damage = Callable[[Path], object]

SUITE = """
name: small
tasks:
  - {name: bpb, metric: bpb, dataset: DATA, language: kk-Cyrl}
  - {name: absent, metric: bpb, dataset: {hub: nobody/nothing, kind: documents}, language: kk-Cyrl}
"""
EXAM = SUITE.replace("metric: bpb, dataset: DATA", "metric: choice, dataset: DATA").split("  - {name: absent")[0]
QUESTION = {"id": "q1", "question": "Екі жерде екі?", "choices": ["үш", "төрт"], "answer": 1}


def write_suite(folder: Path, text: str = SUITE, data: str | Path = "text/kk/heldout") -> Path:
    path = folder / "small.yaml"
    path.write_text(text.replace("DATA", str(data)), "utf-8")
    return path


def tree(folder: Path) -> list[str]:
    return sorted(str(path) for path in folder.rglob("*"))


def refused(tilbench: Tilbench, folder: Path, suite: Path, says: str, *more: str | Path) -> None:
    """The run ends with status 2 and one line, and not one file or folder has been added."""
    before = tree(folder)
    outcome = tilbench("run", suite, "--out", folder / "records", *more)
    assert (outcome.status, outcome.out) == (2, ""), outcome.err
    assert says in outcome.err
    assert outcome.err.startswith("error: ")
    assert outcome.err.count("\n") == 1
    assert tree(folder) == before


def weights(change: Callable[[dict[str, torch.Tensor]], object]) -> Damage:
    """Damage that is done to the tensors of a folder."""

    def damage(folder: Path) -> None:
        file = folder / "model.safetensors"
        tensors = load_file(file)
        change(tensors)
        save_file(tensors, file, metadata={"format": "pt"})

    return damage


def changed_json(name: str, **fields: Any) -> Damage:
    """Damage that is done to fields of a JSON file."""

    def damage(folder: Path) -> None:
        file = folder / name
        file.write_text(json.dumps({**json.loads(file.read_text("utf-8")), **fields}), "utf-8")

    return damage


def cut(name: str) -> Damage:
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:-100])


def junk(name: str) -> Damage:
    return lambda folder: (folder / name).write_bytes(b"\xff\x00 not what it was" * 20)


def widen(tensors: dict[str, torch.Tensor]) -> None:
    name, tensor = next((name, tensor) for name, tensor in tensors.items() if tensor.ndim == 2)
    tensors[name] = torch.cat([tensor, tensor])


def small_embedding(folder: Path) -> None:
    """Leave 100 rows of the embedding, in weights and config alike; the tokenizer keeps its 259 ids."""
    info = json.loads((folder / "tilbench.json").read_text("utf-8"))
    size = info["architecture"]["config"]["vocab_size"]
    info["architecture"]["config"]["vocab_size"] = 100
    (folder / "tilbench.json").write_text(json.dumps(info), "utf-8")
    tensors = load_file(folder / "model.safetensors")
    small = {name: each[:100].clone() if each.shape[0] == size else each for name, each in tensors.items()}
    save_file(small, folder / "model.safetensors")


CHECKPOINTS: dict[str, tuple[Damage, str]] = {
    "missing": (weights(lambda tensors: tensors.popitem()), "does not fit the model: 1 missing ("),
    "extra": (weights(lambda tensors: tensors.update(odd=torch.ones(2))), "does not fit the model: 1 extra (odd)"),
    "misshapen": (weights(widen), "does not fit the model: 1 misshapen ("),
    "truncated": (cut("model.safetensors"), "model.safetensors is incomplete or damaged"),
    "garbage": (junk("model.safetensors"), "or not a safetensors file"),
    "no weights": (lambda folder: (folder / "model.safetensors").unlink(), "no weights at"),
    "small embedding": (small_embedding, "id 258, and the embedding 100 rows; they are not of one model"),
    "info truncated": (cut("tilbench.json"), "tilbench.json: the file: Invalid JSON"),
    "info garbage": (junk("tilbench.json"), "tilbench.json cannot be read"),
    "info of another": (
        changed_json("tilbench.json", tokenizer="byte"),
        "unknown tokenizer family 'byte'; did you mean bytes",
    ),
    "info with more": (changed_json("tilbench.json", odd=1), "tilbench.json: odd: "),
}


@pytest.mark.parametrize("case", CHECKPOINTS)
def test_a_damaged_checkpoint(tmp_path: Path, bytes_run: Path, tilbench: Tilbench, case: str) -> None:
    damage, says = CHECKPOINTS[case]
    checkpoint = shutil.copytree(bytes_run / "step-00000001", tmp_path / "checkpoint")
    damage(checkpoint)
    refused(tilbench, tmp_path, write_suite(tmp_path), says, "--models", checkpoint)


FOLDERS: dict[str, tuple[Damage, str]] = {
    "missing": (weights(lambda tensors: tensors.pop("model.norm.weight")), "missing model.norm.weight"),
    "truncated": (cut("model.safetensors"), "cannot be loaded: a .safetensors file in it is incomplete or damaged"),
    "bos": (changed_json("config.json", bos_token_id=7), "config.json says that bos is token 7, the tokenizer says"),
    "small embedding": (changed_json("config.json", vocab_size=100), "misshapen lm_head.weight 600×48 for 100×48"),
}


@pytest.mark.parametrize("case", FOLDERS)
def test_a_damaged_transformers_folder(
    tmp_path: Path,
    once: Callable[..., Path],
    save_llama: Callable[..., None],
    tilbench: Tilbench,
    case: str,
) -> None:
    damage, says = FOLDERS[case]
    folder = shutil.copytree(once("llama", lambda folder: save_llama(folder)), tmp_path / "llama")
    damage(folder)
    refused(tilbench, tmp_path, write_suite(tmp_path), says, "--models", folder)


def test_a_damaged_checkpoint_leaves_what_an_earlier_model_scored(
    tmp_path: Path, bytes_run: Path, tilbench: Tilbench
) -> None:
    """Models are opened one after another: the first one's records and answers are kept, the second's never begun."""
    checkpoint = shutil.copytree(bytes_run / "step-00000001", tmp_path / "checkpoint")
    junk("model.safetensors")(checkpoint)
    outcome = tilbench(
        "run", write_suite(tmp_path), "--models", f"uniform-bytes,{checkpoint}", "--out", tmp_path / "records"
    )
    assert outcome.status == 1
    (line,) = [line for line in outcome.err.splitlines() if line.startswith("error: ")]
    assert str(checkpoint) in line
    written = {path.name.partition("-bytes-")[0] for path in (tmp_path / "records").rglob("*.*")}
    assert written <= {"uniform", "journal.sqlite", "journal.sqlite-wal", "journal.sqlite-shm"}
    assert "uniform" in written


ROWS: dict[str, tuple[str, bytes, str]] = {
    "no such answer": (EXAM, json.dumps({**QUESTION, "answer": 2}).encode(), "no right answer: 'answer' is 2"),
    "no answer": (EXAM, json.dumps({**QUESTION, "answer": None}).encode(), "no 'answer'"),
    "answer of no letter": (EXAM, json.dumps({**QUESTION, "answer": "Z"}).encode(), "no right answer: 'answer' is 'Z'"),
    "empty choice": (EXAM, json.dumps({**QUESTION, "choices": ["үш", " "]}).encode(), "a choice is empty"),
    "empty text": (SUITE, b'{"id": "a", "text": " \\n"}', "'text' is empty"),
    "no rows": (SUITE, b"", "has no rows"),
    "not UTF-8": (SUITE, b'{"id": "a", "text": "caf\xe9"}', "UTF-8"),
    "no JSON": (SUITE, b'{"id": "a", "text": "x"', "rows.jsonl:1"),
}


@pytest.mark.parametrize("case", ROWS)
def test_a_dataset_that_cannot_be_scored(tmp_path: Path, tilbench: Tilbench, case: str) -> None:
    suite, content, says = ROWS[case]
    (tmp_path / "rows.jsonl").write_bytes(content + b"\n")
    path = write_suite(tmp_path, suite, tmp_path / "rows.jsonl")
    refused(tilbench, tmp_path, path, says, "--models", "uniform-bytes")


@pytest.mark.parametrize(
    ("change", "more", "says"),
    [
        (("name: absent", "name: bpb"), (), "two have the name 'bpb'"),
        (("  - {name: bpb", "\t- {name: bpb"), (), "small.yaml:4: a tab"),
        (("", ""), ("--set", "tasks.0.limits=3"), "did you mean limit?"),
        (("", ""), ("--set", "tsks=3"), "did you mean tasks?"),
        (("", ""), ("--models", "til-mini"), "did you mean til-mini-1b"),
    ],
)
def test_a_fault_in_what_was_asked(
    tmp_path: Path, tilbench: Tilbench, change: tuple[str, str], more: tuple[str, ...], says: str
) -> None:
    suite = write_suite(tmp_path, SUITE.replace(*change))
    refused(tilbench, tmp_path, suite, says, "--models", "uniform-bytes", *more)


def test_a_records_folder_that_is_a_file(tmp_path: Path, tilbench: Tilbench) -> None:
    (tmp_path / "records").write_text("mine", "utf-8")
    refused(tilbench, tmp_path, write_suite(tmp_path), "is a file; records go into a folder", "--models", "xz")
    assert (tmp_path / "records").read_text("utf-8") == "mine"


def test_a_training_whose_tokenizer_is_larger_than_the_embedding(tmp_path: Path, tilbench: Tilbench) -> None:
    asked = ["train", "turkish-v1:tiny", "--set", "data=[{dataset: text/kk/train}]", "--set", "recipe.steps=1"]
    outcome = tilbench(*asked, "--set", "architecture.config.vocab_size=300", "--out", tmp_path / "run")
    assert outcome.status == 2
    assert "the tokenizer has 512 ids and the embedding 300 rows" in outcome.err
    assert outcome.err.count("\n") == 1
    assert tree(tmp_path) == []


@pytest.mark.long
def test_a_document_of_a_megabyte_on_one_line_is_scored_right(
    tmp_path: Path, bytes_run: Path, host: Host, tilbench: Tilbench
) -> None:
    text = " ".join(f"Бұл {number} сөйлем, одан кейін тағы біреу келеді." for number in range(13_000))
    assert len(text.encode()) > 1_000_000
    (tmp_path / "rows.jsonl").write_text(json.dumps({"id": "long", "text": text}, ensure_ascii=False) + "\n", "utf-8")
    suite = write_suite(tmp_path, SUITE, tmp_path / "rows.jsonl")
    out = tmp_path / "records"
    assert tilbench("run", suite, "--models", bytes_run, "--tasks", "bpb", "--device", "cpu", "--out", out).status == 0
    (path,) = out.glob("small/bpb/*.json")
    record = json.loads(path.read_text("utf-8"))

    folder = bytes_run / "step-00000001"
    info = json.loads((folder / "tilbench.json").read_text("utf-8"))
    architecture = host.registry.architectures.get(info["architecture"]["name"])
    module = architecture.load(architecture.Config(**info["architecture"]["config"]), folder).eval()
    window = info["architecture"]["config"]["max_length"]
    sequence = torch.tensor([info["prefix"], *text.encode()])  # the tokenizer's ids of bytes are the bytes
    count = (len(sequence) - 1) // window
    nats = 0.0
    with torch.no_grad():
        inputs = sequence[: count * window].view(count, window)  # [windows, T]
        targets = sequence[1 : count * window + 1].view(count, window)
        for ids, wanted in zip(torch.split(inputs, 64), torch.split(targets, 64), strict=True):
            nats -= float(module(ids).double().log_softmax(-1).gather(2, wanted[..., None]).sum())
        if rest := (len(sequence) - 1) % window:  # the last window reaches back as far as it can
            logprobs = module(sequence[None, -window - 1 : -1])[0].double().log_softmax(-1)
            nats -= float(logprobs[-rest:].gather(1, sequence[-rest:, None]).sum())
    assert record["values"]["bpb"]["value"] == pytest.approx(nats / math.log(2) / len(text.encode()), rel=1e-6)


def test_equal_options_are_counted_named_and_kept(tmp_path: Path, tilbench: Tilbench) -> None:
    rows = [
        QUESTION,
        {**QUESTION, "id": "q2", "choices": ["төрт", "төрт"]},
        {**QUESTION, "id": "q3", "choices": ["бес", "бес "]},
    ]
    content = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (tmp_path / "rows.jsonl").write_text(content, "utf-8")
    suite = write_suite(tmp_path, EXAM, tmp_path / "rows.jsonl")
    asked = ("run", suite, "--models", "uniform-bytes", "--out", tmp_path / "records")
    (task,) = json.loads(tilbench(*asked, "--dry-run", "--json").out)["tasks"]
    assert task["equal_options"] == ["q2", "q3"]
    shown = tilbench(*asked, "--dry-run").out
    assert "q2" in shown
    assert "q3" in shown
    assert tilbench(*asked).status == 0
    (path,) = (tmp_path / "records").glob("small/bpb/*.json")
    record = json.loads(path.read_text("utf-8"))
    assert record["task"]["dataset"]["equal_options"] == ["q2", "q3"]
    assert record["values"]["equal_options"]["value"] == 2
    assert record["values"]["acc"]["n"] == 3
    assert record["notes"] == ["2 questions have two options of equal text, as published"]
    assert pyarrow.parquet.read_table(path.with_suffix(".parquet"))["item"].to_pylist() == ["q1", "q2", "q3"]


def test_belebele_has_four_questions_with_equal_options(data_dir: Path, root: Path, tilbench: Tilbench) -> None:
    asked = ("run", root / "suites" / "kazakh.yaml", "--tasks", "belebele-kk-letter", "--data", data_dir, "--dry-run")
    (task,) = json.loads(tilbench(*asked, "--json").out)["tasks"]
    assert (len(task["equal_options"]), task["rows"]) == (4, 900)
    shown = tilbench(*asked).out
    assert all(item in shown for item in task["equal_options"])


# Training

SMALL = {
    "tokenizer": "{family: bytes}",
    "data": "[{dataset: text/kk/train}]",
    "recipe.steps": "4",
    "recipe.sequence_length": "32",
    "recipe.checkpoint_every": "2",
    "recipe.keep_every": "2",
    "recipe.schedule": "{name: constant, warmup: 0}",
    "architecture.config.hidden_size": "32",
    "architecture.config.num_layers": "1",
    "architecture.config.intermediate_size": "64",
    "architecture.config.max_length": "64",
}


def train(tilbench: Tilbench, out: Path, model: str = "turkish-v1:tiny", **settings: str) -> Any:
    """Train a very small model of bytes; `settings` have double underscores for dots."""
    asked = SMALL | {name.replace("__", "."): value for name, value in settings.items()}
    sets = [part for name, value in asked.items() for part in ("--set", f"{name}={value}")]
    return tilbench("train", model, *sets, "--out", out)


def one_line(outcome: Any, *says: str) -> None:
    *before, last = outcome.err.splitlines()
    assert outcome.status == 2, outcome.err
    assert last.startswith("error: ")
    assert all(line.startswith("step ") for line in before)  # the display's
    for said in says:
        assert said in last


RECIPES: dict[str, tuple[dict[str, str], str]] = {
    "weights of zero": ({"data": "[{dataset: text/kk/train, weight: 0}]"}, "the weights of the mix sum to zero"),
    "negative weight": ({"data": "[{dataset: text/kk/train, weight: -1}]"}, "data.0.weight"),
    "empty source": ({"data": "[{dataset: FOLDER/empty.jsonl}]"}, "empty.jsonl) has no rows"),
    "source of blank lines": ({"data": "[{dataset: FOLDER/blank.txt}]"}, "blank.txt"),
    "nothing left": ({"data": "[{dataset: text/kk/train, min_characters: 9999999}]"}, "is left to train on"),
    "half a sequence": ({"recipe__batch_size": "2.5"}, "recipe.batch_size"),
    "no sequence": ({"recipe__accumulation": "0"}, "recipe.accumulation"),
    "a file of another vocabulary": (
        {"tokenizer": "{family: bytes}", "architecture__config__vocab_size": "100"},
        "the tokenizer has 259 ids and the embedding 100 rows",
    ),
    "a base of another architecture": ({"base": "BASE", "architecture__name": "llama"}, "BASE"),
    "a base of another size": ({"base": "BASE", "architecture__config__hidden_size": "48"}, "BASE"),
}


@pytest.mark.parametrize("case", RECIPES)
def test_a_training_that_cannot_begin(tmp_path: Path, bytes_run: Path, tilbench: Tilbench, case: str) -> None:
    settings, says = RECIPES[case]
    (tmp_path / "empty.jsonl").touch()
    (tmp_path / "blank.txt").write_text("\n\n \n", "utf-8")
    filled = {
        name: value.replace("FOLDER", str(tmp_path)).replace("BASE", str(bytes_run)) for name, value in settings.items()
    }
    before = tree(tmp_path)
    outcome = train(tilbench, tmp_path / "run", **filled)
    one_line(outcome, says.replace("BASE", str(bytes_run)))
    assert tree(tmp_path) == before


def test_ids_outside_the_vocabulary_in_a_token_file(tmp_path: Path, tilbench: Tilbench) -> None:
    """A file that something else has written over is noticed at the step that reads it, with the place."""
    out = tmp_path / "run"
    assert train(tilbench, out).status == 0
    shutil.rmtree(out / "step-00000004")
    (file,) = (out / "data").glob("*.bin")
    file.write_bytes(b"\xff" * file.stat().st_size)
    one_line(train(tilbench, out), "65535", "text/kk/train token ")
    assert not (out / "step-00000004").exists()


def test_going_on_with_another_recipe_names_every_field(tmp_path: Path, tilbench: Tilbench) -> None:
    out = tmp_path / "run"
    assert train(tilbench, out).status == 0
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    changed = {"recipe__seed": "1", "recipe__optimizer__learning_rate": "0.01", "data": "[{dataset: text/tr/train}]"}
    one_line(
        train(tilbench, out, **changed),
        "recipe.seed was 0 and is now 1",
        "recipe.optimizer.learning_rate was 0.003 and is now 0.01",
        "data.text/kk/train.fingerprint was ",
        "data.text/tr/train.fingerprint was absent and is now ",
        "train into another folder",
    )
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


def test_another_model_is_another_run(tmp_path: Path, tilbench: Tilbench) -> None:
    out = tmp_path / "run"
    assert train(tilbench, out, tokenizer="{family: bpe, options: {vocab_size: 400}}").status == 0
    own = {"architecture__config__vocab_size": "300", "tokenizer": "{family: bpe, options: {vocab_size: 300}}"}
    one_line(
        train(tilbench, out, "turkish-v2:tiny", **own),
        "is a different run: model was turkish-v1:tiny and is now turkish-v2:tiny, where the tokenizer has 400 ids and",
        "train into another folder",
    )
    one_line(train(tilbench, out, "turkish-v2:tiny"), 'is a different run: model was "turkish-v1:tiny" and is now')


@contextlib.contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Let no file of this process grow over `size` bytes, as a quota would."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a run that nothing has disturbed."""
    return tmp_path_factory.mktemp("whole") / "run"


def same_weights(a: Path, b: Path) -> None:
    files = [folder / "step-00000004" / "model.safetensors" for folder in (a, b)]
    assert files[0].read_bytes() == files[1].read_bytes()
    states = [torch.load(folder / "step-00000004/training/state.pt", weights_only=True) for folder in (a, b)]
    for ours, theirs in zip(*(list(state["optimizer"]["state"].values()) for state in states), strict=True):
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.parametrize(("file", "kept"), [("training/state.pt", ["step-00000000"]), ("model.safetensors", [])])
def test_a_disk_without_room_leaves_the_last_good_checkpoint(
    tmp_path: Path, whole: Path, tilbench: Tilbench, file: str, kept: list[str]
) -> None:
    """The optimizer's state is the larger file, and small before the first step."""
    if not whole.exists():
        assert train(tilbench, whole).status == 0
    with largest_file((whole / "step-00000002" / file).stat().st_size - 1000):
        outcome = train(tilbench, tmp_path / "run")
    one_line(outcome, "step-0000000", "make room", "the same command goes on")
    assert sorted(path.name for path in (tmp_path / "run").glob("*step-*")) == kept
    assert all(hidden.is_dir() or not hidden.name.startswith(".") for hidden in (tmp_path / "run").rglob("*"))
    again = train(tilbench, tmp_path / "run")
    assert again.status == 0, again.err
    same_weights(tmp_path / "run", whole)


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("mount") is None, reason="a small disk takes root to mount")
def test_a_full_disk_leaves_the_last_good_checkpoint(tmp_path: Path, whole: Path, tilbench: Tilbench) -> None:
    if not whole.exists():
        assert train(tilbench, whole).status == 0
    sizes = {path: path.stat().st_size for path in whole.rglob("*") if path.is_file()}
    last = sum(size for path, size in sizes.items() if "step-00000004" in path.parts)
    disk = tmp_path / "disk"
    disk.mkdir()
    options = f"size={sum(sizes.values()) - last // 2}"
    if subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("this root may not mount")
    try:
        one_line(train(tilbench, disk / "run"), "step-00000004", "make room", "the same command goes on")
        assert [path.name for path in sorted((disk / "run").glob("*step-*"))] == ["step-00000000", "step-00000002"]
        subprocess.run(["mount", "-o", "remount,size=64m", disk], check=True)
        again = train(tilbench, disk / "run")
        assert again.status == 0, again.err
        same_weights(disk / "run", whole)
    finally:
        subprocess.run(["umount", "--lazy", disk], check=True)  # its token file is mapped into memory

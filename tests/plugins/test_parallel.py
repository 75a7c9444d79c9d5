"""Several processes: copies and shards give what one process gives, and go on from one another's checkpoints."""

from __future__ import annotations

import contextlib
import json
import math
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from tilbench.checkpoints.folder import checkpoints, find_checkpoint
from tilbench.errors import Unsupported
from tilbench.loader import Host
from tilbench.ranks import joined
from tilbench.testing.toys import ToyTokenizer

WORKER = Path(__file__).with_name("parallel_jobs.py")
SIZES = {"vocab_size": ToyTokenizer.size, "max_length": 32, "hidden_size": 16, "num_layers": 2, "num_heads": 2}
LLAMA = {"architecture": "llama", "config": SIZES | {"intermediate_size": 32}}
UNTIED = {"architecture": "llama", "config": SIZES | {"intermediate_size": 32, "tie_embeddings": False}}
ALIBI = {"architecture": "alibi", "config": SIZES | {"intermediate_size": 32, "num_kv_heads": 1}}
GPT2 = {"architecture": "gpt2", "config": SIZES | {"intermediate_size": 32}}
FSDP = {"parallel": "fsdp"}
CASES: dict[str, dict[str, Any]] = {
    "copies": {**LLAMA, "recipe": {}},
    "copies-alibi-recomputed": {**ALIBI, "recipe": {"activation_checkpointing": True, "document_masks": True}},
    "copies-muon": {**LLAMA, "recipe": {"optimizer": {"name": "muon", "learning_rate": 1e-2}}},
    "copies-one-row-each": {**LLAMA, "recipe": {"batch_size": 4, "accumulation": 1}},
    "shards": {**LLAMA, "recipe": FSDP},
    "shards-untied-average": {**UNTIED, "recipe": FSDP | {"ema": 0.9}},
    "shards-gpt2-recomputed": {**GPT2, "recipe": FSDP | {"activation_checkpointing": True, "keep_every": 12}},
    "shards-bf16": {**LLAMA, "recipe": FSDP | {"precision": "bf16"}},
}
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}


def start(jobs: Sequence[Mapping[str, Any]], folder: Path, processes: int = 2) -> subprocess.Popen[str]:
    """Start processes that train the jobs."""
    path = folder / f"jobs-{len(list(folder.glob('jobs-*')))}.json"
    path.write_text(json.dumps(jobs))
    run = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)] if processes > 1 else []
    return subprocess.Popen(
        [sys.executable, *run, str(WORKER), str(path)],
        env=os.environ | ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def train(jobs: Sequence[Mapping[str, Any]], folder: Path, processes: int = 2) -> None:
    process = start(jobs, folder, processes)
    printed, _ = process.communicate(timeout=500)
    assert process.returncode == 0, printed


def named(folder: Path, cases: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [{"out": str(folder / name), **case} for name, case in cases.items()]


def log(out: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "timing"} for line in lines]


def losses(out: Path) -> list[float]:
    return [line["loss"] for line in log(out) if "loss" in line]


def weights(out: Path, step: int | None = None) -> dict[str, Tensor]:
    return load_file(find_checkpoint(out, step) / "model.safetensors")


def files(folder: Path) -> dict[str, bytes]:
    """Return the content of the files of a folder, but for its training state."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}


def flat(value: Any, name: str = "") -> dict[str, Any]:
    """Return everything in nested mappings and lists under one name each."""
    if isinstance(value, dict | list | tuple):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        return {key: leaf for place, inner in items for key, leaf in flat(inner, f"{name}.{place}").items()}
    return {name: value}


def state(folder: Path) -> dict[str, Any]:
    """Return the training state of a checkpoint: names → values, those of shards in no order of the processes."""
    found = flat(torch.load(folder / "training" / "state.pt", weights_only=True))
    parts: dict[str, list[bytes]] = {}
    for path in folder.glob("training/shards/*"):
        for name, tensor in load_file(path).items():
            parts.setdefault(name, []).append(tensor.numpy().tobytes())
    return found | {name: sorted(values) for name, values in parts.items()}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every case trained by two processes (`two`) and by one (`one`)."""
    folder = tmp_path_factory.mktemp("parallel")
    train(named(folder / "two", CASES), folder)
    train(named(folder / "one", CASES), folder, processes=1)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_two_processes_give_the_curve_of_one(runs: Path, case: str) -> None:
    two, one = runs / "two" / case, runs / "one" / case
    tolerance = 2e-3 if "bf16" in case else 1e-5
    assert losses(two) == pytest.approx(losses(one), rel=tolerance)
    assert len(losses(two)) == 12
    found, wanted = weights(two), weights(one)
    assert found.keys() == wanted.keys()
    for name, tensor in wanted.items():
        torch.testing.assert_close(found[name], tensor, rtol=0, atol=2e-2 if "bf16" in case else 1e-4, msg=name)
    seen = [[line["validation"]["toy"]["bpb"] for line in log(out) if "validation" in line] for out in (two, one)]
    assert seen[0] == pytest.approx(seen[1], rel=tolerance)


@pytest.mark.slow
@pytest.mark.parametrize("case", ["shards", "shards-untied-average"])
def test_shards_are_written_by_each_and_hold_no_code(runs: Path, case: str) -> None:
    training = checkpoints(runs / "two" / case)[-1] / "training"
    shards = list((training / "shards").iterdir())
    assert len(shards) == 2
    assert {path.suffix for path in shards} == {".safetensors"}
    sizes = [sum(tensor.numel() for tensor in load_file(path).values()) for path in shards]
    assert max(sizes) < 0.7 * sum(sizes)
    assert set(torch.load(training / "state.pt", weights_only=True)) == {"step", "names", "scaler"}


def cut(whole: Path, out: Path, step: int) -> None:
    """Make `out` the run `whole` as it was when its checkpoint of `step` had just been written."""
    shutil.copytree(whole, out)
    for folder in checkpoints(out):
        if int(folder.name.removeprefix("step-")) > step:
            shutil.rmtree(folder)


@pytest.mark.slow
def test_another_number_of_processes_goes_on(runs: Path, tmp_path: Path) -> None:
    """From copies to shards and back, from one process to two and back: the rest of the curve is the same."""
    for case in ("copies", "shards", "shards-untied-average"):
        for origin in ("one", "two"):
            cut(runs / origin / case, tmp_path / f"{case}-from-{origin}", 9)
    cut(runs / "two" / "shards-gpt2-recomputed", tmp_path / "shards-gpt2-recomputed-from-two", 0)
    changed: dict[str, dict[str, Any]] = {
        "copies-from-one": {**LLAMA, "recipe": FSDP},
        "copies-from-two": {**LLAMA, "recipe": FSDP},
        "shards-from-one": CASES["copies"],
        "shards-untied-average-from-one": CASES["shards-untied-average"],
        "shards-gpt2-recomputed-from-two": CASES["shards-gpt2-recomputed"],
    }
    train(named(tmp_path, changed), tmp_path)
    alone = {
        "shards-from-two": CASES["shards"],
        "shards-untied-average-from-two": CASES["shards-untied-average"],
    }
    train(named(tmp_path, alone), tmp_path, processes=1)
    for name in [*changed, *alone]:
        case, _, origin = name.rpartition("-from-")
        assert losses(tmp_path / name) == pytest.approx(losses(runs / origin / case), rel=1e-5), name
        wanted = weights(runs / origin / case)
        for key, tensor in weights(tmp_path / name).items():
            torch.testing.assert_close(tensor, wanted[key], rtol=0, atol=1e-4, msg=f"{name}: {key}")


KILLS = 10
LONG = {"steps": 200, "checkpoint_every": 7, "validate_every": 50}


@pytest.mark.long
@pytest.mark.parametrize("recipe", [{}, FSDP | {"ema": 0.9}], ids=["copies", "shards"])
def test_kills_at_random_moments_change_nothing(tmp_path: Path, recipe: dict[str, Any]) -> None:
    config = LLAMA["config"] | {"dropout": 0.1}  # type: ignore[operator]

    def job(name: str) -> list[dict[str, Any]]:
        given = {"architecture": "llama", "config": config, "recipe": LONG | recipe}
        return named(tmp_path, {name: given})

    def lines() -> int:
        path = tmp_path / "parts" / "log.jsonl"
        return len(path.read_bytes().splitlines()) if path.is_file() else 0

    train(job("whole"), tmp_path)
    chance = random.Random(0)
    for number in range(KILLS):
        process = start(job("parts"), tmp_path)
        wanted = lines() + 5 + chance.randrange(10)
        while process.poll() is None and lines() < wanted:
            time.sleep(0.01)
        time.sleep(chance.random() * 0.05)
        assert process.poll() is None, f"kill {number} came after the end: {process.communicate()[0]}"
        process.kill()
        _kill_children(tmp_path)
        process.communicate()
    train(job("parts"), tmp_path)
    assert log(tmp_path / "parts") == log(tmp_path / "whole")
    last = [checkpoints(tmp_path / name)[-1] for name in ("parts", "whole")]
    assert files(last[0]) == files(last[1])
    parts, whole = map(state, last)
    assert parts.keys() == whole.keys()
    for name, value in whole.items():
        same = torch.equal(parts[name], value) if isinstance(value, Tensor) else parts[name] == value
        assert same, name


def _kill_children(folder: Path) -> None:
    """Kill the processes that torchrun has put into groups of their own."""
    import psutil

    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if str(WORKER) in words and any(str(folder) in word for word in words):
            with contextlib.suppress(psutil.NoSuchProcess):  # it may have gone with the process that started it
                process.kill()
                process.wait()


@pytest.mark.slow
def test_a_signal_to_any_process_saves_the_step_and_faults_are_one_line(tmp_path: Path) -> None:
    odd = {**LLAMA, "recipe": {"batch_size": 3, "accumulation": 1}}
    muon = {**LLAMA, "recipe": FSDP | {"optimizer": {"name": "muon", "learning_rate": 1e-2}}}
    nan = {**LLAMA, "recipe": {"optimizer": {"learning_rate": 1e30, "clip": 0}, "schedule": {"name": "constant"}}}
    cases: dict[str, dict[str, Any]] = {
        "stopped": {**LLAMA, "recipe": {}, "stop": [7, 1]},
        "odd": odd,
        "muon": muon,
        "nan": nan,
    }
    train(named(tmp_path, cases), tmp_path)
    said = {path.stem: path.read_text() for path in tmp_path.glob("*.txt")}
    assert checkpoints(tmp_path / "stopped")[-1].name == "step-00000007"
    assert said["stopped.0"].startswith("Stopped: another process: ")
    assert said["stopped.1"].startswith("Stopped: SIGTERM: ")
    assert "3 sequences" in said["odd.0"]
    assert "which 2 processes cannot share equally" in said["odd.1"]
    assert "parallel fsdp takes no optimizer muon" in said["muon.0"]
    assert said["nan.0"] == said["nan.1"]
    assert "the last good checkpoint is" in said["nan.0"]
    train(named(tmp_path, {"stopped": {**LLAMA, "recipe": {}}, "whole": {**LLAMA, "recipe": {}}}), tmp_path)
    assert log(tmp_path / "stopped") == log(tmp_path / "whole")


@pytest.mark.slow
def test_torchrun_trains_from_the_command_line(tmp_path: Path) -> None:
    given = ["recipe.steps=10", "recipe.schedule={warmup: 2}", "recipe.checkpoint_every=5", "recipe.parallel=fsdp"]
    settings = [part for each in given for part in ("--set", each)]
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "tilbench"]
    done = subprocess.run(
        [sys.executable, *torchrun, "train", "til-mini-1b:tiny", *settings, "--out", "run", "--json"],
        cwd=tmp_path,
        env=os.environ | ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    summary = json.loads(done.stdout)  # of one process alone
    assert summary["checkpoint"] == "run/step-00000010"
    assert all(math.isfinite(loss) for loss in losses(tmp_path / "run"))


def test_blocks_are_what_is_cut(host: Host) -> None:
    from tilbench_trainers.parallel import blocks

    family = host.registry.architectures.get("llama")
    module = family.build(family.Config(**LLAMA["config"]))  # type: ignore[arg-type]
    assert len(blocks(module, "it")) == 2
    with pytest.raises(Unsupported, match="it needs a decoder whose blocks"):
        blocks(torch.nn.Linear(2, 2), "it")


def test_more_processes_than_accelerators_are_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"WORLD_SIZE": "2", "RANK": "1", "LOCAL_RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: 1)
    with pytest.raises(Unsupported, match="2 processes or more on this machine, which has 1 accel"), joined("cuda"):
        pass

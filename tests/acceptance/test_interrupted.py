"""Killed at any moment, a run or a training can be resumed and ends as if nothing had happened."""

from __future__ import annotations

import contextlib
import json
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest

pytestmark = pytest.mark.long

Command = Callable[..., tuple[str, str]]
Start = Callable[..., subprocess.Popen[str]]
Answers = dict[tuple[str, str], str]
Moment = Callable[[Answers, Answers], bool]
"""Given what is answered now and what was when the process started."""

PLUGIN = Path(__file__).with_name("counting_plugin.py")
SUITE = """
name: small
reference_text: [text/kk/train]
baselines: [uniform-bytes, ngram, xz]
tasks:
  - {name: bpb-kk, metric: bpb, dataset: text/kk/heldout, language: kk-Cyrl}
  - {name: exam-letter, metric: choice, dataset: questions/kk/test, settings: {form: letter}}
  - {name: exam-cloze, metric: choice, dataset: questions/kk/test, settings: {form: cloze}, limit: 30}
  - {name: tokens, metric: fertility, dataset: text/kk/heldout, language: kk-Cyrl}
"""
MODELS = ("counting:llama", "counting:bytes")
WHOLE = "whole"
EXECUTORS = ("local", "process")


@pytest.fixture(scope="module")
def folder(once: Callable[..., Path], command: Command, save_llama: Callable[..., None], bytes_run: Path) -> Path:
    """Return a folder with a suite, two models, and the records of a run that nobody interrupted."""

    def make(folder: Path) -> None:
        (folder / "small.yaml").write_text(SUITE, encoding="utf-8")
        (folder / "bytes").symlink_to(bytes_run)
        save_llama(folder / "llama")
        command(*run(WHOLE), cwd=folder, COUNTED=f"{WHOLE}.counted", PAUSE="0")

    return once("interrupted", make)


def run(out: str, executor: str = "local") -> list[str | Path]:
    models = ",".join(MODELS)
    how = ("--batch-tokens", "1024", "--device", "cpu", "--executor", executor)
    return ["--plugin", PLUGIN, "run", "small.yaml", "--models", models, "--out", out, *how]


def answers(out: Path) -> Answers:
    """What the journal holds; a journal that is not there yet holds nothing."""
    if not (out / "journal.sqlite").exists():
        return {}
    with contextlib.closing(sqlite3.connect(out / "journal.sqlite", timeout=60)) as journal:
        try:
            rows = journal.execute("SELECT model, request, answer FROM answers").fetchall()
        except sqlite3.OperationalError:  # opened, and its table not made yet
            rows = []
    return {(model, key): answer for model, key, answer in rows}


def stop_when(process: subprocess.Popen[str], reached: Callable[[], bool], how: signal.Signals) -> str:
    """Send the signal once `reached`; return what the process said on standard error."""
    deadline = time.monotonic() + 120
    try:
        while not reached():
            assert process.poll() is None, process.communicate()[1]
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.send_signal(how)
        return process.communicate(timeout=60)[1]
    finally:
        process.kill()


def contents(records: Path) -> Mapping[str, bytes]:
    """Every file of the records by its name, byte for byte, without what a record says it took."""
    found = {}
    for path in sorted(records.glob("small/*/*")):
        if path.name.startswith("."):
            continue  # a file that a killed process had begun
        data = path.read_bytes()
        if path.suffix == ".json":
            record: dict[str, Any] = json.loads(data)
            del record["measured"]
            data = json.dumps(record, indent=1, ensure_ascii=False).encode()
        found[str(path.relative_to(records))] = data
    return found


def is_time(moment: Moment, out: Path, before: Answers) -> bool:
    return moment(answers(out), before)


def models_of(known: Answers) -> int:
    """How many models there are answers of."""
    return len({model for model, _ in known})


def asked(file: Path) -> list[tuple[str, str]]:
    lines = file.read_text("utf-8").splitlines() if file.exists() else []
    return [(model, key) for model, key in map(json.loads, lines)]


@pytest.mark.parametrize("executor", EXECUTORS)
def test_killed_three_times_it_asks_nothing_twice_and_writes_the_same_records(
    folder: Path, start: Start, command: Command, tilbench: Callable[..., Any], executor: str
) -> None:
    out, total = folder / f"killed-{executor}", len(answers(folder / WHOLE))
    moments: list[Moment] = [
        lambda now, before: len(now) >= 5,  # during the first model
        lambda now, before: any(out.glob("small/*/*.json")),  # as records are written
        lambda now, before: models_of(now) == 2 and len(now) >= len(before) + 5,  # during the second
    ]
    before: Answers = {}
    for place, reached in enumerate(moments):
        counted = folder / f"{out.name}-{place}.counted"
        process = start(*run(out.name, executor), cwd=folder, COUNTED=str(counted), PAUSE="0.05")
        stop_when(process, partial(is_time, reached, out, before), signal.SIGKILL)
        assert process.returncode == -signal.SIGKILL
        assert not set(asked(counted)) & set(before)
        now = answers(out)
        assert len(before) < len(now) < total
        assert before.items() <= now.items()
        before = now
    counted = folder / f"{out.name}-last.counted"
    _, err = command(*run(out.name, executor), cwd=folder, COUNTED=str(counted), PAUSE="0")
    assert f"; {total - len(before)} requests answered;" in err
    assert set(asked(counted)) == {each for each in asked(folder / f"{WHOLE}.counted") if each not in before}
    assert answers(out) == answers(folder / WHOLE)
    assert contents(out) == contents(folder / WHOLE)
    assert len(contents(out)) == 20 + 15  # every model on every task, and the items of those that are not n/a
    assert tilbench("records", "verify", out).status == 0
    again = folder / f"{out.name}-again.counted"
    _, err = command(*run(out.name), cwd=folder, COUNTED=str(again), PAUSE="0")
    assert "; 0 requests answered;" in err
    assert not again.exists()


@pytest.mark.parametrize("executor", EXECUTORS)
def test_ctrl_c_is_status_130_and_one_line_and_the_same_command_goes_on(
    folder: Path, start: Start, command: Command, executor: str
) -> None:
    out = folder / f"stopped-{executor}"
    process = start(*run(out.name, executor), cwd=folder, COUNTED=str(folder / f"{out.name}.counted"), PAUSE="0.05")
    children: list[psutil.Process] = []

    def reached() -> bool:
        children[:] = psutil.Process(process.pid).children(recursive=True)
        return len(answers(out)) >= 5

    said = stop_when(process, reached, signal.SIGINT)
    assert bool(children) == (executor == "process")
    assert psutil.wait_procs(children, timeout=60)[1] == []
    assert process.returncode == 130
    # click first ends the line on which a terminal shows ^C; on a slow machine a line of progress stands before it
    lines = [line for line in said.splitlines() if line and not line.startswith("[1/5] counting:llama: ")]
    assert lines == ["interrupted; what was done is kept, and the same command resumes it"]
    kept = answers(out)
    _, err = command(*run(out.name), cwd=folder, COUNTED=str(folder / f"{out.name}-2.counted"), PAUSE="0")
    assert f"; {len(answers(folder / WHOLE)) - len(kept)} requests answered;" in err
    assert contents(out) == contents(folder / WHOLE)


def test_a_model_whose_process_is_killed_fails_and_the_others_go_on(
    folder: Path, start: Start, command: Command
) -> None:
    out = folder / "murdered"
    process = start(*run(out.name, "process"), cwd=folder, COUNTED=str(folder / "murdered.counted"), PAUSE="0.05")
    while len(answers(out)) < 5:
        time.sleep(0.02)
        assert process.poll() is None, process.communicate()[1]
    (worker,) = (each for each in psutil.Process(process.pid).children() if "spawn_main" in " ".join(each.cmdline()))
    worker.kill()
    _, said = process.communicate(timeout=500)
    assert process.returncode == 1
    (error,) = (line for line in said.splitlines() if line.startswith("error:"))
    assert MODELS[0] in error
    assert "killed" in error
    assert {path.name.rpartition("-")[0] for path in out.glob("small/*/*.json")} >= {"counting_bytes", "xz", "ngram"}
    command(*run(out.name, "process"), cwd=folder, COUNTED=str(folder / "murdered-2.counted"), PAUSE="0")
    assert contents(out) == contents(folder / WHOLE)


STEPS = 30


def train(out: str) -> list[str]:
    sets = {"recipe.steps": STEPS, "recipe.checkpoint_every": 4, "data": "[{dataset: text/kk/train}]"}
    options = [part for name, value in sets.items() for part in ("--set", f"{name}={value}")]
    return ["train", "turkish-v1:tiny", *options, "--out", out]


def steps(run: Path) -> int:
    log = run / "log.jsonl"
    return len(log.read_text("utf-8").splitlines()) if log.exists() else 0


def curve(run: Path) -> list[dict[str, Any]]:
    """The log without what the steps took."""
    lines = map(json.loads, (run / "log.jsonl").read_text("utf-8").splitlines())
    return [{key: value for key, value in line.items() if key != "timing"} for line in lines]


def test_a_training_killed_twice_ends_with_the_same_weights(tmp_path: Path, start: Start, command: Command) -> None:
    command(*train("whole"), cwd=tmp_path)
    for moment in (7, 19):
        process = start(*train("killed"), cwd=tmp_path)
        stop_when(process, partial(lambda least: steps(tmp_path / "killed") >= least, moment), signal.SIGKILL)
        assert process.returncode == -signal.SIGKILL
        assert not (tmp_path / "killed" / f"step-{STEPS:08d}").exists()
    command(*train("killed"), cwd=tmp_path)
    last = Path(f"step-{STEPS:08d}", "model.safetensors")
    assert (tmp_path / "killed" / last).read_bytes() == (tmp_path / "whole" / last).read_bytes()
    assert curve(tmp_path / "killed") == curve(tmp_path / "whole")

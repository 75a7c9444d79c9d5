"""What a training run shows, logs and records of itself, and what stops it."""

from __future__ import annotations

import io
import json
import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from tilbench.checkpoints.folder import checkpoints
from tilbench.errors import ConfigError, DataError, MissingDataset, MissingDependency, TilbenchError, UnknownName
from tilbench.loader import Host
from tilbench.results.store import RecordStore
from tilbench.training.fit import train
from tilbench.training.resolve import resolve_training
from tilbench_trainers.loop.guard import Guard, check_ids
from tilbench_trainers.reporting.board import Board
from tilbench_trainers.reporting.display import Display
from tilbench_trainers.reporting.telemetry import Log

SMALL = (
    "tokenizer={family: bytes}",
    "architecture.config={vocab_size: 512, max_length: 64, hidden_size: 16, num_layers: 1, num_heads: 2, "
    "num_kv_heads: 1, head_dim: 8, intermediate_size: 16, tie_embeddings: true, dropout: 0.1}",
    "recipe.steps=6",
    "recipe.sequence_length=32",
    "recipe.batch_size=2",
    "recipe.schedule={name: constant}",
    "recipe.checkpoint_every=3",
    "recipe.validate_every=3",
)
WATCHED = (
    "recipe.evaluate={suite: quickstart, tasks: [bpb-tr, questions-kk-cloze], every: 3, limit: 4}",
    "recipe.probe={every: 3, words: [{prompt: Ankara bir, target: şehir}, {prompt: a, target: b}]}",
    "recipe.sample={every: 2, prompts: [Bir varmış], max_new_tokens: 5, temperature: 1.0}",
)


def run(host: Host, out: Path, *overrides: str, steps: int | None = None) -> Path:
    """Train the tiny Turkish model on bytes. steps: be killed before the step after it."""
    training = resolve_training("turkish-v1:tiny", host.registry, None, [*SMALL, *overrides])
    if steps is None:
        return train(training, host.registry, out, progress=False)
    with pytest.MonkeyPatch.context() as patch:
        check = Guard.check

        def killed(self: Guard, step: int, *given: Any) -> None:
            if step == steps + 1:
                raise KeyboardInterrupt
            check(self, step, *given)

        patch.setattr(Guard, "check", killed)
        with pytest.raises(KeyboardInterrupt):
            train(training, host.registry, out, progress=False)
    return checkpoints(out)[-1]


def log(out: Path) -> list[dict[str, Any]]:
    """Return the lines of the log without their timing."""
    lines = (out / "log.jsonl").read_text(encoding="utf-8").split("\n")[:-1]
    return [{key: value for key, value in json.loads(line).items() if key != "timing"} for line in lines]


def found(out: Path, kind: str) -> dict[int, Any]:
    """Return what the log has under `kind`, by step."""
    return {line["step"]: line[kind] for line in log(out) if kind in line}


@pytest.fixture(scope="module")
def watched(host: Host, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run that looked at everything."""
    out = tmp_path_factory.mktemp("watched") / "run"
    run(host, out, *WATCHED, "recipe.tensorboard=true", "recipe.spike=1000")
    return out


# Looking


def test_each_look_is_in_the_log_at_its_steps(watched: Path) -> None:
    assert set(found(watched, "validation")) == {3, 6}
    assert set(found(watched, "evaluation")) == {3, 6}
    assert set(found(watched, "samples")) == {2, 4, 6}
    probes = found(watched, "probes")
    assert set(probes) == {3, 6}
    assert [(each["prompt"], each["target"]) for each in probes[6]] == [("Ankara bir", "şehir"), ("a", "b")]
    for each in probes[3] + probes[6]:
        assert 1 <= each["rank"] <= 512
        assert 0 < each["probability"] < 1
    assert [each["prompt"] for each in found(watched, "samples")[4]] == ["Bir varmış"]
    assert "Bir varmış" in (watched / "log.jsonl").read_text(encoding="utf-8")  # as it is, for people too


def test_watching_changes_no_weight(host: Host, watched: Path, tmp_path: Path) -> None:
    """The run has dropout, so that a random number drawn in between would show."""
    run(host, tmp_path / "plain", "recipe.validate_every=0")
    ours, theirs = checkpoints(watched), checkpoints(tmp_path / "plain")
    assert [path.name for path in ours] == [path.name for path in theirs]
    for a, b in zip(ours, theirs, strict=True):
        assert (a / "model.safetensors").read_bytes() == (b / "model.safetensors").read_bytes()
    assert [line for line in log(watched) if "loss" in line] == [
        line for line in log(tmp_path / "plain") if "loss" in line
    ]


def test_run_knows_the_records_of_a_training(watched: Path, tilbench: Callable[..., Any]) -> None:
    """They are of the checkpoint that was saved then, to the last file of it."""
    arguments = ["--set", "baselines=[]", "--tasks", "bpb-tr,questions-kk-cloze", "--limit", "4"]
    done = tilbench(
        "run", "quickstart", "--models", f"{watched}@3,{watched}@6", *arguments, "--out", watched / "records"
    )
    assert "0 results new, 4 already there; 0 requests answered" in done.err
    assert not list(watched.glob(".*"))  # what was written to find that out


@pytest.mark.parametrize("step", [3, 6])
def test_the_log_says_what_run_says_of_the_checkpoint(
    watched: Path, tmp_path: Path, tilbench: Callable[..., Any], step: int
) -> None:
    arguments = ["--tasks", "bpb-tr,questions-kk-cloze", "--limit", "4", "--out", tmp_path, "--json"]
    done = tilbench("run", "quickstart", "--models", f"{watched}@{step}", *arguments)
    assert done.status == 0, done.err
    scored = [record for record in json.loads(done.out) if record["model"]["name"] == f"{watched}@{step}"]
    assert len(scored) == 2
    logged = found(watched, "evaluation")[step]
    for record in scored:
        values = {name: score["value"] for name, score in record["values"].items()}
        assert logged[record["task"]["name"]] == pytest.approx(values, abs=1e-6, rel=1e-6)


def test_validation_is_the_metric_bpb(host: Host, watched: Path, tmp_path: Path, tilbench: Callable[..., Any]) -> None:
    """Per source, in bits per UTF-8 byte, as metric `bpb` has it on the same documents."""
    (tmp_path / "suite.yaml").write_text("name: one\ntasks: [{name: bpb, metric: bpb, dataset: text/tr/heldout}]\n")
    done = tilbench("run", tmp_path / "suite.yaml", "--models", f"{watched}@6", "--out", tmp_path / "out", "--json")
    (record,) = json.loads(done.out)
    validation = found(watched, "validation")[6]
    assert list(validation) == ["text/tr/train"]
    assert validation["text/tr/train"]["bpb"] == pytest.approx(record["values"]["bpb"]["value"], abs=1e-6)


def test_probes_and_samples_are_what_the_checkpoint_answers(host: Host, watched: Path) -> None:
    from tilbench.config.decoding import Decoding
    from tilbench.kinds.language_model import OpenOptions
    from tilbench.kinds.requests import Generated, Generation, NextWord, Ranked
    from tilbench.resolve.checkpoint_loader import CheckpointLoader
    from tilbench.resolve.tokenizers import load_tokenizer

    options = OpenOptions(load_tokenizer=lambda reference: load_tokenizer(reference, host.registry))
    model = CheckpointLoader(host.registry).open(str(checkpoints(watched)[-1]), options)
    word = NextWord("Ankara bir", "şehir")
    text = Generation("Bir varmış", Decoding(max_new_tokens=5, temperature=1.0))
    answers = {request: answer for batch in model.answer([word, text]) for request, answer in batch}
    ranked, generated = answers[word], answers[text]
    assert isinstance(ranked, Ranked)
    assert isinstance(generated, Generated)
    probe = found(watched, "probes")[6][0]
    assert (probe["rank"], probe["probability"]) == (ranked.rank, pytest.approx(math.exp(ranked.logprob), rel=1e-6))
    assert found(watched, "samples")[6][0]["text"] == generated.text


def test_records_are_in_the_run(watched: Path) -> None:
    records = [record for _, record in RecordStore(watched / "records").records()]
    assert sorted((record.model.step, record.task.name) for record in records) == [
        (3, "bpb-tr"),
        (3, "questions-kk-cloze"),
        (6, "bpb-tr"),
        (6, "questions-kk-cloze"),
    ]
    for record in records:
        step = record.model.step
        assert step is not None
        assert record.model.name == f"{watched}@{step}"
        logged = found(watched, "evaluation")[step][record.task.name]
        assert {name: score.value for name, score in record.values.items()} == logged
    assert len({record.model.fingerprint for record in records}) == 2


def test_records_of_a_run_can_be_verified(watched: Path, tilbench: Callable[..., Any]) -> None:
    assert tilbench("records", "verify", watched / "records").status == 0


@pytest.mark.parametrize("steps", [2, 4])
def test_a_killed_run_logs_the_same(host: Host, watched: Path, tmp_path: Path, steps: int) -> None:
    run(host, tmp_path / "parts", *WATCHED, "recipe.tensorboard=true", steps=steps)
    run(host, tmp_path / "parts", *WATCHED, "recipe.tensorboard=true")
    assert log(tmp_path / "parts") == log(watched)
    assert scalars(tmp_path / "parts") == scalars(watched)


def test_what_is_watched_may_change_between_sittings(host: Host, tmp_path: Path) -> None:
    run(host, tmp_path, steps=4)
    run(host, tmp_path, "recipe.spike=5", "recipe.sample={prompts: [a]}", "recipe.validate_every=0")
    assert set(found(tmp_path, "samples")) == {6}


@pytest.mark.parametrize(
    ("override", "error", "said"),
    [
        ("recipe.evaluate={suite: quickstrat}", UnknownName, "did you mean quickstart"),
        ("recipe.evaluate={suite: quickstart, tasks: [bpb-tk]}", UnknownName, "task of suite quickstart 'bpb-tk'"),
        ("recipe.evaluate={suite: quickstart, evry: 5}", ConfigError, "evry"),
        ("recipe.sample={prompts: []}", ConfigError, "recipe.sample.prompts"),
        ("recipe.probe={words: [{prompt: a}]}", ConfigError, "target"),
        ("recipe.spike=-1", ConfigError, "recipe.spike"),
    ],
)
def test_a_mistake_is_found_before_training(
    host: Host, tmp_path: Path, override: str, error: type[TilbenchError], said: str
) -> None:
    with pytest.raises(error, match=said) as caught:
        run(host, tmp_path / "run", override)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_a_task_without_data_is_refused(host: Host, tmp_path: Path) -> None:
    with pytest.raises(MissingDataset, match=r"recipe\.evaluate: task kk_mmlu of suite kazakh cannot be run") as error:
        run(host, tmp_path / "run", "recipe.evaluate={suite: kazakh, tasks: [bpb-kk, kk_mmlu]}")
    assert "recipe.evaluate.tasks" in str(error.value)
    assert not (tmp_path / "run").exists()


def test_the_recipe_in_the_documentation_is_one(host: Host, root: Path) -> None:
    (block,) = re.findall(r"^```yaml\n(.*?)^```$", (root / "docs/watching.md").read_text(encoding="utf-8"), re.M | re.S)
    recipe = yaml.safe_load(block)["recipe"]
    overrides = [f"recipe.{name}={json.dumps(value, ensure_ascii=False)}" for name, value in recipe.items()]
    training = resolve_training("turkish-v1:tiny", host.registry, None, overrides)
    assert training.evaluation is not None
    assert [task.used.name for task in training.evaluation.tasks] == ["bpb-tr"]
    assert training.recipe.spike == 10


# TensorBoard


def scalars(out: Path) -> dict[str, list[tuple[int, float]]]:
    """Return tag → (step, value) of all event files of a run, without those of timing."""
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

    values: dict[str, list[tuple[int, float]]] = {}
    for path in sorted((out / "tensorboard").iterdir()):
        for event in EventFileLoader(str(path)).Load():
            for value in event.summary.value:
                if value.tensor.float_val and not value.tag.startswith("speed/"):
                    values.setdefault(value.tag, []).append((event.step, value.tensor.float_val[0]))
    return values


def test_tensorboard_has_each_step_once(watched: Path) -> None:
    written = scalars(watched)
    lines = {line["step"]: line for line in log(watched) if "loss" in line}
    for name in ("loss", "lr", "grad_norm"):
        assert [step for step, _ in written[f"train/{name}"]] == list(range(1, 7))
        assert all(value == pytest.approx(lines[step][name], rel=1e-6) for step, value in written[f"train/{name}"])
    assert [step for step, _ in written["validation/text/tr/train/bpb"]] == [3, 6]
    assert {"evaluation/bpb-tr/bpb", "probes/1/rank", "probes/2/probability"} <= set(written)


def test_without_tensorboard_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingDependency, match=r"recipe\.tensorboard needs .*tilbench\[plots\]"):
        Board(tmp_path)


# The log


class Heard:
    """Remembers what a log told it."""

    def __init__(self) -> None:
        self.lines: list[tuple[int, bool]] = []

    def note(self, line: Mapping[str, Any], live: bool) -> None:
        self.lines.append((line["step"], live))


def test_listeners_hear_each_line_once(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    with Log(path, 0) as first:
        for step in (1, 2, 3):
            first.write(step=step, text="a\u2028b\ud800")  # a line separator and a lone surrogate
    with path.open("a") as file:
        file.write('{"step": 4')
    heard = Heard()
    with Log(path, 2, [heard]) as second:
        second.write(step=3, text="c")
    assert heard.lines == [(1, False), (2, False), (3, True)]
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n")[:-1]]
    assert [line["step"] for line in lines] == [1, 2, 3]
    assert lines[0]["text"] == "a\u2028b\ud800"


# The display

TIMING = {"tokens_per_second": 1234.5, "mfu": 0.415, "peak_memory_bytes": 3 << 30}


def step_line(step: int, loss: float = 1.5) -> dict[str, Any]:
    return {"step": step, "loss": loss, "lr": 1e-3, "grad_norm": 1.0, "tokens": 9, "timing": TIMING}


def test_plain_lines_where_there_is_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr("sys.stderr", stream)
    with Display(True, 20, 10) as display:
        display.note(step_line(10, 2.5), live=False)
        display.note(step_line(11), live=True)
        assert stream.getvalue() == ""
        monkeypatch.setattr("tilbench_trainers.reporting.display._SECONDS", 0.0)
        display.note(step_line(15), live=True)
        display.scoring("a@15", 3, 1200)
        display.note({"step": 15, "validation": {"kk": {"bpb": 1.25}, "sft": {"loss": 2.0}}}, live=True)
        display.note({"step": 15, "evaluation": {"exam": {"acc": 0.25, "ppl": None}}}, live=True)
        display.note({"step": 15, "samples": [{"prompt": "a", "text": "b\nc" + "d" * 500}]}, live=True)
    first, *rest = stream.getvalue().splitlines()
    assert first == "step 15/20 loss 1.5000 (smoothed 1.8333) lr 1.00e-03 1,234 tok/s MFU 41.5% ETA 0:00:01"
    assert rest[:3] == [
        "scoring a@15: 3 of 1,200 requests",
        "step 15 validation on held-out text: kk 1.2500 bits/byte · sft loss 2.0000",
        "step 15 exam: acc 0.2500",
    ]
    assert rest[3].startswith("step 15 sample: a → b cddd")
    assert rest[3].endswith("d…")


def terminal(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """Make stderr a terminal, and return what it shows."""
    stream = io.StringIO()
    stream.isatty = lambda: True  # type: ignore[method-assign]
    monkeypatch.setattr("sys.stderr", stream)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    return stream


def test_the_live_view_has_all_that_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = terminal(monkeypatch)
    with Display(True, 20, 10) as display:
        display.note({"step": 10, "validation": {"kk": {"bpb": 1.25}}}, live=False)
        display.note(step_line(15), live=True)
    shown = stream.getvalue()
    for part in (
        "step 15/20",
        "ETA 0:00:01",
        "loss 1.5000 · smoothed 1.5000 · lr 1.00e-03",
        "1,234 tok/s · MFU 41.5% · peak 3.0 GiB",
        "validation at step 10: kk 1.2500 bits/byte",
    ):
        assert part in shown


def test_the_live_view_leaves_out_what_is_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = terminal(monkeypatch)
    with Display(True, 20, 1) as display:
        display.note(step_line(1) | {"timing": {"tokens_per_second": 5.0, "mfu": None}}, live=True)
    shown = stream.getvalue()
    assert "ETA –" in shown  # before the first step of this sitting
    assert "5 tok/s" in shown
    assert "MFU" not in shown
    assert "peak" not in shown


def test_a_silent_run_shows_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = terminal(monkeypatch)
    with Display(False, 20, 0) as display:
        display.note(step_line(20), live=True)
        display.encoding("kk", 1, 2)
    assert stream.getvalue() == ""


# What stops a run


def guard(out: Path, bound: float = 5.0, count: int = 100) -> Guard:
    """Return a guard that has seen losses of median 3 and median absolute deviation 0.1."""
    (out / "step-00000090").mkdir()
    (out / "step-00000090" / "tilbench.json").write_text("{}")
    made = Guard(bound, out)
    for place in range(count):
        made.note({"step": place, "loss": 3.0 + 0.1 * (place % 3 - 1) * (1 + place % 2)}, live=place % 2 == 0)
    return made


def rows() -> list[tuple[object, float]]:
    return [("kk token 1", 3.0), ("tr token 2", 11.5)]


def test_the_band_is_median_and_spread(tmp_path: Path) -> None:
    losses = [3.0 + 0.1 * (place % 3 - 1) * (1 + place % 2) for place in range(100)]
    spread = torch.tensor([abs(each - 3.0) for each in losses]).quantile(0.5).item()
    assert guard(tmp_path).limit == pytest.approx(3.0 + 5 * 1.4826 * spread)


def test_a_spike_names_its_row(tmp_path: Path) -> None:
    watching = guard(tmp_path)
    watching.check(101, watching.limit, 1.0, rows)
    with pytest.raises(TilbenchError) as error:
        watching.check(101, watching.limit + 0.01, 1.0, rows)
    said = str(error.value)
    assert said.startswith("step 101: the loss is 3.")
    for part in ("tr token 2: 11.5000", "step-00000090", "recipe.spike"):
        assert part in said
    assert "kk" not in said


@pytest.mark.parametrize(("bound", "count"), [(0.0, 100), (5.0, 99)])
def test_nothing_is_a_spike_without_a_bound_or_a_past(tmp_path: Path, bound: float, count: int) -> None:
    guard(tmp_path, bound, count).check(101, 1e9, 1.0, rows)


def test_a_loss_that_is_no_number_names_the_rows_to_blame(tmp_path: Path) -> None:
    watching = guard(tmp_path, 0.0)
    one = [("kk token 1", 3.0), ("tr token 2", math.nan)]
    with pytest.raises(TilbenchError, match=r"the loss is nan .*; it is so for tr token 2; .*step-00000090"):
        watching.check(5, math.nan, 1.0, lambda: one)
    with pytest.raises(TilbenchError, match=r"the weights are to blame: kk token 1, tr token 2"):
        watching.check(5, math.nan, math.nan, lambda: [(place, math.nan) for place, _ in one])
    with pytest.raises(TilbenchError, match=r"norm inf; each row of the batch alone has a finite loss"):
        watching.check(5, 3.0, math.inf, rows)


def test_a_spike_stops_a_run_and_a_higher_bound_goes_on(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a window of 4 steps and a bound next to nothing, the noise of the first steps is a spike."""
    monkeypatch.setattr("tilbench_trainers.loop.guard._WINDOW", 4)
    watched = ("recipe.steps=12", "recipe.spike=0.01", "recipe.optimizer.learning_rate=1e-9")
    with pytest.raises(TilbenchError, match=r"^step \d+: .* is a spike; .*text/tr/train token") as error:
        run(host, tmp_path, *watched)
    stopped = log(tmp_path)[-1]["step"]
    assert str(error.value).startswith(f"step {stopped + 1}:")
    with pytest.raises(TilbenchError, match=f"^step {stopped + 1}: "):  # what the log remembers counts too
        run(host, tmp_path, *watched)
    run(host, tmp_path, *watched, "recipe.spike=0")
    assert checkpoints(tmp_path)[-1].name == "step-00000012"


def test_ids_outside_the_vocabulary_name_their_row() -> None:
    ids = torch.tensor([[1, 2], [3, 9]])
    check_ids(ids, 10, list)
    for wrong, vocabulary in ((9, 9), (-1, 10)):
        with pytest.raises(DataError, match=f"tr token 2: the id {wrong} is outside the vocabulary of {vocabulary}"):
            check_ids(torch.tensor([[1, 2], [3, wrong]]), vocabulary, lambda: [place for place, _ in rows()])


def test_a_damaged_token_file_stops_the_run(host: Host, tmp_path: Path) -> None:
    run(host, tmp_path, steps=4)
    (path,) = (tmp_path / "data").glob("*.bin")
    whole = path.read_bytes()
    path.write_bytes(b"\xff" * len(whole))
    with pytest.raises(
        DataError, match=r"text/tr/train token .*the id 65535 is outside .*remove the run's data folder"
    ):
        run(host, tmp_path)
    path.unlink()
    assert run(host, tmp_path).name == "step-00000006"
    assert path.read_bytes() == whole

"""The Python API: what it returns is what the commands print, and it says the same where something is wrong."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

import tilbench as api
from tilbench.generation.opened import OpenedModel
from tilbench.kinds.language_model import ModelCard
from tilbench.kinds.requests import Answer, Document, Likelihood, Request, RequestKind
from tilbench.resolve.checkpoint_loader import CheckpointLoader
from tilbench.results.frame import records_frame
from tilbench.results.store import RecordStore
from tilbench.training.run import TrainedRun

SETS = {
    "recipe.steps": 2,
    "recipe.schedule.warmup": 0,
    "recipe.checkpoint_every": 1,
    "recipe.evaluate": None,
    "tokenizer": {"family": "bytes"},
    "data": [{"dataset": "text/tr/train"}],
}
TEXTS = ["Bugün hava çok güzel.", "Kardeşim okula gitti.", "Akşam çorba içtik."]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> TrainedRun:
    return api.train("turkish-v1:tiny", tmp_path_factory.mktemp("runs") / "a", overrides=SETS)


@pytest.fixture(scope="module")
def model(run: TrainedRun) -> OpenedModel:
    return api.open_model(run, device="cpu")


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    """Return a suite with a task that runs, one whose data is missing and one that no baseline can answer."""
    text = tmp_path / "text.txt"
    text.write_text("\n\n".join(TEXTS), encoding="utf-8")
    nowhere = {"hub": "nobody/nothing", "revision": "0" * 40, "kind": "documents"}
    tasks = [
        {"name": "bpb", "metric": "bpb", "dataset": str(text)},
        {"name": "far", "metric": "bpb", "dataset": nowhere},
        {"name": "loops", "metric": "behavior", "dataset": "prompts/kk", "limit": 1, "settings": {"max_new_tokens": 2}},
    ]
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump({"name": "mine", "tasks": tasks}), encoding="utf-8")
    return path


def only(frame: pd.DataFrame) -> dict[str, Any]:
    """Return the row of a frame that has one."""
    (row,) = frame.to_dict("records")
    return {str(name): value for name, value in row.items()}


def imported(code: str) -> set[str]:
    """Return the heavy libraries that a program has imported at its end."""
    code = f"import sys\n{code}\nprint(sorted({{'torch', 'pandas', 'pydantic', 'pyarrow'}} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout.splitlines()[-1].replace("'", '"')))


def test_importing_tilbench_imports_nothing_heavy() -> None:
    assert not imported("import tilbench; dir(tilbench); tilbench.hookimpl; tilbench.load_plugins()")


def test_reading_and_comparing_records_needs_no_torch(tmp_path: Path) -> None:
    code = f"import tilbench\ntilbench.read_records({str(tmp_path)!r})\n"
    code += f"try: tilbench.compare({str(tmp_path)!r}, 'a', 'b')\nexcept tilbench.TilbenchError as error: print(error)"
    assert "torch" not in imported(code)


def test_everything_that_is_offered_is_there_and_nothing_else() -> None:
    offered = {
        "TilbenchError",
        "compare",
        "hookimpl",
        "load_plugins",
        "open_model",
        "read_records",
        "run_suite",
        "train",
    }
    assert offered == set(api.__all__) <= set(dir(api))
    assert all(getattr(api, name) is not None for name in offered)
    assert api.__version__
    with pytest.raises(AttributeError, match="has no attribute 'run_suit'"):
        getattr(api, "run_suit")  # noqa: B009


def test_a_suite_becomes_a_frame(suite: Path, tmp_path: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    out = tmp_path / "records"
    frame = api.run_suite(suite, ["uniform-bytes"], out=out, progress=lambda *told: seen.append(told), device="cpu")
    assert seen[0] == ("uniform-bytes", 0, 3)
    assert seen[-1] == ("uniform-bytes", 3, 3)
    bpb = only(frame[(frame["task"] == "bpb") & frame["headline"]])
    expected = {"quantity": "bpb", "value": 8, "unit": "bits/byte", "direction": "lower", "n": 3}
    assert {name: bpb[name] for name in expected} == expected
    assert bpb["low"] <= 8 <= bpb["high"]
    assert bpb["lost_share"] == 0
    others = frame[frame["task"] != "bpb"].set_index("task")
    assert dict(others["status"]) == {"far": "not run", "loops": "n/a"}
    assert others["value"].isna().all()
    assert others["reason"].str.len().min() > 10
    assert all(Path(each).is_file() for each in frame["path"])
    pd.testing.assert_frame_equal(frame, api.read_records(out))


def test_every_value_of_every_record_is_in_the_frame(suite: Path, run: TrainedRun, tmp_path: Path) -> None:
    frame = api.run_suite(suite, [run, "xz"], out=tmp_path, tasks=["bpb", "loops"], device="cpu")
    records = [record for _, record in RecordStore(tmp_path).records()]
    expected = {
        (record.task.name, record.model.name, name, score.value, score.n)
        for record in records
        for name, score in record.values.items()
    }
    done = frame[frame["status"] == "done"]
    columns = ["task", "model", "quantity", "value", "n"]
    assert set(done[columns].itertuples(index=False, name=None)) == expected
    assert set(done["model"]) == {str(run.folder), "xz"}
    assert done["step"].dropna().unique().tolist() == [2]


def test_what_is_recorded_is_not_scored_again(suite: Path, run: TrainedRun, tmp_path: Path) -> None:
    asked: list[int] = []
    frames = [
        api.run_suite(suite, [run], out=tmp_path, progress=lambda *told: asked.append(told[1]), device="cpu")
        for _ in range(2)
    ]
    assert max(asked) == 4
    assert asked.count(0) == 1
    pd.testing.assert_frame_equal(frames[0], frames[1])


def test_records_carry_the_call(suite: Path, tmp_path: Path) -> None:
    api.run_suite(suite, ["xz"], out=tmp_path, tasks=["bpb"], limit=2, device="cpu")
    ((_, record),) = RecordStore(tmp_path).records()
    call = f"tilbench.run_suite({str(suite)!r}, ['xz'], tasks=['bpb'], limit=2, device='cpu')"
    assert record.measured.command == call


def test_a_frame_of_no_records_has_the_same_columns(suite: Path, tmp_path: Path) -> None:
    some = api.run_suite(suite, ["xz"], out=tmp_path / "a", tasks=["bpb"], device="cpu")
    none = records_frame([])
    assert list(none.columns) == list(some.columns)
    assert none.empty


def test_an_opened_model_is_not_opened_again(
    suite: Path, model: OpenedModel, run: TrainedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    real = CheckpointLoader.open

    def count(self: CheckpointLoader, reference: str, options: Any) -> Any:
        opened.append(options.dtype)
        return real(self, reference, options)

    monkeypatch.setattr(CheckpointLoader, "open", count)
    frames = [
        api.run_suite(suite, [each], out=tmp_path / name, device="cpu")
        for name, each in (("path", run), ("object", model))
    ]
    assert opened == ["float32"]
    plain = [frame.drop(columns="path") for frame in frames]
    pd.testing.assert_frame_equal(plain[0], plain[1])
    other = api.run_suite(suite, [model], out=tmp_path / "half", device="cpu", dtype="bfloat16")
    assert opened == ["float32", "bfloat16"]
    assert set(other["model_fingerprint"]) != set(frames[0]["model_fingerprint"])


class Coin:
    """A model of a researcher's own: one bit for each byte."""

    card = ModelCard(name="coin", fingerprint="coin-1", supports=frozenset({RequestKind.DOCUMENT}))

    def answer(self, requests: Sequence[Request]) -> Iterator[Sequence[tuple[Request, Answer]]]:
        for request in requests:
            assert isinstance(request, Document)
            yield [(request, Likelihood(-0.6931471805599453 * len(request.text.encode()), None))]


def test_a_model_of_the_callers_own_is_scored(suite: Path, tmp_path: Path) -> None:
    frame = api.run_suite(suite, [Coin(), "xz"], out=tmp_path, tasks=["bpb"], device="cpu")
    coin, xz = (only(frame[(frame["model"] == name) & frame["headline"]])["value"] for name in ("coin", "xz"))
    assert coin == pytest.approx(1)
    assert api.compare(tmp_path, "coin", "xz").tasks[0].difference == pytest.approx(coin - xz)


def test_an_opened_model_says_what_a_suite_says(suite: Path, model: OpenedModel, tmp_path: Path) -> None:
    frame = api.run_suite(suite, [model], out=tmp_path, tasks=["bpb"], device="cpu")
    (recorded,) = frame[frame["headline"]]["value"]
    assert model.bits_per_byte(TEXTS) == pytest.approx(recorded, rel=1e-6)
    assert [model.logprobs(each).logprob for each in TEXTS] == pytest.approx(
        [each.logprob for each in model.logprobs(TEXTS)], rel=1e-5
    )
    both, first = model.logprobs("ab"), model.logprobs("a")
    assert both.logprob == pytest.approx(first.logprob + model.logprobs("b", after="a").logprob, rel=1e-5)
    assert model.tokens("çok").ids == tuple("çok".encode())
    assert [each.ids for each in model.tokens(["a", "b", "a"])] == [(97,), (98,), (97,)]


def test_an_opened_model_writes_what_the_command_writes(
    model: OpenedModel, run: TrainedRun, tilbench: Callable[..., Any]
) -> None:
    prompts = ["Bir varmış", "Bugün"]
    how = ("--max-new-tokens", "5", "--temperature", "0.7", "--seed", "3", "--json")
    shown = tilbench("generate", run.folder, *prompts, *how, "--device", "cpu").out.splitlines()
    texts = [each.text for each in model.generate(prompts, max_new_tokens=5, temperature=0.7, seed=3)]
    assert texts == [json.loads(line)["text"] for line in shown]
    assert model.generate("Bugün", max_new_tokens=5, seed=3, temperature=0.7).text == texts[1]
    with pytest.raises(api.TilbenchError, match="unknown field 'temprature'; did you mean temperature"):
        model.generate("Bugün", temprature=1)  # type: ignore[call-overload]


def test_what_a_model_cannot_do_is_refused(run: TrainedRun, model: OpenedModel) -> None:
    bytes_ = api.open_model("uniform-bytes", device="cpu")
    with pytest.raises(api.TilbenchError, match="uniform-bytes writes no text"):
        bytes_.generate("a")
    with pytest.raises(api.TilbenchError, match="temperature"):
        model.generate("a", temperature=-1)
    with pytest.raises(api.TilbenchError, match="there is no text to score"):
        model.bits_per_byte([])
    with pytest.raises(TypeError, match="unknown argument 'devise'; did you mean device"):
        api.open_model(run, devise="cpu")  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="unknown argument 'data'"):
        api.open_model(run, data="here")  # type: ignore[call-arg]


def test_a_training_returns_its_run_and_its_log(run: TrainedRun, tilbench: Callable[..., Any]) -> None:
    assert run.checkpoint.parent == run.folder
    assert run.log["step"].tolist() == [1, 2]
    assert run.log["loss"].tolist() == run.curves.loss.values
    assert {"lr", "grad_norm", "tokens", "timing.tokens_per_second"} <= set(run.log.columns)


def test_a_comparison_says_what_the_command_says(
    run: TrainedRun, suite: Path, tmp_path: Path, tilbench: Callable[..., Any]
) -> None:
    out = tmp_path / "records"
    api.run_suite(suite, [run, f"{run.folder}@1"], out=out, tasks=["bpb"], device="cpu")
    report = api.compare(out, run, f"{run.folder}@1")
    command = ("compare", run.folder, f"{run.folder}@1", "--records", out)
    assert tilbench(*command).out == f"{report}\n"
    assert json.loads(tilbench(*command, "--json").out) == json.loads(json.dumps(report.data()))
    (row,) = report.tasks
    assert row.difference == pytest.approx(row.a - row.b)
    frame = report.to_frame()
    assert frame.loc[0, "verdict"] == row.verdict
    assert len(frame) == 1


@pytest.mark.parametrize(
    ("call", "command"),
    [
        (lambda: api.run_suite("kazah", ["xz"]), ["run", "kazah", "--models", "xz"]),
        (lambda: api.run_suite("kazakh", ["uniform-byte"]), ["run", "kazakh", "--models", "uniform-byte"]),
        (lambda: api.run_suite("kazakh", ["xz"], tasks=["bp"]), ["run", "kazakh", "--models", "xz", "--tasks", "bp"]),
        (
            lambda: api.run_suite("kazakh", ["xz"], overrides={"sed": 1}),
            ["run", "kazakh", "--models", "xz", "--set", "sed=1"],
        ),
        (lambda: api.run_suite("kazakh", ["xz"], data="no"), ["run", "kazakh", "--models", "xz", "--data", "no"]),
        (lambda: api.run_suite("kazakh", ["xz"], device="gpu"), ["run", "kazakh", "--models", "xz", "--device", "gpu"]),
        (lambda: api.train("turkish-v1:tny"), ["train", "turkish-v1:tny"]),
        (
            lambda: api.train("turkish-v1:tiny", overrides={"recipe.step": 1}),
            ["train", "turkish-v1:tiny", "--set", "recipe.step=1"],
        ),
        (lambda: api.compare("nowhere", "a", "b"), ["compare", "a", "b", "--records", "nowhere"]),
        (lambda: api.open_model("runs/none"), ["generate", "runs/none", "a"]),
    ],
)
def test_what_is_wrong_is_said_as_the_command_says_it(
    call: Callable[[], object],
    command: list[str],
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(api.TilbenchError) as error:
        call()
    said = request.getfixturevalue("tilbench")(*command).err.splitlines()[-1]
    assert said == f"error: {error.value}"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("asked", "error", "said"),
    [
        ({"limit": 0}, api.TilbenchError, "limit is 0; give a whole number of rows, at least 1"),
        ({"limit": -1}, api.TilbenchError, "limit is -1"),
        ({"limit": 2.5}, api.TilbenchError, "limit is 2.5"),
        ({"limit": "5"}, api.TilbenchError, "limit is '5'"),
        ({"limit": True}, api.TilbenchError, "limit is True"),
        ({"train": "yes"}, api.TilbenchError, "unknown value of train 'yes'"),
        ({"models": [3]}, TypeError, "3 is no model: give a name, a path, or an object"),
        ({"suite": None}, TypeError, "suite is None; give a name"),
        ({"overrides": ["seed=1"]}, TypeError, "give a mapping of fields to values"),
    ],
)
def test_an_argument_of_another_kind_is_said_in_one_line(
    suite: Path, tmp_path: Path, asked: dict[str, Any], error: type[Exception], said: str
) -> None:
    out = tmp_path / "out"
    with pytest.raises(error) as raised:
        api.run_suite(**{"suite": suite, "models": ["xz"], "out": out, **asked})
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)
    assert not list(tmp_path.glob("out/*/*"))


def test_one_model_and_one_task_need_no_list(suite: Path, tmp_path: Path) -> None:
    task = yaml.safe_load(suite.read_text("utf-8"))["tasks"][0]["name"]
    one = api.run_suite(suite, "xz", out=tmp_path / "one", tasks=task, limit=1)
    several = api.run_suite(suite, ["xz"], out=tmp_path / "several", tasks=[task], limit=1)
    assert one["model"].tolist() == several["model"].tolist()


def test_a_run_reads_the_card_of_an_own_model_once(suite: Path, tmp_path: Path) -> None:
    class Restless:
        """Another fingerprint every time that it is asked."""

        asked = 0

        @property
        def card(self) -> ModelCard:
            self.asked += 1
            return ModelCard(name="own", fingerprint=f"own:{self.asked}", supports=frozenset({RequestKind.DOCUMENT}))

        def answer(self, requests: Sequence[Request]) -> Iterator[Sequence[tuple[Request, Answer]]]:
            yield [(each, Likelihood(-1.0, 1)) for each in requests]

    own: Any = Restless()
    frame = api.run_suite(suite, [own], out=tmp_path, limit=1)
    assert frame.loc[frame["model"] == "own", "model_fingerprint"].nunique() == 1


def test_a_setting_of_writing_that_does_not_exist_names_those_that_do(model: OpenedModel) -> None:
    with pytest.raises(api.TilbenchError, match=r"did you mean max_new_tokens\? Allowed: max_new_tokens, ") as error:
        model.generate("a", max_tokens=3)  # type: ignore[call-overload]
    assert "__" not in str(error.value)


def test_where_there_are_no_records_compare_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(api.TilbenchError, match="no records here"):
        api.compare(tmp_path, "a", "b")
    with pytest.raises(api.TilbenchError, match="is a file; name the folder"):
        api.read_records(tmp_path / "file")

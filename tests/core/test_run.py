"""`tilbench run` from suite to verified record, on the baselines and the sample data."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest

Tilbench = Callable[..., Any]

SUITE = """
name: small
reference_text: [text/kk/train]
baselines: [uniform-bytes, xz, ngram]
tasks:
  - {name: bpb-kk, metric: bpb, dataset: text/kk/heldout}
  - {name: bpb-ru, metric: bpb, dataset: text/ru/heldout}
  - {name: exam, metric: choice, dataset: questions/kk/test, settings: {form: cloze}, limit: 20}
macros:
  - {name: both, tasks: [bpb-kk, bpb-ru], value: bpb}
"""


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    path = tmp_path / "small.yaml"
    path.write_text(SUITE, encoding="utf-8")
    return path


@pytest.fixture
def records(tmp_path: Path, suite: Path, tilbench: Tilbench) -> Path:
    assert tilbench("run", suite, "--out", tmp_path / "records").status == 0
    return tmp_path / "records"


def record(records: Path, task: str, model: str) -> dict[str, Any]:
    (path,) = (records / "small" / task).glob(f"{model}-*.json")
    loaded: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return loaded


def test_uniform_bytes_cost_exactly_eight_bits_a_byte(records: Path) -> None:
    value = record(records, "bpb-kk", "uniform-bytes")["values"]["bpb"]
    assert (value["value"], value["low"], value["high"]) == (8.0, 8.0, 8.0)


def test_every_baseline_is_recorded_and_what_it_cannot_answer_reads_na(records: Path) -> None:
    assert record(records, "exam", "xz")["status"] == "n/a"
    assert "cannot answer continuation" in record(records, "exam", "xz")["reason"]
    exam = record(records, "exam", "ngram")
    assert exam["status"] == "done"
    assert exam["values"]["acc"]["chance"] == 0.25
    assert exam["task"]["dataset"]["rows"] == 20
    assert exam["task"]["dataset"]["total"] > 60


def test_a_macro_is_the_plain_mean_of_its_tasks(records: Path) -> None:
    parts = [record(records, task, "ngram")["values"]["bpb"]["value"] for task in ("bpb-kk", "bpb-ru")]
    assert record(records, "both", "ngram")["values"]["bpb"]["value"] == pytest.approx(sum(parts) / 2)


def test_a_second_process_answers_the_same(records: Path, suite: Path, tilbench: Tilbench, tmp_path: Path) -> None:
    outcome = tilbench("run", suite, "--out", tmp_path, "--executor", "process")
    assert outcome.status == 0, outcome.err
    found = {
        path.relative_to(tmp_path): json.loads(path.read_text("utf-8")) for path in tmp_path.glob("small/*/*.json")
    }
    wanted = {path.relative_to(records): json.loads(path.read_text("utf-8")) for path in records.glob("small/*/*.json")}
    for each in (*found.values(), *wanted.values()):
        del each["measured"]
    assert found == wanted


def test_a_second_run_scores_and_writes_nothing(records: Path, suite: Path, tilbench: Tilbench) -> None:
    before = {path: path.stat().st_mtime_ns for path in records.glob("small/*/*")}
    outcome = tilbench("run", suite, "--out", records)
    assert "0 requests answered" in outcome.err
    assert {path: path.stat().st_mtime_ns for path in records.glob("small/*/*")} == before


def test_results_of_another_engine_version_are_scored_again(
    records: Path, suite: Path, tilbench: Tilbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = record(records, "bpb-kk", "ngram")
    newer = before["measured"]["engine"] + 1
    for module in ("scoring.journal", "evaluation.execute"):
        monkeypatch.setattr(f"tilbench.{module}.ENGINE_VERSION", newer)
    outcome = tilbench("run", suite, "--out", records, "--tasks", "bpb-kk")
    assert outcome.status == 0
    assert " 0 requests answered" not in outcome.err
    after = record(records, "bpb-kk", "ngram")
    assert (after["measured"]["engine"], after["measured"]["reused"]) == (newer, 0)
    assert after["values"] == before["values"]


def test_a_changed_limit_is_another_task_and_the_old_record_stays(
    records: Path, suite: Path, tilbench: Tilbench
) -> None:
    (before,) = (records / "small" / "exam").glob("ngram-*.json")
    assert tilbench("run", suite, "--out", records, "--limit", "10", "--tasks", "exam").status == 0
    found = [json.loads(path.read_text(encoding="utf-8")) for path in (records / "small" / "exam").glob("ngram-*.json")]
    assert before.is_file()
    assert sorted(each["task"]["dataset"]["rows"] for each in found) == [10, 20]
    assert len({each["task"]["fingerprint"] for each in found}) == 2


def test_a_plugins_own_bug_is_one_line_with_its_place(tmp_path: Path, suite: Path, tilbench: Tilbench) -> None:
    (tmp_path / "buggy.py").write_text(
        "from tilbench import hookimpl\nfrom tilbench_metrics_likelihood.bpb import BitsPerByte\n"
        "class Buggy(BitsPerByte):\n    def score(self, row, answers):\n        return answers[0].logprobb\n"
        "@hookimpl\ndef register_metrics(register):\n    register('buggy', Buggy)\n",
        encoding="utf-8",
    )
    suite.write_text(SUITE.split("  - {name: bpb-ru")[0].replace("metric: bpb", "metric: buggy"), encoding="utf-8")
    outcome = tilbench("--plugin", tmp_path / "buggy.py", "run", suite, "--out", tmp_path / "records")
    assert (outcome.status, outcome.err.count("\n")) == (2, 1)
    assert "buggy.py:5: AttributeError" in outcome.err


def test_a_fault_of_an_override_is_not_blamed_on_the_file(tilbench: Tilbench) -> None:
    outcome = tilbench("train", "turkish-v1:tiny", "--set", "recipe.steps=3", "--dry-run")
    assert outcome.status == 2
    assert outcome.err.startswith("error: --set recipe.steps=3: 'recipe': warm-up takes")


def test_a_model_too_large_for_the_machine_is_refused_at_once(tmp_path: Path, tilbench: Tilbench) -> None:
    sizes = [f"architecture.config.{name}={value}" for name, value in (("hidden_size", 65536), ("num_layers", 64))]
    sets = [word for size in sizes for word in ("--set", size)]
    outcome = tilbench("train", "turkish-v1:tiny", *sets, "--out", tmp_path / "run")
    assert outcome.status == 2
    assert "GiB for weights, gradients and optimizer" in outcome.err
    assert not (tmp_path / "run").exists()


def test_records_hold_until_one_digit_is_changed(records: Path, tilbench: Tilbench) -> None:
    assert tilbench("records", "verify", records).status == 0
    (path,) = (records / "small" / "exam").glob("ngram-*.json")
    honest = path.read_text(encoding="utf-8")
    data = json.loads(honest)
    data["values"]["acc"]["value"] += 0.05
    path.write_text(json.dumps(data), encoding="utf-8")
    outcome = tilbench("records", "verify", records)
    assert outcome.status == 1
    assert "acc.value is" in outcome.out
    path.write_text(honest, encoding="utf-8")
    items = path.with_suffix(".parquet")
    table = pyarrow.parquet.read_table(items)
    pyarrow.parquet.write_table(table.slice(1), items)
    assert "SHA-256 differs" in tilbench("records", "verify", path).out


def test_what_is_no_record_is_named_once(tmp_path: Path, tilbench: Tilbench) -> None:
    (tmp_path / "odd.json").write_text("{", encoding="utf-8")
    outcome = tilbench("records", "verify", tmp_path / "odd.json")
    assert (outcome.status, outcome.out.count("odd.json")) == (1, 1)


def test_missing_data_leaves_the_other_tasks_alone(tmp_path: Path, suite: Path, tilbench: Tilbench) -> None:
    text = SUITE.replace("dataset: text/ru/heldout", "dataset: {path: /nowhere/to/be/found.jsonl}").split("macros")[0]
    suite.write_text(text.replace("path: /nowhere/to/be/found.jsonl", "hub: nobody/nothing"), encoding="utf-8")
    assert tilbench("run", suite, "--out", tmp_path / "records").status == 0
    missing = record(tmp_path / "records", "bpb-ru", "ngram")
    assert missing["status"] == "not run"
    assert "--data DIR" in missing["reason"]
    assert record(tmp_path / "records", "bpb-kk", "ngram")["status"] == "done"


def test_a_baseline_without_its_text_is_not_run_and_the_others_are(
    tmp_path: Path, suite: Path, tilbench: Tilbench
) -> None:
    suite.write_text(SUITE.replace("reference_text: [text/kk/train]", "reference_text: []"), encoding="utf-8")
    outcome = tilbench("run", suite, "--out", tmp_path / "records")
    assert (outcome.status, outcome.err.count("\n")) == (2, 1)
    assert "reference_text" in outcome.err


def test_a_dry_run_shows_requests_and_prompts_and_writes_nothing(
    tmp_path: Path, suite: Path, tilbench: Tilbench
) -> None:
    outcome = tilbench("run", suite, "--out", tmp_path / "records", "--dry-run", "--json")
    plan = json.loads(outcome.out)
    exam = next(task for task in plan["tasks"] if task["task"] == "exam")
    assert exam["requests"] == {"continuation": 80}
    assert exam["first_request"]["context"].startswith("Сұрақ: ")
    assert exam["first_request"]["context"].endswith("Жауап:")
    assert not (tmp_path / "records").exists()


def test_a_reason_that_holds_for_several_tasks_is_said_once(tmp_path: Path, tilbench: Tilbench) -> None:
    (tmp_path / "absent.yaml").write_text(
        "name: absent\ntasks:\n"
        "  - {name: one, metric: bpb, dataset: {hub: org/a, kind: documents}}\n"
        "  - {name: two, metric: bpb, dataset: {hub: org/b, kind: documents}}\n"
        "  - {name: three, metric: fertility, dataset: {hub: org/b, kind: documents}, language: kk-Cyrl}\n",
        encoding="utf-8",
    )
    shown = tilbench("run", tmp_path / "absent.yaml", "--models", "xz", "--dry-run").out.replace("\n", " ")
    assert shown.count("cannot be had from the Hub") == 1
    assert "not run: one, two, three: dataset 'DATASET' cannot" in shown
    alone = tilbench("run", tmp_path / "absent.yaml", "--models", "xz", "--dry-run", "--tasks", "two,three")
    assert "not run: two, three: dataset 'org/b' cannot" in alone.out


def test_json_prints_records_with_their_paths(tmp_path: Path, suite: Path, tilbench: Tilbench) -> None:
    printed = json.loads(tilbench("run", suite, "--out", tmp_path / "r", "--tasks", "bpb-kk", "--json").out)
    assert {each["model"]["name"] for each in printed} == {"uniform-bytes", "xz", "ngram"}
    assert all(Path(each["path"]).is_file() for each in printed)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("metric: bpb", "metric: bbp"), "unknown metric 'bbp'; did you mean bpb?"),
        (("text/kk/heldout", "text/kk/holdout"), "unknown dataset 'text/kk/holdout'; did you mean text/kk/heldout"),
        (("xz, ngram", "xy, ngram"), "unknown model 'xy'"),
        (("limit: 20", "limits: 20"), "small.yaml:8: unknown field 'tasks.2.limits'; did you mean limit?"),
        (("form: cloze", "form: guess"), "'letter', 'hybrid' or 'cloze'"),
        (("form: cloze", "from: cloze"), "unknown field 'from'; did you mean form?"),
        (("metric: choice", "metric: bpb"), "unknown field"),
        (("  - {name: bpb-ru", "\t- {name: bpb-ru"), "small.yaml:7: a tab"),
        (("name: bpb-ru", "name: bpb-kk"), "two have the name 'bpb-kk'"),
        (("tasks: [bpb-kk, bpb-ru]", "tasks: [bpb-kk, bpb-xx]"), "'bpb-xx', which is no task"),
        (("metric: bpb, dataset: text/kk/heldout", "metric: bpb, dataset: questions/kk/test"), "holds questions"),
    ],
)
def test_a_mistake_is_one_line_and_writes_nothing(
    tmp_path: Path, suite: Path, tilbench: Tilbench, change: tuple[str, str], says: str
) -> None:
    suite.write_text(SUITE.replace(*change), encoding="utf-8")
    outcome = tilbench("run", suite, "--out", tmp_path / "records")
    assert outcome.status == 2
    assert says in outcome.err
    assert (outcome.err.count("\n"), outcome.out) == (1, "")
    assert not (tmp_path / "records").exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("run", "kazah"), "unknown suite 'kazah'; did you mean kazakh?"),
        (("run", "suites/none.yaml"), "unknown suite file"),
        (("run", "SUITE", "--models", "til-mini-1b:tinny"), "did you mean tiny? Known: small, tiny"),
        (("run", "SUITE", "--models", "til-mini"), "did you mean til-mini-1b"),
        (("run", "SUITE", "--models", "./nowhere"), "./nowhere: no such folder"),
        (("run", "SUITE", "--models", "til-mini-1b:tiny"), "--out runs/til-mini-1b-tiny', or pass --train auto"),
        (("run", "SUITE", "--tasks", "exams"), "did you mean exam?"),
        (("run", "SUITE", "--out", "FILE"), "is a file; records go into a folder"),
        (("run", "SUITE", "--data", "./nowhere"), "is not a folder"),
        (("run", "SUITE", "--executor", "locl"), "did you mean local?"),
        (("run", "SUITE", "--set", "tasks.9.limit=3"), "not an index"),
        (("ruin",), "unknown command 'ruin'; did you mean run"),
        (("train", "turkish-v1:tiny", "--set", "recipe.stepz=3"), "did you mean steps?"),
        (("show", "til-mini"), "did you mean til-mini-1b"),
        (("list", "modles"), "did you mean models?"),
        (("leaderboard", "--records", "./nowhere"), "nowhere: no such folder; make records"),
        (("records", "verify", "./nowhere"), "nowhere: no such folder; make records"),
    ],
)
def test_a_wrong_argument_is_one_line_with_the_way_out(
    tmp_path: Path, suite: Path, tilbench: Tilbench, arguments: tuple[str, ...], says: str
) -> None:
    file = tmp_path / "file"
    file.touch()
    given = [{"SUITE": str(suite), "FILE": str(file)}.get(each, each) for each in arguments]
    outcome = tilbench(*given)
    assert outcome.status == 2
    assert says in outcome.err
    assert outcome.err.count("\n") == 1


def test_a_record_does_not_say_where_the_data_directory_is(tmp_path: Path, tilbench: Callable[..., Any]) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "mine.jsonl").write_text('{"id": "1", "text": "Bir ağaç."}\n', encoding="utf-8")
    suite = {"name": "mine", "tasks": [{"name": "bpb", "metric": "bpb", "dataset": "mine"}]}
    (tmp_path / "mine.yaml").write_text(json.dumps(suite), encoding="utf-8")
    asked = ["--models", "uniform-bytes", "--data", tmp_path / "data", "--out", tmp_path / "records"]
    assert tilbench("run", tmp_path / "mine.yaml", *asked).status == 0
    (path,) = (tmp_path / "records").rglob("*.json")
    assert json.loads(path.read_text(encoding="utf-8"))["task"]["dataset"]["origin"] == "mine.jsonl"

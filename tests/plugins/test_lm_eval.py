"""Tasks of lm-evaluation-harness in a suite, and our models in it, against its own evaluation with its own model."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tilbench.config.decoding import Decoding
from tilbench.errors import ConfigError, DataError, MissingDataset, MissingDependency, Refused, UnknownName, Unsupported
from tilbench.kinds.harness import Bound
from tilbench.kinds.metric import ItemScore, TaskContext
from tilbench.kinds.requests import Continuation, Document, Generated, Generation, Likelihood
from tilbench.loader import Host
from tilbench.resolve.suites import expand_suite, find_suite
from tilbench.scoring.journal import Journal
from tilbench.testing import MetricConformance
from tilbench_lm_eval.catalogue import Catalogue

pytest.importorskip("lm_eval")

TASKS = Path(__file__).parent / "lm_eval_tasks"
NAMES = ("capitals", "opposites", "stories", "sums", "endings")
SUITE: Mapping[str, Any] = {
    "name": "bridge",
    "lm_eval": [
        "knowledge",
        {"task": "capitals", "name": "capitals-5shot", "shots": 5, "language": "en-Latn"},
        {"task": "capitals", "name": "capitals-few", "limit": 4, "shots": 2},
        "stories",
        "sums",
        "endings",
    ],
    "lm_eval_include": ["tasks"],
}


@pytest.fixture(autouse=True)
def _calm() -> Iterator[None]:
    """Let lm-evaluation-harness and what it imports warn."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory, host: Host) -> Path:
    """A random Llama with a BPE, as Transformers saves them; it attends over 128 tokens, so that a text takes windows.

    Five examples fit: what does not is left out otherwise than by the harness.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM
    folder = tmp_path_factory.mktemp("models")
    texts = [line for path in sorted(TASKS.glob("*.jsonl")) for line in path.read_text("utf-8").splitlines()]
    (folder / "bpe").mkdir()
    host.registry.tokenizers.get("bpe").train(texts, {"vocab_size": 420}).save(folder / "bpe")
    load: Any = AutoTokenizer.from_pretrained
    tokenizer = load(folder / "bpe")
    tokenizer.save_pretrained(folder / "llama")
    torch.manual_seed(1)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=128,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    model: Any = LlamaForCausalLM(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(6)  # so that its choices are far from ties
    model.save_pretrained(folder / "llama")
    return folder / "llama"


@dataclass(frozen=True)
class Records:
    """What a run left."""

    folder: Path

    def __getitem__(self, task: str) -> dict[str, Any]:
        (path,) = self.folder.glob(f"*/{task}/*.json")
        record: dict[str, Any] = json.loads(path.read_bytes())
        return record

    def value(self, task: str, name: str) -> float:
        return float(self[task]["values"][name]["value"])

    def items(self, task: str) -> dict[str, dict[str, Any]]:
        (path,) = self.folder.glob(f"*/{task}/*.parquet")
        return {row["item"]: row for row in pyarrow.parquet.read_table(path).to_pylist()}


def write_suite(folder: Path, content: Mapping[str, Any]) -> Path:
    if not (folder / "tasks").exists():
        (folder / "tasks").symlink_to(TASKS)
    path = folder / f"{content['name']}.yaml"
    path.write_text(yaml.safe_dump(dict(content)), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory, llama: Path) -> Records:
    """Records of the suite, made by the command."""
    folder = tmp_path_factory.mktemp("ours")
    suite = write_suite(folder, SUITE)
    arguments = ["run", suite, "--models", llama, "--data", TASKS, "--out", folder / "records", "--device", "cpu"]
    done = subprocess.run(
        [sys.executable, "-m", "tilbench", *map(str, arguments)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
    assert "it/s" not in done.stderr
    return Records(folder / "records")


Evaluate = Callable[..., dict[str, Any]]
Command = Callable[..., Any]


@pytest.fixture(scope="module")
def evaluate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Evaluate]:
    """Return lm-evaluation-harness's own evaluation, on the same files."""
    cache = tmp_path_factory.mktemp("cache")
    with warnings.catch_warnings(), pytest.MonkeyPatch.context() as patch:
        warnings.simplefilter("ignore")
        patch.setenv("HF_DATASETS_CACHE", str(cache))
        patch.setenv("DISABLE_MULTIPROC", "1")
        import datasets
        from lm_eval import simple_evaluate
        from lm_eval.tasks import TaskManager

        patch.setattr(datasets.config, "HF_DATASETS_CACHE", str(cache))
        patch.setattr(datasets.config, "HF_DATASETS_OFFLINE", False)
        patch.chdir(TASKS)

        def call(model: Any, tasks: Sequence[str], **options: Any) -> dict[str, Any]:
            manager = TaskManager(include_path=str(TASKS), include_defaults=False)
            found: dict[str, Any] = simple_evaluate(
                model=model, tasks=list(tasks), task_manager=manager, bootstrap_iters=1000, log_samples=True, **options
            )
            return found

        yield call


@pytest.fixture(scope="module")
def theirs(evaluate: Evaluate, llama: Path) -> Any:
    """lm-evaluation-harness's own model of the folder."""
    from lm_eval.models.huggingface import HFLM

    return HFLM(pretrained=str(llama), device="cpu", dtype="float32", batch_size=4)


@pytest.fixture(scope="module")
def reference(evaluate: Evaluate, theirs: Any) -> dict[str, Any]:
    return evaluate(theirs, ["knowledge", "stories", "sums", "endings"])


# A suite's tasks


@pytest.mark.parametrize("task", NAMES)
def test_every_value_is_that_of_the_harness(ours: Records, reference: dict[str, Any], task: str) -> None:
    expected = {
        key: value
        for key, value in reference["results"][task].items()
        if "," in key and "_stderr" not in key and key not in ("name,none", "alias,none")
    }
    found = {key: value for key, value in ours[task]["values"].items() if key != "tied"}  # ours, beside theirs
    assert set(found) == set(expected)
    for key, value in expected.items():
        exact = key.startswith(("acc", "exact_match"))
        assert found[key]["value"] == pytest.approx(value, rel=1e-12 if exact else 1e-6, abs=1e-9), key
        stderr = reference["results"][task][f"{key.partition(',')[0]}_stderr,{key.partition(',')[2]}"]
        if stderr != "N/A":
            assert found[key]["stderr"] == pytest.approx(stderr, rel=1e-4, abs=1e-9), key
        assert found[key]["n"] == reference["results"][task]["sample_len"]


def test_tasks_say_something(reference: dict[str, Any]) -> None:
    """Or agreement would mean nothing."""
    results = reference["results"]
    assert 0 < results["capitals"]["acc,none"] < 1
    assert results["capitals"]["mcc,none"] != 0
    assert any(sample["resps"][0][0] for sample in reference["samples"]["sums"])
    assert results["stories"]["bits_per_byte,none"] > 1
    assert results["sums"]["chrf,as-written"] > 0


@pytest.mark.parametrize(
    ("task", "options"), [("capitals-5shot", {"num_fewshot": 5}), ("capitals-few", {"num_fewshot": 2, "limit": 4})]
)
def test_examples_are_those_of_the_harness(
    ours: Records, evaluate: Evaluate, theirs: Any, task: str, options: dict[str, Any]
) -> None:
    expected = evaluate(theirs, ["capitals"], **options)["results"]["capitals"]
    for key in ("acc,none", "acc_norm,none", "acc_mutual_info,none", "mcc,none"):
        assert ours.value(task, key) == pytest.approx(expected[key], abs=1e-12)
    assert ours[task]["task"]["shots"] == options["num_fewshot"]
    assert ours[task]["task"]["dataset"]["rows"] == options.get("limit", 14)


def test_requests_say_what_the_harness_put_before_a_question(host: Host, tmp_path: Path) -> None:
    bound = bind(host, tmp_path, {"task": "capitals", "shots": 5})
    (row, *_) = bound.rows.rows
    asked = [each for each in bound.metric.requests(row) if isinstance(each, Continuation) and each.context]
    for each in asked:
        ends = [each.keep, *(end for _, end in each.optional)]
        assert [begin for begin, _ in each.optional] == ends[:-1]
        examples = [each.context[begin:end] for begin, end in each.optional]
        question = each.context[ends[-1] :]
        assert len(examples) == 5
        assert all(example.endswith("\n\n") for example in examples)
        assert "\n\n" not in question
        assert each.context == each.context[: each.keep] + "".join(examples) + question
        assert len(each.beside) > 1
        assert each.continuation in each.beside


def test_a_group_is_weighted_by_rows(ours: Records, reference: dict[str, Any]) -> None:
    score = ours["knowledge"]["values"]["acc,none"]
    assert score["value"] == pytest.approx(reference["groups"]["knowledge"]["acc,none"], abs=1e-12)
    assert score["stderr"] == pytest.approx(reference["groups"]["knowledge"]["acc_stderr,none"], rel=0.02)
    parts = [ours[task]["values"]["acc,none"] for task in ("capitals", "opposites")]
    assert score["value"] == pytest.approx(sum(part["value"] * part["n"] for part in parts) / 21)


def test_prompts_and_log_likelihoods_are_those_of_the_harness(
    ours: Records, reference: dict[str, Any], host: Host, tmp_path: Path, llama: Path
) -> None:
    for task in NAMES:
        bound = bind(host, tmp_path, task)
        with Journal(ours.folder / "journal.sqlite") as journal:
            asked = {row.id: bound.metric.requests(row) for row in bound.rows.rows}
            flat = [request for each in asked.values() for request in each]
            known = journal.known(ours[task]["model"]["fingerprint"], flat)
        assert len(known) == len(set(flat))
        for sample in reference["samples"][task]:
            for request, response in zip(asked[str(sample["doc_id"])], sample["resps"], strict=True):
                answer: Any = known[request]
                if task == "sums":
                    assert answer.text == response[0]
                else:
                    logprob = response[0] if task == "stories" else response[0][0]
                    assert answer.logprob == pytest.approx(logprob, abs=1e-4)


def test_a_record_says_whose_task_it_is(ours: Records) -> None:
    from importlib.metadata import version

    task = ours["sums"]["task"]
    assert task["settings"]["version"] == "1.0"
    assert task["settings"]["lm_eval"] == version("lm_eval")
    assert task["settings"]["filters"] == ["first-letters", "as-written"]
    assert task["settings"]["config"]["generation_kwargs"]["max_gen_toks"] == 24
    assert task["headline"] == "exact_match,first-letters"
    assert str(TASKS) not in json.dumps(task["settings"])
    assert ours["capitals"]["notes"] == [f"lm-eval {version('lm_eval')}, capitals version 1.5, filters none"]
    assert ours["capitals-5shot"]["task"]["dataset"]["language"] == "en-Latn"


def test_an_accuracy_stands_beside_chance(ours: Records) -> None:
    assert ours["capitals"]["values"]["acc,none"]["chance"] == pytest.approx(1 / 3)
    assert ours["opposites"]["values"]["acc,none"]["chance"] == pytest.approx(1 / 2)


def test_ties_are_counted_beside_an_accuracy_that_takes_the_first(host: Host, tmp_path: Path, ours: Records) -> None:
    """The harness's argmax scores a model that knows nothing by where the right answers stand."""
    bound = bind(host, tmp_path, "opposites")
    rows = [(row, bound.metric.requests(row)) for row in bound.rows.rows]
    alike = [bound.metric.score(row, [Likelihood(-3.0, 2, False)] * len(asked)) for row, asked in rows]
    apart = [
        bound.metric.score(row, [Likelihood(-3.0 - place, 2, False) for place in range(len(asked))])
        for row, asked in rows
    ]
    values = bound.metric.aggregate([*alike[:3], *apart[3:]])
    assert (values["tied"].value, values["tied"].n) == (3, len(rows))
    assert bound.metric.aggregate(alike)["acc,none"] == bound.metric.aggregate(apart)["acc,none"]
    assert ours["opposites"]["values"]["tied"]["value"] == 0
    assert "tied" not in ours["stories"]["values"]


def test_records_hold_and_an_edited_one_does_not(ours: Records, tmp_path: Path, tilbench: Command) -> None:
    import shutil

    assert tilbench("records", "verify", ours.folder).status == 0
    for task, key in (("sums", "chrf,as-written"), ("knowledge", "acc,none"), ("stories", "word_perplexity,none")):
        shutil.copytree(ours.folder / "bridge" / task, tmp_path / "bridge" / task)
        (path,) = (tmp_path / "bridge" / task).glob("*.json")
        record = json.loads(path.read_bytes())
        record["values"][key]["value"] *= 1.01
        path.write_text(json.dumps(record), encoding="utf-8")
    done = tilbench("records", "verify", tmp_path)
    assert done.status != 0
    assert (done.out + done.err).count("and its items give") == 3


def test_two_models_are_compared_item_by_item(ours: Records, llama: Path, tmp_path: Path, tilbench: Command) -> None:
    suite = write_suite(tmp_path, {**SUITE, "lm_eval": ["capitals", "stories"], "name": "two"})
    done = tilbench("run", suite, "--models", f"{llama},uniform-bytes", "--data", TASKS, "--out", tmp_path / "records")
    assert done.status == 0, done.err
    compared = tilbench("compare", llama, "uniform-bytes", "--records", tmp_path / "records", "--json")
    assert compared.status == 0, compared.err
    assert "bits_per_byte,none" in compared.out
    assert "capitals" in compared.out


def test_a_second_run_asks_nothing(ours: Records, llama: Path, tmp_path: Path, tilbench: Command) -> None:
    suite = write_suite(tmp_path, {**SUITE, "name": "again", "lm_eval": ["capitals", "sums"]})
    (tmp_path / "records").mkdir()
    (tmp_path / "records" / "journal.sqlite").write_bytes((ours.folder / "journal.sqlite").read_bytes())
    done = tilbench("run", suite, "--models", llama, "--data", TASKS, "--out", tmp_path / "records", "--device", "cpu")
    assert "2 results new, 0 already there; 0 requests answered" in done.err


def test_a_task_without_its_data_is_not_run_and_the_others_are(llama: Path, tmp_path: Path, tilbench: Command) -> None:
    (tmp_path / "own").mkdir()
    lost = yaml.safe_load((TASKS / "opposites.yaml").read_text("utf-8"))
    lost |= {"task": "lost", "dataset_path": "nobody/lost", "dataset_name": "en", "dataset_kwargs": None}
    (tmp_path / "own" / "lost.yaml").write_text(yaml.safe_dump(lost), encoding="utf-8")
    content = {"name": "gaps", "lm_eval": ["lost", "opposites"], "lm_eval_include": ["own", "tasks"]}
    suite = write_suite(tmp_path, content)
    arguments = ("run", suite, "--models", llama, "--out", tmp_path / "records", "--device", "cpu", "--data")
    done = tilbench(*arguments, TASKS)
    assert done.status == 0, done.err
    records = Records(tmp_path / "records")
    assert records["opposites"]["status"] == "done"
    assert records["lost"]["status"] == "not run"
    assert f"put {TASKS}/nobody/lost/en/test.jsonl" in records["lost"]["reason"]
    data = tmp_path / "data"
    (data / "nobody" / "lost" / "en").mkdir(parents=True)
    (data / "nobody" / "lost" / "en" / "test.jsonl").write_bytes((TASKS / "opposites.jsonl").read_bytes())
    (data / "opposites.jsonl").write_bytes((TASKS / "opposites.jsonl").read_bytes())
    assert tilbench(*arguments, data).status == 0
    read = [json.loads(path.read_bytes()) for path in records.folder.glob("gaps/*/*.json")]
    found = {record["task"]["name"]: record for record in read if record["status"] == "done"}
    assert found["lost"]["values"]["acc,none"] == found["opposites"]["values"]["acc,none"]


def test_a_dry_run_shows_the_prompt(llama: Path, tmp_path: Path, tilbench: Command) -> None:
    suite = write_suite(tmp_path, SUITE)
    done = tilbench(
        "run", suite, "--models", llama, "--data", TASKS, "--dry-run", "--json", "--tasks", "capitals-5shot"
    )
    (task,) = json.loads(done.out)["tasks"]
    assert task["first_request"]["context"].startswith("Questions about cities.\n\nThe capital of ")
    assert task["first_request"]["context"].count("The capital of") == 6
    assert task["requests"] == {"continuation": 14 * 6}


# What a suite may list


def expand(host: Host, folder: Path, content: Mapping[str, Any], **options: Any) -> Any:
    return expand_suite(find_suite(str(write_suite(folder, content)), host.registry), host.registry, **options)


def bind(host: Host, folder: Path, entry: Any) -> Bound:
    suite = expand(host, folder, {"name": "one", "lm_eval": [entry], "lm_eval_include": ["tasks"]})
    metric: Any = host.registry.metrics.get("lm_eval")
    (task,) = suite.tasks
    context = TaskContext(shots=task.shots)
    bound: Bound = metric.bind(metric.Settings(**task.settings), context, TASKS, task.limit)
    return bound


def test_names_groups_and_tags_become_tasks(host: Host, tmp_path: Path) -> None:
    suite = expand(host, tmp_path, SUITE)
    names = [task.name for task in suite.tasks]
    assert names == ["capitals", "opposites", "capitals-5shot", "capitals-few", "stories", "sums", "endings"]
    (macro,) = suite.macros
    assert (macro.name, macro.tasks, macro.value) == ("knowledge", ["capitals", "opposites"], "acc,none")
    assert not suite.lm_eval


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        pytest.param({"lm_eval": ["capitls"]}, UnknownName, "did you mean capitals", marks=pytest.mark.slow),
        ({"lm_eval": ["capitals", {"task": "capitals", "shots": 1}]}, ConfigError, "two have the name 'capitals'"),
        ({"lm_eval": [{"task": "knowledge", "name": "k"}]}, ConfigError, "stands for 2 tasks"),
        ({"lm_eval": [{"task": "capitals", "shot": 1}]}, ConfigError, "did you mean shots"),
        ({"lm_eval": ["capitals"], "lm_eval_include": ["nowhere"]}, ConfigError, "is no folder"),
        ({"lm_eval": []}, ConfigError, "the suite has no tasks"),
        (
            {"lm_eval": ["capitals"], "macros": [{"name": "m", "tasks": ["capitals", "x"], "value": "acc,none"}]},
            ConfigError,
            "names 'x', which is no task",
        ),
    ],
)
def test_mistakes_are_one_line(
    host: Host, tmp_path: Path, content: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message) as found:
        expand(host, tmp_path, {"name": "wrong", "lm_eval_include": ["tasks"], **content})
    assert "\n" not in str(found.value)


def test_groups_tags_and_inline_members_are_those_of_the_harness(host: Host, tmp_path: Path) -> None:
    from lm_eval.tasks import TaskManager

    (tmp_path / "nest").mkdir()
    base = yaml.safe_load((TASKS / "opposites.yaml").read_text("utf-8"))
    base["dataset_kwargs"] = {"data_files": {"test": str(TASKS / "opposites.jsonl")}}
    inline = {**base, "task": "inline", "doc_to_text": "Not {{word}} but"}
    files = {
        "a": {**base, "task": "a", "tag": "short"},
        "b": {**base, "task": "b", "tag": ["short", "long"]},
        "c": {**base, "task": "c"},
        "inner": {"group": "inner", "task": "c", "aggregate_metric_list": {"metric": "acc"}},
        "outer": {
            "group": "outer",
            "task": ["short", "inner", {"group": "made", "task": ["c", inline]}, {"task": "c", "num_fewshot": 2}],
            "aggregate_metric_list": [{"metric": "acc", "weight_by_size": False}],
            "description": "Opposites. ",
        },
    }
    for name, content in files.items():
        (tmp_path / "nest" / f"{name}.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    loaded = TaskManager(include_path=str(tmp_path / "nest"), include_defaults=False)
    for name in ("short", "outer"):
        found = Catalogue([tmp_path / "nest"]).find(name).leaves
        tasks = loaded.load([name])["tasks"]
        assert {leaf.name for leaf in found} == set(tasks)
        for leaf in found:
            assert leaf.config()["doc_to_text"] == tasks[leaf.name].config.doc_to_text
            assert leaf.config().get("description", "") == tasks[leaf.name].config.description
    content = {"name": "nested", "lm_eval": ["inner", "short"], "lm_eval_include": ["nest"]}
    suite = expand(host, tmp_path, content)
    assert [task.name for task in suite.tasks] == ["c", "a", "b"]
    assert not suite.macros  # the mean over one task is that task's
    shots = {leaf.outline.get("num_fewshot") for leaf in Catalogue([tmp_path / "nest"]).find("outer").leaves}
    assert shots == {None, 2}


OWN = {
    "task": "own",
    "dataset_path": "json",
    "dataset_kwargs": {"data_files": {"test": "sums.jsonl"}},
    "test_split": "test",
    "output_type": "generate_until",
    "doc_to_text": "FUNCTION utils.ask",
    "doc_to_target": "answer",
    "generation_kwargs": {"until": ["\n"], "max_gen_toks": 4},
    "metric_list": [
        {"metric": "exact_match", "aggregation": "FUNCTION utils.longest", "higher_is_better": True},
    ],
}
CODE = """
def ask(doc):
    return doc["question"]


def longest(items):
    return max(items)
"""


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A suite with a task file that names functions."""
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "_base.yaml").write_text(yaml.safe_dump(OWN).replace("FUNCTION", "!function"), "utf-8")
    (tmp_path / "own" / "own.yaml").write_text("include: _base.yaml\nmetadata: {version: 3}\n", "utf-8")
    (tmp_path / "own" / "utils.py").write_text(CODE, "utf-8")
    return write_suite(tmp_path, {"name": "own-code", "lm_eval": ["own"], "lm_eval_include": ["own"]})


def test_python_of_a_task_runs_only_where_it_is_allowed(own: Path, host: Host) -> None:
    suite = find_suite(str(own), host.registry)
    with pytest.raises(ConfigError, match=r"utils\.ask.*--trust-remote-code"):
        expand_suite(suite, host.registry)
    (task,) = expand_suite(suite, host.registry, trust_remote_code=True).tasks
    assert task.name == "own"


def test_an_aggregation_of_the_tasks_own_is_verified_with_its_file(
    own: Path, llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tilbench: Command
) -> None:
    records = tmp_path / "records"
    arguments = ("run", own, "--models", llama, "--data", TASKS, "--out", records, "--trust-remote-code")
    done = tilbench(*arguments)
    assert done.status == 0, done.err
    record = Records(records)["own"]
    assert record["values"]["exact_match,none"]["stderr"] is None
    assert "return max(items)" in json.dumps(record["task"]["settings"]["config"])
    monkeypatch.setenv("TILBENCH_LM_EVAL_INCLUDE", str(tmp_path / "own"))
    assert tilbench("records", "verify", records).status == 0
    (tmp_path / "own" / "utils.py").write_text(CODE.replace("max", "min"), "utf-8")
    done = tilbench("records", "verify", records)
    assert done.status == 1
    assert "is not here as it was then; name the folder of its files in TILBENCH_LM_EVAL_INCLUDE" in done.out


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"doc_to_image": "picture"}, "shows images or sound"),
        ({"unsafe_code": True}, "runs code that the model writes"),
        ({"generation_kwargs": {"until": ["\n"], "num_beams": 4}}, "num_beams=4"),
    ],
)
def test_what_our_models_cannot_be_asked_is_not_run(
    change: dict[str, Any], message: str, llama: Path, tmp_path: Path, tilbench: Command
) -> None:
    (tmp_path / "odd").mkdir()
    config = {**yaml.safe_load((TASKS / "sums.yaml").read_text("utf-8")), "task": "odd", **change}
    (tmp_path / "odd" / "odd.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    suite = write_suite(tmp_path, {"name": "odd-ones", "lm_eval": ["odd"], "lm_eval_include": ["odd"]})
    done = tilbench("run", suite, "--models", llama, "--data", TASKS, "--out", tmp_path / "records")
    assert done.status == 0, done.err
    record = Records(tmp_path / "records")["odd"]
    assert record["status"] == "not run"
    assert message in record["reason"]


# The parts


class TestConformance(MetricConformance):
    """The metric on one of its tasks."""

    task: str = "capitals"

    @pytest.fixture(autouse=True, params=["opposites", "stories", "sums", "endings"])
    def _bound(self, request: pytest.FixtureRequest, host: Host, tmp_path: Path) -> None:
        self.bound = bind(host, tmp_path, request.param)
        self.subject = host.registry.metrics.get("lm_eval")
        self.examples = self.bound.rows.rows

    def metric(self) -> Any:
        return self.bound.metric

    def test_interface(self) -> None:
        pytest.skip("its rows are of no file's kind")


def test_a_fingerprint_follows_the_prompts(host: Host, tmp_path: Path) -> None:
    same = [bind(host, tmp_path, "capitals").rows.fingerprint for _ in range(2)]
    assert same[0] == same[1]
    assert bind(host, tmp_path, {"task": "capitals", "shots": 1}).rows.fingerprint != same[0]


def test_requests_are_those_of_the_harness() -> None:
    from tilbench_lm_eval.messages import as_request

    assert as_request("loglikelihood", ("a", " b")) == Continuation("a", " b")
    assert as_request("loglikelihood_rolling", ("a",)) == Document("a", None, 1)
    assert as_request("generate_until", ("a", {"until": "\n"})) == Generation(
        "a", Decoding(max_new_tokens=256), ("\n",)
    )
    options = {"until": ["", "x"], "max_new_tokens": 8, "do_sample": True, "top_k": 4, "top_p": 0.5}
    sampled = Decoding(max_new_tokens=8, temperature=1.0, top_k=4, top_p=0.5)
    assert as_request("generate_until", ("a", options), 2) == Generation("a", sampled, ("x",), 2)
    assert as_request("generate_until", ("a", {"temperature": 0.7, "do_sample": False})) == Generation(
        "a", Decoding(max_new_tokens=256)
    )
    with pytest.raises(Unsupported, match="length_penalty"):
        as_request("generate_until", ("a", {"length_penalty": 2}))
    with pytest.raises(Unsupported, match="multiple_wishes"):
        as_request("multiple_wishes", ("a",))


def test_repeats_are_sampled_apart_and_go_to_the_filters_together(host: Host, tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    config = yaml.safe_load((TASKS / "sums.yaml").read_text("utf-8"))
    vote = {"name": "vote", "filter": [{"function": "majority_vote"}, {"function": "take_first"}]}
    options = {"until": ["."], "max_gen_toks": 4, "do_sample": True, "temperature": 0.7}
    config |= {"task": "votes", "repeats": 3, "filter_list": [vote], "generation_kwargs": options}
    (tmp_path / "own" / "votes.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    content = {"name": "one", "lm_eval": ["votes"], "lm_eval_include": ["own"]}
    metric: Any = host.registry.metrics.get("lm_eval")
    (task,) = expand(host, tmp_path, content).tasks
    bound = metric.bind(metric.Settings(**task.settings), TaskContext(), TASKS, 1)
    (row,) = bound.rows.rows
    asked = bound.metric.requests(row)
    assert [(request.seed, request.decoding.temperature) for request in asked] == [(0, 0.7), (1, 0.7), (2, 0.7)]
    answers = [Generated(text, 2, True) for text in ("8", "The answer is 7.", "The answer is 7.")]
    assert bound.metric.score(row, answers).values["exact_match,vote"] == 1
    assert bound.metric.score(row, answers[:2] + answers[:1]).values["exact_match,vote"] == 0


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, host: Host) -> None:
    metric: Any = host.registry.metrics.get("lm_eval")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingDependency, match=r"pip install 'tilbench\[lm-eval\]'"):
        metric.expand([], [], trust_remote_code=False)


def test_a_result_that_is_aggregated_otherwise_than_declared_is_refused(host: Host, tmp_path: Path) -> None:
    metric: Any = bind(host, tmp_path, "sums").metric
    scores = [ItemScore("0", "0", {"pass@1,none": 1.0}), ItemScore("1", "1", {"pass@1,none": 0.0})]
    assert metric.aggregate(scores)["pass@1,none"].value == 0.5  # the harness takes the mean of what none declares
    metric._task.aggregation()["pass@1"] = max
    with pytest.raises(Refused, match="pass@1"):
        metric.aggregate(scores)


@given(st.lists(st.tuples(st.floats(-1e4, 0), st.integers(1, 1000)), min_size=1, max_size=8))
def test_bits_and_perplexities_follow_from_items(documents: list[tuple[float, int]]) -> None:
    from tilbench_lm_eval.settings import MetricUse
    from tilbench_lm_eval.values import keep, value_of

    nats, length = -math.fsum(logprob for logprob, _ in documents), sum(length for _, length in documents)
    expected = {"bits_per_byte": nats / length / math.log(2), "weighted_perplexity": math.exp(min(nats / length, 700))}
    for name, value in expected.items():
        use = MetricUse(aggregation=name, higher_is_better=False)
        items = [
            ItemScore(str(place), str(place), *keep("m,none", document, name))
            for place, document in enumerate(documents)
        ]
        found = value_of("m,none", use, sum, items)
        if nats / length < 700:
            assert found.value == pytest.approx(value, rel=1e-9)


def test_results_that_are_no_numbers_are_kept_as_text() -> None:
    import numpy

    from tilbench_lm_eval.values import keep

    assert keep("acc,none", numpy.bool_(True), "mean") == ({"acc,none": 1.0}, {})
    assert keep("chrf,x", ["бір", "екі"], "chrf") == ({}, {"chrf,x:json": '["бір", "екі"]'})
    assert keep("b,x", (1, numpy.array([0.25, 0.75])), "brier_score") == ({}, {"b,x:json": "[1, [0.25, 0.75]]"})
    with pytest.raises(DataError, match="cannot be recorded: object"):
        keep("m,x", object(), "mean")


def test_a_split_that_holds_examples_may_be_missing_where_none_is_shown(tmp_path: Path) -> None:
    from tilbench_lm_eval.sources import load_splits

    config = {"task": "t", "dataset_path": "o/n", "test_split": "test", "fewshot_split": "dev"}
    (tmp_path / "o" / "n").mkdir(parents=True)
    (tmp_path / "o" / "n" / "test.jsonl").write_text('{"a": "x"}\n{"a": "y", "b": 1}\n', "utf-8")
    origin, splits = load_splits(config, 0, tmp_path)
    assert origin == str(tmp_path / "o" / "n" / "test.jsonl")
    assert [row["a"] for row in splits["test"]] == ["x", "y"]
    assert len(splits["dev"]) == 0
    pyarrow.parquet.write_table(pyarrow.table({"a": ["z"], "c": [[1, 2]]}), tmp_path / "o" / "n" / "dev.parquet")
    assert load_splits(config, 3, tmp_path)[1]["dev"][0] == {"a": "z", "c": [1, 2]}
    (tmp_path / "o" / "n" / "dev.parquet").unlink()
    with pytest.raises(MissingDataset, match=r"split 'dev' is missing.*o/n/dev\.jsonl"):
        load_splits(config, 3, tmp_path)


# Our models in the harness


def test_our_engine_is_a_model_of_the_harness(evaluate: Evaluate, reference: dict[str, Any], llama: Path) -> None:
    from tilbench_lm_eval.model import TilbenchLM

    found = evaluate(TilbenchLM(checkpoint=str(llama), device="cpu"), ["knowledge", "stories", "sums", "endings"])
    for task in NAMES:
        for key, value in reference["results"][task].items():
            if isinstance(value, float):
                assert found["results"][task][key] == pytest.approx(value, rel=1e-5, abs=1e-9), (task, key)
        for sample, other in zip(found["samples"][task], reference["samples"][task], strict=True):
            for mine, their in zip(sample["resps"], other["resps"], strict=True):
                if isinstance(their[0], str):
                    assert mine == their
                else:
                    assert torch.tensor(mine, dtype=torch.float64) == pytest.approx(torch.tensor(their), abs=1e-4)
    for key in ("acc,none", "acc_stderr,none"):
        assert found["groups"]["knowledge"][key] == pytest.approx(reference["groups"]["knowledge"][key])
    assert found["config"]["model_fingerprint"]


def test_a_chat_template_is_the_tokenizers_and_special_tokens_are_refused(llama: Path, tmp_path: Path) -> None:
    import shutil

    from tilbench_lm_eval.model import TilbenchLM

    turns = [{"role": "user", "content": "Hello"}]
    model = TilbenchLM(checkpoint=str(llama), device="cpu")
    assert model.tokenizer_name == model.card.tokenizer
    with pytest.raises(Unsupported, match="has no chat template"):
        model.apply_chat_template(turns)
    template = (
        "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}{% if add_generation_prompt %}A:{% endif %}"
    )
    for name, text in (("plain", template), ("special", "{{ bos_token }}" + template)):
        shutil.copytree(llama, tmp_path / name)
        (tmp_path / name / "chat_template.jinja").write_text(text, "utf-8")
    plain = TilbenchLM(checkpoint=str(tmp_path / "plain"), device="cpu")
    assert plain.apply_chat_template(turns) == "user: Hello\nA:"
    assert plain.chat_template(True) == template
    with pytest.raises(Unsupported, match="which tilbench reads as plain text"):
        TilbenchLM(checkpoint=str(tmp_path / "special"), device="cpu").apply_chat_template(turns)


def test_it_is_registered_by_name_and_opens_any_reference(evaluate: Evaluate) -> None:
    import tilbench_lm_eval.model  # noqa: F401

    found = evaluate("tilbench", ["stories"], model_args="checkpoint=uniform-bytes")
    assert found["results"]["stories"]["bits_per_byte,none"] == pytest.approx(8)


@pytest.mark.long
def test_the_launcher_runs_the_harness_own_command(llama: Path, tmp_path: Path, reference: dict[str, Any]) -> None:
    arguments = ["--tasks", "opposites", "--include_path", str(TASKS), "--output_path", str(tmp_path / "out")]
    command = [sys.executable, "-m", "tilbench_lm_eval", "run", *arguments, "--device", "cpu", "--model_args"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_DATASETS_CACHE": str(tmp_path), "HF_DATASETS_OFFLINE": "0"}
    environment["PYTHONWARNINGS"] = "ignore"
    done = subprocess.run(
        [*command, f"checkpoint={llama}"], cwd=TASKS, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    (path,) = (tmp_path / "out").rglob("results_*.json")
    accuracy = json.loads(path.read_bytes())["results"]["opposites"]["acc,none"]
    assert accuracy == reference["results"]["opposites"]["acc,none"]
    wrong = subprocess.run(
        [*command, "checkpoint=no/where"], cwd=TASKS, env=environment, capture_output=True, text=True, check=False
    )
    assert wrong.returncode == 2
    assert wrong.stderr.splitlines()[-1].startswith("error: ")


# A task of the harness's own, on real questions


@pytest.mark.slow
def test_belebele_in_kazakh_runs_offline(data_dir: Path, llama: Path, tmp_path: Path, tilbench: Command) -> None:
    import gzip

    source = data_dir / "mc" / "belebele-kazakh" / "test.jsonl.gz"
    if not source.is_file():
        pytest.skip("no Belebele in the data directory")
    with gzip.open(source, "rt", encoding="utf-8") as file:
        questions = [json.loads(line) for line in file][:30]
    folder = tmp_path / "data" / "facebook" / "belebele" / "kaz_Cyrl"
    folder.mkdir(parents=True)
    with (folder / "test.jsonl").open("w", encoding="utf-8") as out:
        for question in questions:
            row = {
                "link": question["id"].partition("#")[0],
                "question_number": int(question["id"].partition("#")[2]),
                "flores_passage": question["passage"],
                "question": question["question"],
                **{f"mc_answer{number}": choice for number, choice in enumerate(question["choices"], start=1)},
                "correct_answer_num": str(question["answer"] + 1),
                "dialect": "kaz_Cyrl",
            }
            out.write(json.dumps(row, ensure_ascii=False) + "\n")
    content = {"name": "offline", "tasks": [], "lm_eval": [{"task": "belebele_kaz_Cyrl", "shots": 0, "limit": 20}]}
    suite = write_suite(tmp_path, content)
    arguments = ("--models", llama, "--data", tmp_path / "data", "--out", tmp_path / "records", "--device", "cpu")
    done = tilbench("run", suite, *arguments)
    assert done.status == 0, done.err
    record = Records(tmp_path / "records")["belebele_kaz_Cyrl"]
    assert record["status"] == "done"
    assert record["task"]["dataset"]["name"] == "facebook/belebele/kaz_Cyrl"
    assert (record["task"]["dataset"]["rows"], record["task"]["dataset"]["total"]) == (20, 30)
    assert record["task"]["settings"]["version"] == "0.0"
    assert record["values"]["acc,none"]["chance"] == 0.25
    assert tilbench("records", "verify", tmp_path / "records").status == 0

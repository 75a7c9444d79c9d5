"""suites/kazakh.yaml over seven models, on real text and exam questions, against independent computations."""

from __future__ import annotations

import json
import lzma
import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest
import torch
import yaml

from tilbench.evaluation.plan import PlannedTask, plan_tasks, select_tasks
from tilbench.kinds.requests import Continuation
from tilbench.loader import Host
from tilbench.resolve.datasets import rows_of
from tilbench.resolve.suites import find_suite

pytestmark = pytest.mark.long

LIMIT = 40
MODELS = ("a", "a@0", "b", "llama", "uniform-bytes", "ngram", "xz")
TRAINED = {"a": "turkish-v1:tiny", "b": "til-mini-1b:tiny"}
TEXTS = ("bpb-kk", "bpb-kk-reviews", "bpb-ru")
EXAMS = ("tumlu-kk-letter", "tumlu-kk-cloze", "tumlu-kk-letter-5shot", "belebele-kk-letter", "belebele-kk-cloze")
KAZAKH_DATA = "data=[{dataset: text/kk/train, heldout: text/kk/heldout}]"


@dataclass(frozen=True)
class Board:
    """What the run left: a folder with the models, and records under `records`."""

    folder: Path

    @cached_property
    def records(self) -> Mapping[tuple[str, str], tuple[Path, dict[str, Any]]]:
        read = [(path, json.loads(path.read_bytes())) for path in self.folder.glob("records/kazakh/*/*.json")]
        return {(record["task"]["name"], record["model"]["name"]): (path, record) for path, record in read}

    def value(self, task: str, model: str, name: str) -> float:
        value: float = self.records[task, model][1]["values"][name]["value"]
        return value

    def items(self, task: str, model: str) -> dict[str, dict[str, Any]]:
        table = pyarrow.parquet.read_table(self.records[task, model][0].with_suffix(".parquet"))
        return {row["item"]: row for row in table.to_pylist()}


@pytest.fixture(scope="module")
def board(
    once: Callable[..., Path],
    command: Callable[..., tuple[str, str]],
    save_llama: Callable[..., None],
    data_dir: Path,
    root: Path,
) -> Board:
    data = ("--data", data_dir.resolve())

    def make(folder: Path) -> None:
        for name, spec in TRAINED.items():
            command("train", spec, *data, "--set", KAZAKH_DATA, "--set", "recipe.steps=60", "--out", name, cwd=folder)
        save_llama(folder / "llama", *data, length=2048)  # no five-shot prompt is cut
        suite, models = root / "suites" / "kazakh.yaml", ",".join(MODELS[:4])
        command(
            "run", suite, *data, "--models", models, "--limit", str(LIMIT), "--device", "cpu", "--out", "records",
            cwd=folder,
        )  # fmt: skip

    return Board(once("kazakh", make))


@pytest.fixture(scope="module")
def plan(host: Host, data_dir: Path, root: Path) -> Mapping[str, PlannedTask]:
    """The rows and requests of the tasks that are compared, drawn as the command draws them."""
    suite = find_suite(str(root / "suites" / "kazakh.yaml"), host.registry, ())
    wanted = select_tasks(suite, [*TEXTS, *EXAMS, "fertility-kk"])
    return {task.used.name: task for task in plan_tasks(suite, wanted, host.registry, data_dir, LIMIT)}


@pytest.fixture(scope="module")
def llama(board: Board) -> tuple[Any, Any]:
    """Transformers' own model and tokenizer of the Transformers folder."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from transformers import AutoModelForCausalLM, AutoTokenizer

        load_model: Any = AutoModelForCausalLM.from_pretrained
        load_tokenizer: Any = AutoTokenizer.from_pretrained
        return load_model(board.folder / "llama", dtype=torch.float32).eval(), load_tokenizer(board.folder / "llama")


@torch.no_grad()
def nats(logits: Callable[[torch.Tensor], torch.Tensor], prefix: int, ids: list[int], window: int) -> float:
    """−log p of `ids` after `prefix`, in windows that each predict the next `window` ids once (the last sees more)."""
    sequence, total = torch.tensor([prefix, *ids]), 0.0
    for start in range(0, len(ids), window):
        end = min(start + window, len(ids))
        inputs = sequence[max(0, end - window) : end]
        logprobs = logits(inputs[None])[0].double().log_softmax(-1)  # [T, V]
        wanted = sequence[start + 1 : end + 1]
        total -= float(logprobs[-len(wanted) :].gather(1, wanted[:, None]).sum())
    return total


def bits_per_byte(nats_of: Callable[[str], float], task: PlannedTask) -> float:
    texts: list[str] = [getattr(row, "text") for row in task.rows]  # noqa: B009 rows of documents have it
    return sum(map(nats_of, texts)) / math.log(2) / sum(len(text.encode("utf-8")) for text in texts)


def test_every_model_has_a_record_of_every_task_and_the_records_hold(
    board: Board, root: Path, host: Host, tilbench: Callable[..., Any]
) -> None:
    tasks = [task.name for task in find_suite(str(root / "suites" / "kazakh.yaml"), host.registry).tasks]
    assert set(board.records) == {(task, model) for task in tasks for model in MODELS}
    assert tilbench("records", "verify", board.folder / "records").status == 0


def test_what_needs_the_hub_is_not_run_and_says_how_to_get_it_and_the_rest_is_done(board: Board) -> None:
    local = {*TEXTS, *EXAMS, "fertility-kk", "sample-kk-letter", "sample-kk-cloze"}
    for (task, model), (_, record) in board.records.items():
        if task not in local:
            assert (record["status"], record["values"]) == ("not run", {})
            assert "put it at " in record["reason"] or "put the split at DIR/" in record["reason"]
            continue
        asked_of_text_alone = task in TEXTS
        cannot = {
            "xz": not asked_of_text_alone,
            "uniform-bytes": task == "fertility-kk",
            "ngram": task == "fertility-kk",
        }
        assert record["status"] == ("n/a" if cannot.get(model) else "done"), (task, model)


@pytest.mark.parametrize("task", TEXTS)
def test_uniform_bytes_are_eight_bits_and_training_helped(board: Board, task: str) -> None:
    assert board.value(task, "uniform-bytes", "bpb") == 8
    assert board.value(task, "a", "bpb") < board.value(task, "a@0", "bpb")


@pytest.mark.parametrize("task", TEXTS)
def test_bits_per_byte_of_a_transformers_folder(
    board: Board, plan: Mapping[str, PlannedTask], llama: tuple[Any, Any], task: str
) -> None:
    model, tokenizer = llama

    def nats_of(text: str) -> float:
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        return nats(
            lambda inputs: model(inputs).logits, tokenizer.bos_token_id, ids, model.config.max_position_embeddings
        )

    assert board.value(task, "llama", "bpb") == pytest.approx(bits_per_byte(nats_of, plan[task]), rel=1e-6)


@pytest.mark.parametrize("name", ["a", "a@0", "b"])
def test_bits_per_byte_of_a_native_run(board: Board, plan: Mapping[str, PlannedTask], host: Host, name: str) -> None:
    run, _, step = name.partition("@")
    folder = board.folder / run / f"step-{int(step or 60):08d}"
    info = json.loads((folder / "tilbench.json").read_text("utf-8"))
    architecture = host.registry.architectures.get(info["architecture"]["name"])
    module = architecture.load(architecture.Config(**info["architecture"]["config"]), folder).eval()
    tokenizer = host.registry.tokenizers.get(info["tokenizer"]).load(str(folder))

    def nats_of(text: str) -> float:
        return nats(module, info["prefix"], tokenizer.encode(text), info["architecture"]["config"]["max_length"])

    assert board.value("bpb-kk", name, "bpb") == pytest.approx(bits_per_byte(nats_of, plan["bpb-kk"]), rel=1e-6)


def test_xz_is_the_size_that_lzma_gives(board: Board, plan: Mapping[str, PlannedTask]) -> None:
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME}]

    def nats_of(text: str) -> float:
        return 8 * math.log(2) * len(lzma.compress(text.encode(), format=lzma.FORMAT_RAW, filters=filters))

    assert board.value("bpb-kk-reviews", "xz", "bpb") == pytest.approx(
        bits_per_byte(nats_of, plan["bpb-kk-reviews"]), rel=1e-12
    )


def test_fertility_is_tokens_by_words(
    board: Board, data_dir: Path, host: Host, plan: Mapping[str, PlannedTask]
) -> None:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(board.folder / "llama" / "tokenizer.json"))
    texts: list[str] = [getattr(row, "text") for row in plan["fertility-kk"].rows]  # noqa: B009
    tokens = sum(len(tokenizer.encode(text, add_special_tokens=False).ids) for text in texts)
    assert board.value("fertility-kk", "llama", "tokens_per_word") == pytest.approx(
        tokens / sum(len(text.split()) for text in texts), rel=1e-12
    )
    whole = rows_of("ner-kazakh/test", host.registry, data_dir)
    assert plan["fertility-kk"].used.dataset.total == len(whole.rows) > LIMIT == len(texts)


@pytest.fixture(scope="module")
def harness(
    board: Board, plan: Mapping[str, PlannedTask], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Mapping[str, Any]]:
    """lm-eval's own results and samples on our rendered prompts, as tasks of its own written for them."""
    folder = tmp_path_factory.mktemp("lm-eval")
    for name in EXAMS:
        with (folder / f"{name}.jsonl").open("w", encoding="utf-8") as file:
            for row in plan[name].rows:
                requests = [each for each in plan[name].requests[row.id] if isinstance(each, Continuation)]
                document = {
                    "item": row.id,
                    "prompt": requests[0].context,
                    "choices": [each.continuation.removeprefix(" ") for each in requests],
                    "answer": getattr(row, "answer"),  # noqa: B009 rows of questions have it
                }
                file.write(json.dumps(document, ensure_ascii=False) + "\n")
        task = {
            "task": name,
            "dataset_path": "json",
            "dataset_kwargs": {"data_files": {"test": str(folder / f"{name}.jsonl")}},
            "test_split": "test",
            "output_type": "multiple_choice",
            "doc_to_text": "{{prompt}}",
            "doc_to_choice": "choices",
            "doc_to_target": "answer",
            "metric_list": [{"metric": "acc"}, {"metric": "acc_norm"}],
        }
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(task), encoding="utf-8")
    with warnings.catch_warnings(), pytest.MonkeyPatch.context() as patch:
        warnings.simplefilter("ignore")
        patch.setenv("HF_DATASETS_CACHE", str(folder / "cache"))
        import datasets
        from lm_eval import simple_evaluate
        from lm_eval.models.huggingface import HFLM
        from lm_eval.tasks import TaskManager

        patch.setattr(datasets.config, "HF_DATASETS_CACHE", str(folder / "cache"))
        patch.setattr(datasets.config, "HF_DATASETS_OFFLINE", False)
        model = HFLM(pretrained=str(board.folder / "llama"), device="cpu", dtype="float32", batch_size=8)
        manager = TaskManager(include_path=str(folder), include_defaults=False)
        yield simple_evaluate(
            model=model, tasks=list(EXAMS), task_manager=manager, bootstrap_iters=0, log_samples=True, verbosity="ERROR"
        )


@pytest.mark.parametrize("task", EXAMS)
def test_accuracy_is_that_of_lm_eval_question_by_question(
    board: Board, plan: Mapping[str, PlannedTask], harness: Mapping[str, Any], task: str
) -> None:
    accuracies = {"acc": "acc", "acc_char": "acc_norm"} if "cloze" in task else {"acc": "acc"}
    theirs = {sample["doc"]["item"]: sample for sample in harness["samples"][task]}
    ours = board.items(task, "llama")
    assert set(ours) == set(theirs) == {row.id for row in plan[task].rows}
    assert len(ours) == LIMIT
    reading = board.records[task, "llama"][1]["reading"] or {}
    assert not reading.get("dropped_rows")  # lm-eval would cut such prompts elsewhere
    assert not reading.get("cut_rows")
    for item, sample in theirs.items():
        scores = [logprob for logprob, _ in (response[0] for response in sample["resps"])]
        by_length = [score / len(choice) for score, choice in zip(scores, sample["doc"]["choices"], strict=True)]
        for name, values in {"acc": scores, "acc_char": by_length}.items():
            if name in accuracies:
                assert ours[item][f"picked_{name}"] == values.index(max(values)), (item, name, values)
    for name, other in accuracies.items():
        assert board.value(task, "llama", name) == pytest.approx(harness["results"][task][f"{other},none"], abs=1e-12)


def test_the_dry_run_shows_the_prompt_that_was_compared(
    plan: Mapping[str, PlannedTask], data_dir: Path, root: Path, tilbench: Callable[..., Any]
) -> None:
    suite = root / "suites" / "kazakh.yaml"
    outcome = tilbench(
        "run", suite, "--data", data_dir, "--tasks", ",".join(EXAMS), "--limit", LIMIT, "--dry-run", "--json"
    )
    for shown in json.loads(outcome.out)["tasks"]:
        first = plan[shown["task"]].first_request
        assert isinstance(first, Continuation)
        asked = shown["first_request"]
        assert (asked["kind"], asked["context"], asked["continuation"]) == (
            "continuation",
            first.context,
            first.continuation,
        )

"""Efficiency: closed forms of the cache, arithmetic of the rates, and the engine's live answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tilbench.data.rows import Document
from tilbench.errors import DataError, Refused
from tilbench.evaluation.environment import machine_name
from tilbench.kinds.metric import ItemScore, Metric, TaskContext
from tilbench.kinds.requests import Timed, Timing, Tokens, answer_from_json, answer_to_json
from tilbench.loader import Host
from tilbench.results.store import RecordStore
from tilbench.scoring.journal import Journal
from tilbench.scoring.timing import time_generation
from tilbench_metrics_cost.efficiency import Efficiency, EfficiencySettings

SIZES = {"vocab_size": 300, "max_length": 64, "hidden_size": 32, "num_layers": 3, "num_heads": 4}
GROUPED = {**SIZES, "intermediate_size": 48, "num_kv_heads": 2}
LATENT = {"q_lora_rank": 16, "kv_lora_rank": 12, "qk_rope_head_dim": 4, "qk_nope_head_dim": 8, "v_head_dim": 8}
THEIRS = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 48,
}
CACHES: dict[str, tuple[dict[str, Any], int]] = {  # numbers a token: 2 · layers · key heads · width, or layers · latent
    "gpt2": ({**SIZES, "intermediate_size": 48}, 2 * 3 * 4 * 8),
    "llama": (GROUPED, 2 * 3 * 2 * 8),
    "alibi": (GROUPED, 2 * 3 * 2 * 8),
    "mla": ({**SIZES, "intermediate_size": 48, **LATENT}, 3 * (12 + 4)),
    "huggingface": ({"model_type": "llama", "vocab_size": 300, "max_length": 64, "config": THEIRS}, 2 * 3 * 2 * 8),
}
CPU = torch.device("cpu")
ROW = Document("d", "Абай — ақын.")
METRIC = Efficiency(EfficiencySettings(batch=2, prompt_tokens=10, new_tokens=5, repeats=3), TaskContext())


def decoder(host: Host, name: str, dtype: torch.dtype = torch.float32) -> Any:
    architecture: Any = host.registry.architectures.get(name)
    return architecture.build(architecture.Config(**CACHES[name][0])).eval().to(dtype)


def timed(host: Host, module: Any, request: Timing) -> Timed:
    with torch.inference_mode():
        return time_generation(module, host.registry.tokenizers.get("bytes").load("bytes"), request, CPU)


@pytest.mark.parametrize("name", CACHES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_cache_is_of_the_closed_form(host: Host, name: str, dtype: torch.dtype) -> None:
    (request,) = METRIC.requests(ROW)
    assert isinstance(request, Timing)
    score = METRIC.score(ROW, [timed(host, decoder(host, name, dtype), request)])
    values = METRIC.aggregate([score])
    assert values["cache_bytes_per_token"].value == CACHES[name][1] * dtype.itemsize
    assert values["peak_memory"].value > 0


def test_the_rates_are_tokens_over_median_seconds() -> None:
    answer = Timed(first=(0.5, 0.4, 9.0), rest=(2.0, 1.0, 4.0), text_tokens=10, cache_bytes=3000, peak_memory_bytes=7)
    values = METRIC.aggregate([METRIC.score(ROW, [answer])])
    assert {name: value.value for name, value in values.items()} == {
        "tokens_per_second": 2 * 4 / 2.0,
        "bytes_per_second": 2 * 4 * len(ROW.text.encode()) / 10 / 2.0,
        "prefill_tokens_per_second": 2 * 10 / 0.5,
        "time_to_first_token": 0.5,
        "cache_bytes_per_token": 3000 / 30,
        "peak_memory": 7.0,
    }
    assert isinstance(METRIC, Metric)


def test_every_repeat_is_measured(host: Host) -> None:
    answer = timed(host, decoder(host, "llama"), Timing(ROW.text, 10, 5, 2, repeats=4))
    assert len(answer.first) == len(answer.rest) == 4
    assert min(answer.first + answer.rest) > 0
    assert answer.text_tokens == len(ROW.text.encode())
    assert answer_from_json(answer_to_json(answer)) == answer


def test_a_model_that_is_too_short_is_not_timed_and_the_record_says_so(host: Host) -> None:
    answer = timed(host, decoder(host, "gpt2"), Timing(ROW.text, 60, 5))
    assert not answer.first
    with pytest.raises(Refused, match="more than the model attends over"):
        METRIC.aggregate([METRIC.score(ROW, [answer]), ItemScore("e", "e", {"rows": 0.0})])


def test_out_of_memory_is_not_timed(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    module = decoder(host, "gpt2")

    def fail(*args: Any, **more: Any) -> Any:
        raise torch.OutOfMemoryError("none left")

    monkeypatch.setattr(module, "hidden", fail)
    assert not timed(host, module, Timing(ROW.text, 10, 5)).first


def test_a_text_without_tokens_is_refused(host: Host) -> None:
    with pytest.raises(DataError, match="needs a text"):
        timed(host, decoder(host, "gpt2"), Timing("", 10, 5))


def test_timings_are_measured_by_every_run(tmp_path: Path) -> None:
    request = Timing("a", 1, 2)
    with Journal(tmp_path / "journal.sqlite") as journal:
        journal.add("model", [(request, Timed((1.0,), (1.0,)))])
        assert not journal.known("model", [request, Tokens("a")])


CLOCK = """
import time

from tilbench import hookimpl
from tilbench.kinds.language_model import ModelCard
from tilbench.kinds.requests import RequestKind, Timed
from tilbench.testing import ToyLanguageModel


class Clock(ToyLanguageModel):
    def one(self, request):
        seconds = (time.perf_counter(),) * request.repeats
        return Timed(seconds, seconds, 10, 1024, 4096)


class Clocks:
    def recognises(self, reference):
        return reference.startswith("clock-")

    def card(self, reference, options):
        return ModelCard(name=reference, fingerprint=reference, supports=frozenset(RequestKind), max_length=64)

    def open(self, reference, options):
        return Clock(self.card(reference, options))


@hookimpl
def register_loaders(register):
    register("clocks", Clocks(), summary="models that are slower each time")
"""
TIMES = """
name: times
tasks:
  - {name: speed, metric: efficiency, dataset: text/kk/heldout, language: kk-Cyrl, limit: 3, settings: {repeats: 1}}
"""


@pytest.fixture
def run(tmp_path: Path, tilbench: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function that times models on a machine, and returns what was printed."""
    (tmp_path / "clocks.py").write_text(CLOCK, encoding="utf-8")
    (tmp_path / "times.yaml").write_text(TIMES, encoding="utf-8")
    monkeypatch.setenv("TILBENCH_PLUGINS", str(tmp_path / "clocks.py"))
    monkeypatch.chdir(tmp_path)

    def timed(models: str, machine: str) -> str:
        monkeypatch.setattr("tilbench.evaluation.run_plan.machine_name", lambda *_: machine)
        outcome = tilbench("run", "times.yaml", "--models", models, "--out", "records")
        assert outcome.status == 0, outcome.err
        return str(outcome.out + outcome.err)

    return timed


def speeds(folder: Path) -> dict[tuple[str, str], float]:
    """Return the tokens a second of every record, by model and machine."""
    records = [record for _, record in RecordStore(folder / "records").records()]
    return {(each.model.name, each.task.machine): each.values["tokens_per_second"].value for each in records}


def test_a_second_run_measures_again_and_says_where(tmp_path: Path, run: Any) -> None:
    run("clock-a", "a small machine")
    first = speeds(tmp_path)
    printed = run("clock-a", "a small machine")
    second = speeds(tmp_path)
    assert first.keys() == second.keys() == {("clock-a", "a small machine")}
    assert first != second
    assert "speed: measured on a small machine" in printed
    assert "0 requests" not in printed


def test_another_machine_is_another_task(tmp_path: Path, run: Any, tilbench: Any) -> None:
    run("clock-a,clock-b", "a small machine")
    run("clock-a", "a large machine")
    assert len(speeds(tmp_path)) == 3
    printed = tilbench("leaderboard", "--records", "records", "--table").out
    assert "measured on a small machine" in printed
    assert "measured on a large machine" in printed
    assert tilbench("compare", "clock-a", "clock-b", "--records", "records").status == 0
    run("clock-c", "a third machine")
    refused = tilbench("compare", "clock-b", "clock-c", "--records", "records")
    assert refused.status == 2
    assert "machine: a small machine, not a third machine" in refused.err


def test_the_name_of_this_machine() -> None:
    name = machine_name("cpu", "float32", 2)
    assert name.endswith(", 2 threads, float32")
    assert len(name.removesuffix(", 2 threads, float32")) > 2
    assert machine_name("cpu", "bfloat16", 1).endswith(", 1 thread, bfloat16")

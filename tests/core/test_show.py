"""`tilbench show MODEL`: the documents' own budgets line by line, and everything that follows from a spec."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tilbench.config.references import parse_spec
from tilbench.errors import CheckpointError
from tilbench.loader import load_plugins
from tilbench.resolve.describe_model import describe_checkpoint, describe_spec
from tilbench.resolve.specs import load_spec, variants
from tilbench.training.fit import train
from tilbench.training.resolve import resolve_training
from tilbench_trainers.optim.schedule import learning_rate

REGISTRY = load_plugins().registry
NAMES = REGISTRY.models.names()
LABELS = [label for name in NAMES for label in (name, *(f"{name}:{variant}" for variant in variants(name, REGISTRY)))]


def parts(name: str) -> dict[str, int]:
    return {part: each["parameters"] for part, each in describe_spec(name, REGISTRY)["budget"].items()}


@pytest.mark.parametrize("label", LABELS)
def test_a_budget_sums_to_the_count(label: str) -> None:
    spec = load_spec(parse_spec(label), REGISTRY)
    architecture: Any = REGISTRY.architectures.get(spec.architecture.name)
    config = architecture.Config(**spec.architecture.config)
    budget = architecture.budget(config)
    assert sum(part.parameters for part in budget.values()) == architecture.parameters(config)
    assert "other" not in budget
    for part in budget.values():
        assert sum(part.layers) <= part.parameters
    for name in ("attention", "feed-forward"):
        assert sum(budget[name].layers) == budget[name].parameters > 0


def test_the_budget_of_turkish_v1_line_by_line() -> None:
    assert parts("turkish-v1") == {
        "token embedding": 16_384_000,
        "position embedding": 0,
        "attention": 1_966_080,
        "feed-forward": 6_340_608,
        "norms": 6_400,
        "output head": 0,
    }
    budget = describe_spec("turkish-v1", REGISTRY)["budget"]
    assert [round(budget[name]["share"], 3) for name in ("token embedding", "attention", "feed-forward")] == [
        0.663,
        0.080,
        0.257,
    ]
    assert (budget["attention"]["per_layer"], budget["feed-forward"]["per_layer"]) == (163_840, 528_384)


def test_the_layer_of_turkish_v2() -> None:
    about = describe_spec("turkish-v2", REGISTRY)
    layer = {name: part["per_layer"] for name, part in about["budget"].items() if part["per_layer"]}
    assert layer == {"attention": 786_432, "feed-forward": 2_113_536, "norms": 1_024}
    assert sum(layer.values()) == 2_900_992
    assert about["parameters"] == 67_580_416


@pytest.mark.parametrize(
    ("name", "count", "embeddings"),
    [
        ("til-mini-1b", 956_337_408, {"token embedding": 131_072 * 1792, "output head": 0}),
        ("1gpu-small-en-it", 136_128_000, {"token embedding": 64_000 * 768, "position embedding": 2500 * 768}),
        ("auto-g-nano-1b", 1_050_002_688, {"token embedding": 50_257 * 1792, "output head": 50_257 * 1792}),
    ],
)
def test_embeddings_tied_learned_and_untied(name: str, count: int, embeddings: dict[str, int]) -> None:
    found = parts(name)
    assert sum(found.values()) == count
    assert {part: found[part] for part in embeddings} == embeddings


@pytest.mark.parametrize(
    ("name", "numbers"),
    [
        ("til-mini-1b", 24 * (192 + 32)),  # a latent and one rotated key
        ("auto-g-nano-1b", 24 * 2 * 2 * 128),  # keys and values of two heads
        ("turkish-v1", 12 * 2 * 2 * 32),
        ("1gpu-small-en-it", 12 * 2 * 768),
        ("gemma-3-kazakh-qlora", 34 * 2 * 4 * 256),
    ],
)
def test_bytes_of_the_cache_follow_from_heads_and_latents(name: str, numbers: int) -> None:
    cache = describe_spec(name, REGISTRY)["cache_bytes_per_token"]
    assert cache == {"fp32": 4 * numbers, "bf16": 2 * numbers, "fp16": 2 * numbers}


@pytest.mark.parametrize("name", NAMES)
def test_the_timeline_is_what_the_trainer_does(name: str) -> None:
    """Its phases cover every step, and at their ends stand the rates of the schedule."""
    for stage in describe_spec(name, REGISTRY)["timeline"]:
        recipe = load_spec(parse_spec(f"{name}:{stage['stage']}" if stage["stage"] else name), REGISTRY).recipe
        assert recipe is not None
        peak, end = recipe.optimizer.learning_rate, 0
        for phase in stage["phases"]:
            assert phase["first_step"] == end + 1
            end = phase["last_step"]
            assert learning_rate(end, recipe.steps, peak, recipe.schedule) == pytest.approx(phase["to"])
            after = learning_rate(phase["first_step"], recipe.steps, peak, recipe.schedule)
            assert min(phase["from"], phase["to"]) <= after <= max(phase["from"], phase["to"])
        assert end == recipe.steps
        assert sum(phase["tokens"] for phase in stage["phases"]) == stage["tokens"]


def test_stages_are_the_variants_that_go_on_with_the_same_model() -> None:
    stages = [stage["stage"] for stage in describe_spec("turkish-v1", REGISTRY)["timeline"]]
    assert {"", "round-2", "round-2.5", "sft"} <= set(stages)
    assert not {"tiny", "small"} & set(stages)
    assert [stage["stage"] for stage in describe_spec("turkish-v1:tiny", REGISTRY)["timeline"]] == [""]


def test_what_is_reported_and_what_is_derived_stand_apart() -> None:
    spec = load_spec(parse_spec("turkish-v1"), REGISTRY)
    about = describe_spec("turkish-v1", REGISTRY)
    costs = {each["on"]: each for each in about["cost"]}
    assert costs["turkish-v1:round-2.5"]["reported_cost"] == 63.08
    assert costs["turkish-v1:round-2.5"]["derived_cost"] == pytest.approx(26.5 * 2.38)
    assert costs["all rounds"]["derived_cost"] == pytest.approx(39 * 2.38)
    assert costs["M4 MacBook Air"]["derived_cost"] is None  # no cloud was paid for it
    printed = {each.value for each in spec.reported if each.metric == "tokens_per_second"}
    assert {each["tokens_per_second"] for each in about["speed"]} == printed != set()


def test_json_keeps_its_keys(tilbench: Callable[..., Any]) -> None:
    shown = json.loads(tilbench("show", "turkish-v1", "--json").out)
    assert (shown["kind"], shown["name"], shown["parameters"]) == ("models", "turkish-v1", 24_697_088)
    assert shown["stated_parameters"] == 24_697_088
    assert "tiny" in shown["variants"]
    spec = load_spec(parse_spec("turkish-v1"), REGISTRY).model_dump(mode="json")
    assert {key: shown[key] for key in spec if key != "parameters"} == {
        k: v for k, v in spec.items() if k != "parameters"
    }


def test_the_page_has_every_table(tilbench: Callable[..., Any]) -> None:
    out = tilbench("show", "turkish-v1").out
    for line in ("16,384,000 │ 66.3%", "1,966,080 │  8.0%", "6,340,608 │ 25.7%", "6,400 │ <0.1%", "24,697,088 │  100%"):
        assert line in out
    for title in ("key-value cache", "training", "reported by the paper, not measured here", "2.38 USD an hour"):
        assert title in out
    assert "501–50,000" in out
    assert "round 1, step 10,000" in out
    assert "in doubt: 26.5 hours at 2.38 are 63.07" in " ".join(out.replace("│", " ").split())


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shown") / "run"
    train(
        resolve_training("turkish-v1:tiny", REGISTRY, None, ["recipe.steps=2", "recipe.schedule.warmup=1"]),
        REGISTRY,
        folder,
        progress=False,
    )
    return folder


def test_a_run_and_a_checkpoint(run: Path, tilbench: Callable[..., Any]) -> None:
    last = json.loads(tilbench("show", run, "--json").out)
    assert (last["name"], last["checkpoint"]["step"], last["recipe"]["steps"]) == ("turkish-v1:tiny", 2, 2)
    assert last["parameters"] == describe_spec("turkish-v1:tiny", REGISTRY)["parameters"]
    assert describe_checkpoint(f"{run}@0", REGISTRY)["checkpoint"]["step"] == 0
    assert describe_checkpoint(str(run / "step-00000002"), REGISTRY)["checkpoint"]["trained_tokens"] == 2 * 8 * 128
    page = tilbench("show", run).out
    assert "step: 2" in page
    assert "where the parameters are" in page
    with pytest.raises(CheckpointError, match="step"):
        describe_checkpoint(f"{run}@1", REGISTRY)

"""Modules trained whole where input and output share a matrix: run, merged and exported, a model computes the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tilbench.checkpoints.generation import GENERATION, end_tokens, read_generation_config
from tilbench.config.references import parse_spec
from tilbench.errors import CheckpointError
from tilbench.publish.export import export
from tilbench.publish.merge import merge
from tilbench.resolve.checkpoint import Checkpoint
from tilbench.resolve.checkpoint_loader import CheckpointLoader
from tilbench.resolve.specs import load_spec
from tilbench.training import fit
from tilbench.training.fit import train
from tilbench.training.initial import model_size
from tilbench.training.resolve import resolve_training
from tilbench_huggingface.weights import load_model

from .bases import REGISTRY, published, tuned

IDS = torch.arange(3, 40)[None]
FAST = "recipe.optimizer.learning_rate=0.05"


def logits(folder: Path) -> torch.Tensor:
    checkpoint = Checkpoint.open(folder, REGISTRY)
    with torch.no_grad():
        found: torch.Tensor = checkpoint.architecture.load(checkpoint.config, folder).eval()(IDS)
    return found


def exported(folder: Path, out: Path) -> torch.Tensor:
    export(str(folder), "transformers", out, REGISTRY)
    model: Any = load_model(out, dtype=torch.float32)
    with torch.no_grad():
        found: torch.Tensor = model(IDS).logits
    return found


def assert_equal_everywhere(last: Path, first: Path, tmp_path: Path) -> None:
    run = logits(last)
    assert float((run - logits(first)).abs().max()) > 0.05  # it has learned something
    merged = merge(str(last), tmp_path / "merged", REGISTRY)
    torch.testing.assert_close(logits(merged), run, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(exported(last, tmp_path / "exported"), run, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(exported(merged, tmp_path / "again"), run, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize(
    ("name", "whole"),
    [
        *(("llama", "embed_tokens"), ("llama", "lm_head"), ("llama", "embed_tokens, lm_head")),
        *(("gpt2", "wte"), ("gpt2", "lm_head")),
    ],
)
def test_of_transformers(tmp_path: Path, name: str, whole: str, tied: bool) -> None:
    base = published(tmp_path / "base", name, tie_word_embeddings=tied)
    lora = f"recipe.adapter={{rank: 2, alpha: 4, targets: all-linear, train_whole: [{whole}]}}"
    last = tuned(base, tmp_path / "run", lora, FAST)
    assert_equal_everywhere(last, tmp_path / "run" / "step-00000000", tmp_path)


@pytest.mark.parametrize("tied", ["true", "false"])
def test_of_a_decoder_of_ours(tmp_path: Path, tied: str) -> None:
    given = [
        f"architecture.config.tie_embeddings={tied}",
        "recipe.adapter={rank: 2, alpha: 4, targets: all-linear, train_whole: [embedding]}",
        *("recipe.steps=3", "recipe.schedule.warmup=0", "recipe.precision=fp32", FAST),
    ]
    spec = resolve_training("auto-g-nano-1b:tiny-sft", REGISTRY, None, given, "cpu")
    last = train(spec, REGISTRY, tmp_path / "run", progress=False)
    assert_equal_everywhere(last, tmp_path / "run" / "step-00000000", tmp_path)


@pytest.mark.parametrize("quantization", ["none", "nf4"])
@pytest.mark.parametrize("whole", ["embed_tokens", "lm_head", "embed_tokens, lm_head"])
def test_of_fresh_weights_that_the_checkpoint_holds_itself(tmp_path: Path, whole: str, quantization: str) -> None:
    given = [
        "architecture.config.config.tie_word_embeddings=true",
        f"recipe.adapter={{rank: 2, alpha: 4, train_whole: [{whole}], quantization: {quantization}}}",
        *("recipe.steps=3", "recipe.schedule.warmup=0", "recipe.precision=fp32", FAST),
    ]
    spec = resolve_training("gemma-3-kazakh-qlora:tiny-sft", REGISTRY, None, given, "cpu")
    last = train(spec, REGISTRY, tmp_path / "run", progress=False)
    assert_equal_everywhere(last, tmp_path / "run" / "step-00000000", tmp_path)


@pytest.mark.parametrize("own", [False, True])
def test_a_merged_model_keeps_how_it_writes(tmp_path: Path, own: bool) -> None:
    """What the base says, or what stands with the adapter (`tilbench decode` writes it there)."""
    base = published(tmp_path / "base", "gpt2")
    said = {"do_sample": True, "temperature": 0.6, "top_k": 7, "repetition_penalty": 1.3, "eos_token_id": [2, 5]}
    (base / GENERATION).write_text(json.dumps(said), encoding="utf-8")
    last = tuned(base, tmp_path / "run", FAST, "generation=null")
    if own:
        said |= {"temperature": 0.9, "eos_token_id": 2}
        (last / GENERATION).write_text(json.dumps(said), encoding="utf-8")
    merged = merge(str(last), tmp_path / "merged", REGISTRY)
    settings = read_generation_config(merged).generation
    assert settings is not None
    assert (settings.temperature, settings.top_k, settings.repetition_penalty) == (said["temperature"], 7, 1.3)
    assert end_tokens(merged) == frozenset({2} if own else {2, 5})


def test_an_adapter_with_a_value_that_is_no_number_is_named(tmp_path: Path) -> None:
    given = ["recipe.adapter={rank: 2, alpha: 4, targets: all-linear}", "recipe.steps=2", "recipe.schedule.warmup=0"]
    spec = resolve_training("auto-g-nano-1b:tiny-sft", REGISTRY, None, [*given, "recipe.precision=fp32"], "cpu")
    last = train(spec, REGISTRY, tmp_path / "run", progress=False)
    weights = load_file(last / "adapter_model.safetensors")
    name = max(weights)
    weights[name][0, 0] = torch.inf
    save_file(weights, last / "adapter_model.safetensors", {"format": "pt"})
    with pytest.raises(CheckpointError, match=rf"1 of the [\d,]+ values of .*{name.split('.')[-3]}.* are not finite"):
        logits(last)


@pytest.mark.parametrize("left_out", [True, False])
def test_a_published_base_is_as_large_as_it_is(tmp_path: Path, left_out: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A spec may leave out the sizes of its base, and a class has others by default."""
    base = published(tmp_path / "base", "gpt2")
    asked: list[int] = []
    monkeypatch.setattr(fit, "model_size", lambda *given: asked.append(model_size(*given)) or asked[-1])  # type: ignore[func-returns-value]
    vocabulary = json.loads((base / "config.json").read_text(encoding="utf-8"))["vocab_size"]
    config = {"model_type": "gpt2", "vocab_size": vocabulary, "max_length": 256, "config": {}}
    unsized = [f"architecture.config={json.dumps(config)}"] if left_out else []
    tuned(base, tmp_path / "run", *unsized, adapter=False)
    model: Any = load_model(base)
    assert asked == [sum(each.numel() for each in model.parameters())]


def test_a_merged_model_keeps_the_settings_that_its_run_was_given(tmp_path: Path) -> None:
    """The registered spec has others, and a merged folder is called by that spec's name."""
    given = ["recipe.adapter={rank: 2, alpha: 4, targets: all-linear}", "recipe.steps=2", "recipe.schedule.warmup=0"]
    given += ["recipe.precision=fp32", "generation={temperature: 0.3, top_k: 9}"]
    spec = resolve_training("gemma-3-kazakh-qlora:tiny-sft", REGISTRY, None, given, "cpu")
    assert spec.spec.generation != load_spec(parse_spec("gemma-3-kazakh-qlora:tiny-sft"), REGISTRY).generation
    last = train(spec, REGISTRY, tmp_path / "run", progress=False)
    merged = merge(str(last), tmp_path / "merged", REGISTRY)
    assert CheckpointLoader(REGISTRY).defaults(str(merged)).generation == spec.spec.generation

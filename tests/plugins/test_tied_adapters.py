"""Modules trained whole where input and output share a matrix: run, merged and exported, a model computes the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tilbench.checkpoints.folder import read_info
from tilbench.publish.export import export
from tilbench.publish.merge import merge
from tilbench.resolve.specs import checkpoint_architecture
from tilbench.training.fit import train
from tilbench.training.resolve import resolve_training
from tilbench_huggingface.weights import load_model

from .bases import REGISTRY, published, tuned

IDS = torch.arange(3, 40)[None]
FAST = "recipe.optimizer.learning_rate=0.05"


def logits(folder: Path) -> torch.Tensor:
    info = read_info(folder)
    architecture, config = checkpoint_architecture(info, folder, REGISTRY)
    with torch.no_grad():
        found: torch.Tensor = architecture.load(config, folder).eval()(IDS)
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

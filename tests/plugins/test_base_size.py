"""The size that `train --dry-run` shows, where a spec leaves out what its published base says of itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tilbench.checkpoints.stored import stored_parameters

from .bases import published


@pytest.mark.parametrize("model_type", ["gpt2", "llama"])
def test_a_dry_run_shows_the_size_of_the_base(tmp_path: Path, tilbench: Any, model_type: str) -> None:
    base = published(tmp_path / "base", model_type)
    fields = json.loads((base / "config.json").read_text(encoding="utf-8"))
    config = {"model_type": model_type, "vocab_size": fields["vocab_size"], "max_length": 256}
    given = [
        f"base={base}",
        f"architecture.config={json.dumps(config)}",
        *("tokenizer.family=huggingface", "tokenizer.options={}", "data=[{dataset: conversations/en}]"),
    ]
    sets = [word for each in given for word in ("--set", each)]
    outcome = tilbench("train", "gemma-3-kazakh-qlora:tiny-sft", *sets, "--dry-run", "--json", "--hardware", "cpu")
    assert outcome.status == 0, outcome.err
    assert json.loads(outcome.out)["parameters"] == stored_parameters(base)

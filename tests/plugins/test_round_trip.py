"""From a run of ours to a Transformers folder and back, by the commands: equal bits and equal scores."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tilbench.checkpoints.folder import find_checkpoint

SHORT = ["--set", "recipe.steps=3", "--set", "recipe.schedule={warmup: 1}"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["til-mini-1b", "1gpu-small-en-it", "turkish-v1", "auto-g-nano-1b"])
def test_an_exported_folder_comes_back_bit_for_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tilbench: Callable[..., Any], name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for command in (
        ["train", f"{name}:tiny", *SHORT, "--out", "run"],
        ["export", "run", "--to", "transformers", "--allow-code", "--out", "exported"],
        ["import", "exported", "--out", "back"],
        ["run", "five-domain", "--models", "run,back", "--limit", "3", "--tasks", "bpb-kk,bpb-en", "--out", "records"],
    ):
        done = tilbench(*command)
        assert done.status == 0, done.err
    ours, back = find_checkpoint(Path("run")), find_checkpoint(Path("back"))
    assert (ours / "model.safetensors").read_bytes() == (back / "model.safetensors").read_bytes()
    written = [tilbench("generate", folder, "A", "--max-new-tokens", 6).out for folder in ("run", "back")]
    assert written[0] == written[1]
    records = [json.loads(path.read_text()) for path in Path("records").rglob("*.json")]
    found = {
        (each["task"]["name"], each["model"]["name"]): each["values"]["bpb"]["value"]
        for each in records
        if each["status"] == "done"
    }
    for task in ("bpb-kk", "bpb-en"):
        assert found[task, "back"] == found[task, "run"]

"""A checkpoint of ours is opened in one way, and no part of it is read before it is asked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from tilbench.checkpoints.folder import CheckpointInfo, checkpoint_fingerprint, write_info
from tilbench.config.model import ArchitectureRef
from tilbench.errors import CheckpointError, UnknownName, Unsupported
from tilbench.kinds.trainer import Start
from tilbench.loader import load_plugins
from tilbench.resolve.checkpoint import Checkpoint

REGISTRY = load_plugins().registry
SIZES = {
    "vocab_size": 256,
    "hidden_size": 32,
    "num_layers": 1,
    "num_heads": 2,
    "intermediate_size": 64,
    "max_length": 64,
}


def made(folder: Path, **changed: object) -> CheckpointInfo:
    """Write a checkpoint without weights whose documents began with id 7 in training."""
    folder.mkdir(parents=True)
    fields = {
        "model": "a-model:tiny",
        "architecture": ArchitectureRef(name="llama", config=SIZES),
        "tokenizer": "bytes",
        "prefix": 7,
        "parameters": 1,
        "step": 30,
        "lineage": ("first",),
    }
    info = CheckpointInfo.model_validate(fields | changed)
    write_info(folder, info)
    REGISTRY.tokenizers.get("bytes").load("bytes").save(folder)
    return info


def test_what_it_says_is_read_and_nothing_else(tmp_path: Path) -> None:
    info = made(tmp_path / "step-00000030", tokenizer="none", architecture=ArchitectureRef(name="none"))
    checkpoint = Checkpoint.find(f"{tmp_path}@30", REGISTRY)
    assert (checkpoint.folder, checkpoint.info, checkpoint.run_spec) == (tmp_path / "step-00000030", info, None)
    assert checkpoint.chat == ""
    with pytest.raises(UnknownName, match="architecture"):
        _ = checkpoint.config
    with pytest.raises(UnknownName, match="tokenizer"):
        _ = checkpoint.tokenizer
    with pytest.raises(CheckpointError, match="no checkpoint of step 31; it has 30"):
        Checkpoint.find(f"{tmp_path}@31", REGISTRY)


@pytest.mark.parametrize("resume", [True, False])
def test_what_starts_from_it_comes_from_it(tmp_path: Path, resume: bool) -> None:
    made(tmp_path / "a", prefix_contexts=False)
    checkpoint = Checkpoint.open(tmp_path / "a", REGISTRY)
    lineage = ("first", checkpoint_fingerprint(tmp_path / "a"))
    assert checkpoint.start("a", resume=resume) == Start("a", 7, False, lineage, tmp_path / "a" if resume else None, 1)
    assert checkpoint.special.bos == 7


def test_sizes_that_the_architecture_does_not_have_are_one_line(tmp_path: Path) -> None:
    made(tmp_path / "a", architecture=ArchitectureRef(name="llama", config={**SIZES, "num_layers": "many"}))
    with pytest.raises(CheckpointError, match=r"architecture llama: .*num_layers") as caught:
        _ = Checkpoint.open(tmp_path / "a", REGISTRY).config
    assert "\n" not in str(caught.value)


def test_nothing_is_merged_where_there_is_no_adapter(tmp_path: Path) -> None:
    made(tmp_path / "a")
    (tmp_path / "out").mkdir()
    with pytest.raises((CheckpointError, Unsupported)):
        Checkpoint.open(tmp_path / "a", REGISTRY).merge(tmp_path / "out", "float32")
    assert not list((tmp_path / "out").iterdir())

"""What the acceptance tests share: the command in a process of its own, and models that take a moment to make."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from filelock import FileLock

Once = Callable[[str, Callable[[Path], object]], Path]


def environment(**more: str) -> dict[str, str]:
    """The test's own environment with one thread, no network and none of the developer's settings."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TILBENCH_")}
    return {**kept, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", **more}


@pytest.fixture(scope="session")
def start() -> Callable[..., subprocess.Popen[str]]:
    """Return a function that starts `tilbench` in a new process."""

    def start(*arguments: str | Path, cwd: Path | None = None, **more: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "tilbench", *map(str, arguments)]
        return subprocess.Popen(
            command, cwd=cwd, env=environment(**more), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    return start


@pytest.fixture(scope="session")
def command(start: Callable[..., subprocess.Popen[str]]) -> Callable[..., tuple[str, str]]:
    """Return a function that runs `tilbench` in a new process, which must end with status 0."""

    def run(*arguments: str | Path, cwd: Path | None = None, **more: str) -> tuple[str, str]:
        process = start(*arguments, cwd=cwd, **more)
        out, err = process.communicate(timeout=500)
        assert process.returncode == 0, err
        return out, err

    return run


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory) -> Once:
    """Return a function that has a folder made by the first of the test processes that asks for it."""
    base = tmp_path_factory.getbasetemp()
    base = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    def make(name: str, maker: Callable[[Path], object]) -> Path:
        folder, done = base / name, base / f"{name}.done"
        with FileLock(base / f"{name}.lock"):
            if not done.exists():
                shutil.rmtree(folder, ignore_errors=True)  # what a maker that failed has left
                folder.mkdir()
                maker(folder)
                done.touch()
        return folder

    return make


@pytest.fixture(scope="session")
def save_llama(command: Callable[..., tuple[str, str]]) -> Callable[..., None]:
    """Return a function that fills a folder with a random Llama and a BPE, as Transformers saves them.

    length: the tokens of its context.
    """

    def save(folder: Path, *data: str | Path, length: int = 192) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # imports warn of other people's deprecations
            from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM
        trained = folder.parent / f"{folder.name}-tokenizer"
        asked = ("--dataset", "text/kk/train", "--set", "vocab_size=600", "--out", trained)
        command("tokenizer", "train", "bpe", *asked, *data)
        load: Any = AutoTokenizer.from_pretrained
        tokenizer = load(trained)
        tokenizer.save_pretrained(folder)
        torch.manual_seed(0)
        config = LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=48,
            intermediate_size=96,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=length,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
        )
        model: Any = LlamaForCausalLM(config)
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.ndim > 1:
                    parameter.mul_(4)  # so that its choices are far from ties
        model.save_pretrained(folder)

    return save


@pytest.fixture(scope="session")
def bytes_run(once: Once, command: Callable[..., tuple[str, str]]) -> Path:
    """Return the folder of a run of one step: a very small model of bytes."""

    def make(folder: Path) -> None:
        settings: Mapping[str, str] = {
            "tokenizer": "{family: bytes}",
            "data": "[{dataset: text/kk/train}]",
            "recipe.steps": "1",
            "architecture.config.hidden_size": "32",
            "architecture.config.num_layers": "1",
            "architecture.config.intermediate_size": "64",
            "architecture.config.max_length": "256",
        }
        sets = [part for name, value in settings.items() for part in ("--set", f"{name}={value}")]
        command("train", "turkish-v1:tiny", *sets, "--out", folder / "run")

    return once("bytes-run", make) / "run"

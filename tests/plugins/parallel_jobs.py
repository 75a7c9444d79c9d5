"""Started by torchrun: trains each job of a JSON file, in order, with all processes. See test_parallel.py."""

from __future__ import annotations

import json
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from tilbench.config.model import ModelSpec
from tilbench.data.rows import Document
from tilbench.errors import TilbenchError
from tilbench.kinds.hardware import HardwareProfile
from tilbench.kinds.trainer import Source, Stopped, TrainingJob
from tilbench.loader import load_plugins
from tilbench.ranks import joined
from tilbench.testing.toys import ToyTokenizer, toy_texts
from tilbench_trainers.loop.pretrain import Pretrain

CPU = HardwareProfile(name="toy", device="cpu", memory_gib=1, peak_tflops={"fp32": 0.1})


def make_job(out: Path, architecture: str, config: dict[str, Any], recipe: dict[str, Any]) -> TrainingJob:
    """Return twelve steps of 2 × 2 sequences of 16 tokens; fields of the recipe are laid over them."""
    defaults = {
        "steps": 12,
        "sequence_length": 16,
        "batch_size": 2,
        "accumulation": 2,
        "optimizer": {"learning_rate": 1e-2},
        "schedule": {"name": "wsd", "warmup": 3},
        "checkpoint_every": 3,
        "validate_every": 3,
    }
    spec = ModelSpec.model_validate(
        {
            "name": "toy",
            "title": "Toy",
            "architecture": {"name": architecture, "config": config},
            "tokenizer": {"family": "toy"},
            "recipe": defaults | recipe,
        }
    )
    family = load_plugins().registry.architectures.get(architecture)
    torch.manual_seed(0)
    rows = [Document(str(number), text) for number, text in enumerate(toy_texts(30))]
    module = family.build(family.Config(**config))
    return TrainingJob(
        spec=spec,
        architecture=family,
        build=lambda: module,
        tokenizer=ToyTokenizer(),
        sources=[Source("toy", 1.0, rows[:24], rows[24:])],
        hardware=CPU,
        out=out,
        progress=False,
    )


def main(jobs: Path) -> None:
    """Train them; of one that fails, write why into a file beside its folder."""
    torch.set_num_threads(1)
    with joined("cpu") as ranks:
        for given in json.loads(jobs.read_text()):
            stop_at, stopped_rank = given.pop("stop", (0, 0))
            job = replace(make_job(Path(given.pop("out")), **given), ranks=ranks)
            if stop_at and ranks.rank == stopped_rank:
                _signal_at(job, stop_at)
            try:
                Pretrain().fit(job)
            except (Stopped, TilbenchError) as error:
                job.out.with_suffix(f".{ranks.rank}.txt").write_text(f"{type(error).__name__}: {error}")
            ranks.wait()


def _signal_at(job: TrainingJob, step: int) -> None:
    """Send this process SIGTERM in its pass number `step`."""
    module: Any = job.module
    passes, hidden = 0, module.hidden

    def counted(*args: Any, **kwargs: Any) -> Any:
        nonlocal passes
        if module.training:
            passes += 1
            if passes == step:
                os.kill(os.getpid(), signal.SIGTERM)
        return hidden(*args, **kwargs)

    module.hidden = counted


if __name__ == "__main__":
    main(Path(sys.argv[1]))

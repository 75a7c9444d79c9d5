"""The module of a run, between two of its steps, as a model that answers requests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

import torch

from tilbench.kinds.architecture import Decoder
from tilbench.kinds.language_model import ModelCard, OpenOptions
from tilbench.kinds.trainer import TrainingJob
from tilbench.scoring.encode.prefix import Prefix
from tilbench.scoring.engine import SUPPORTED, TorchLanguageModel

__all__ = ["live_model"]


@contextmanager
def live_model(job: TrainingJob, device: torch.device, prefix: Prefix, step: int) -> Iterator[TorchLanguageModel]:
    """Give the module as it is after `step`, with no copy of it, as its checkpoint would be opened.

    prefix: what its checkpoints say that texts begin with. Afterwards module and random generators are as they were.
    """
    module = job.module
    model = TorchLanguageModel(
        ModelCard(name=f"{job.out}@{step}", fingerprint="", supports=SUPPORTED),
        cast("Decoder", module),
        job.tokenizer,
        prefix,
        OpenOptions(device=str(device), load_tokenizer=lambda _: job.tokenizer),
    )
    accelerators = [] if device.type == "cpu" else [torch.get_device_module(device).current_device()]
    training = module.training
    module.eval()
    try:
        with torch.random.fork_rng(accelerators, device_type=device.type if accelerators else "cuda"):
            yield model
    finally:
        module.train(training)

"""The module of a run, between two of its steps, as a model that answers requests."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import nn

from tilbench.kinds.architecture import Decoder
from tilbench.kinds.language_model import ModelCard, OpenOptions
from tilbench.kinds.trainer import TrainingJob
from tilbench.scoring.engine import SUPPORTED, TorchLanguageModel
from tilbench.scoring.prefix import Prefix

__all__ = ["LiveModel", "weights_digest"]


@dataclass(frozen=True, slots=True)
class LiveModel:
    """Opens the weights as they are, with no copy of them, as their checkpoint would be opened.

    prefix: id of the token that every document begins with in training; None where there is none.
    """

    job: TrainingJob
    device: torch.device
    prefix: int | None

    @contextmanager
    def at(self, step: int, *, recorded: bool = False) -> Iterator[TorchLanguageModel]:
        """Give the model after `step`; afterwards module and random generators are as they were.

        recorded: take a digest of the weights, by which records know the model.
        """
        module = self.job.module
        training = module.training
        accelerators = [] if self.device.type == "cpu" else [torch.get_device_module(self.device).current_device()]
        module.eval()
        try:
            with torch.random.fork_rng(accelerators, device_type=self.device.type if accelerators else "cuda"):
                yield self._opened(step, recorded)
        finally:
            module.train(training)

    def _opened(self, step: int, recorded: bool) -> TorchLanguageModel:
        job, token = self.job, self.prefix
        assert job.spec.recipe is not None
        # As a checkpoint of ours is opened: a prefix that documents begin with stands before contexts too.
        prefix = Prefix(token, contexts=token is not None, label="none" if token is None else f"id {token}")
        identity = {"prefix": str(prefix), "tokenizer": job.tokenizer.fingerprint}
        model = job.reference or job.spec.name
        card = ModelCard(
            name=f"{job.out}@{step}",
            fingerprint=weights_digest(job.module, **identity) if recorded else "",
            supports=SUPPORTED,
            parameters=sum(parameter.numel() for parameter in job.module.parameters()),
            step=step,
            prefix=str(prefix),
            tokenizer=job.tokenizer.fingerprint,
            max_length=int(job.module.max_length),  # type: ignore[arg-type]
            details={
                "spec": model,
                "architecture": job.spec.architecture.name,
                "trained_tokens": step * job.spec.recipe.tokens_per_step,
            },
        )
        options = OpenOptions(device=str(self.device), load_tokenizer=lambda _: job.tokenizer)
        return TorchLanguageModel(card, cast("Decoder", job.module), job.tokenizer, prefix, options)


def weights_digest(module: nn.Module, **extra: Any) -> str:
    """Return the SHA-256 of a module's weights and buffers, by name, and of `extra`."""
    digest = hashlib.sha256(json.dumps(extra, sort_keys=True).encode())
    for name, value in sorted(module.state_dict().items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\0".encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()

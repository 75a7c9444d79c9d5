"""Validation by the code that scores checkpoints later, so that the two numbers are one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol, cast

import torch

from tilbench.data.rows import Document as Row
from tilbench.errors import ConfigError, DataError
from tilbench.kinds.architecture import Decoder
from tilbench.kinds.language_model import ModelCard, OpenOptions
from tilbench.kinds.requests import Document, Likelihood, Unanswered
from tilbench.kinds.tokenizer import Tokenizer
from tilbench.kinds.trainer import TrainingJob
from tilbench.results.reading import too_lossy
from tilbench.scoring.encode.lost import lost_bytes
from tilbench.scoring.encode.prefix import Prefix
from tilbench.scoring.engine import SUPPORTED, TorchLanguageModel
from tilbench_trainers.data.rows import documents_of

__all__ = ["BUDGET", "Validation", "Validator", "heldout_texts", "lost_bytes_of"]

BUDGET = 64 * 1024
"""UTF-8 bytes of each source that are scored."""


def heldout_texts(documents: Sequence[Row], budget: int = BUDGET) -> list[str]:
    """Return the first texts, `budget` UTF-8 bytes in all; the last is cut between characters to fit."""
    texts: list[str] = []
    for document in documents:
        data = document.text.encode()
        texts.append(data[:budget].decode(errors="ignore"))
        budget -= len(data)
        if budget <= 0:
            break
    return [text for text in texts if text]


def lost_bytes_of(tokenizer: Tokenizer, texts: Sequence[str]) -> tuple[int, int]:
    """Return how many UTF-8 bytes of the texts their ids do not reproduce, and how many they have."""
    ids = tokenizer.encode_batch(texts)
    lost = sum(lost_bytes(tokenizer, *each) for each in zip(texts, ids, strict=True))
    return lost, sum(len(text.encode()) for text in texts)


class Validation(Protocol):
    """Measures the module of a run as it stands."""

    def __bool__(self) -> bool:
        """Say whether there is anything to measure."""

    def measure(self) -> dict[str, dict[str, float]]:
        """Return by source the measured values, `loss` (nats per token) among them; the module is left as it was."""


class Validator:
    """Scores each source's held-out documents with the weights as they are."""

    def __init__(self, job: TrainingJob, device: torch.device, prefix: Prefix) -> None:
        self._texts = {source.name: heldout_texts(documents_of(source, heldout=True)) for source in job.sources}
        self._lost = {name: lost_bytes_of(job.tokenizer, texts) for name, texts in self._texts.items()}
        reasons = {name: why for name, counts in self._lost.items() if (why := too_lossy(*counts))}
        if reasons and job.spec.recipe is not None and job.spec.recipe.keep_best == "bpb":
            name, why = next(iter(reasons.items()))
            raise ConfigError(f"recipe.keep_best is bpb, and source {name!r} has none: {why}; use another tokenizer")
        self._module = job.module
        self._model = TorchLanguageModel(
            ModelCard(name=job.reference or job.spec.name, fingerprint="", supports=SUPPORTED),
            cast("Decoder", job.module),
            job.tokenizer,
            prefix,
            OpenOptions(device=str(device), load_tokenizer=lambda _: job.tokenizer),
        )

    def __bool__(self) -> bool:
        """Say whether any source has held-out documents."""
        return any(self._texts.values())

    def measure(self) -> dict[str, dict[str, float]]:
        """Return by source `bpb` (bits per UTF-8 byte) and `loss` (nats per scored token).

        `lost` is there where the tokens do not reproduce all bytes: their share, each of which cost 8 bits. Where it is
        more than a suite's task may have, there is no bpb. Computed in the weights' own dtype, whatever the precision
        of training. The module is left as it was. Raises DataError for a text that the model cannot read.
        """
        training = self._module.training
        self._module.eval()
        try:
            return {name: self._source(name, texts) for name, texts in self._texts.items() if texts}
        finally:
            self._module.train(training)

    def _source(self, name: str, texts: Sequence[str]) -> dict[str, float]:
        requests = [Document(text) for text in dict.fromkeys(texts)]
        answers = {request: answer for batch in self._model.answer(requests) for request, answer in batch}
        nats, tokens = 0.0, 0
        for text in texts:  # in the order of the documents, so that the sum has one value
            answer = answers[Document(text)]
            if isinstance(answer, Unanswered):
                raise DataError(f"a held-out text of source {name!r} cannot be measured: {answer.reason}")
            assert isinstance(answer, Likelihood)
            nats, tokens = nats - answer.logprob, tokens + (answer.tokens or 0)
        lost, size = self._lost[name]
        measured = {} if too_lossy(lost, size) else {"bpb": nats / math.log(2) / size}
        return {**measured, "loss": nats / max(tokens, 1), **({"lost": lost / size} if lost else {})}

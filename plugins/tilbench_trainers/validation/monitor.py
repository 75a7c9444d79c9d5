"""What is looked at while a model trains: validation, probes, samples and a suite, at the steps the recipe names."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from tilbench.config.decoding import Decoding
from tilbench.config.model import Probe, Recipe, Sample
from tilbench.kinds.requests import Answer, Generated, Generation, NextWord, Ranked, Request, Unanswered
from tilbench.kinds.trainer import TrainingJob
from tilbench.progress import Progress
from tilbench.scoring.encode.prefix import Prefix
from tilbench.scoring.engine import TorchLanguageModel
from tilbench_trainers.validation.live import live_model
from tilbench_trainers.validation.validator import Validation

__all__ = ["RECORDS", "Monitor"]

RECORDS = "records"
"""Folder of a run with the records of the suite that its recipe evaluates."""


class Monitor:
    """Looks at the module between two steps, and leaves it, and every random generator, as it was."""

    def __init__(
        self,
        job: TrainingJob,
        recipe: Recipe,
        device: torch.device,
        prefix: Prefix,
        validation: Validation,
        write: Callable[[int, Path], None],
    ) -> None:
        """Look at the module of `job`. write: writes what opens the checkpoint of a step into a folder."""
        self._job, self._recipe, self._validation, self._write = job, recipe, validation, write
        self._live = partial(live_model, job, device, prefix)

    def due(self, step: int) -> bool:
        """Say whether there is anything to look at after `step`."""
        recipe = self._recipe
        looks = [each.every for each in (recipe.probe, recipe.sample, recipe.evaluate) if each is not None]
        looks += [recipe.validate_every] if self._validation else []
        return any(self._due(step, every) for every in looks)

    def look(self, step: int, progress: Progress) -> dict[str, Any]:
        """Return what the recipe wants to know after `step`, as fields of a log line; empty at most steps.

        validation: source → {bpb, loss}. probes: [{prompt, target, rank, probability}]. samples: [{prompt, text}].
        evaluation: task → value → number, whose records go into the run's folder. progress: told of the suite's
        requests.
        """
        recipe, found = self._recipe, dict[str, Any]()
        if self._validation and self._due(step, recipe.validate_every):
            found["validation"] = self._validation.measure()
        if recipe.probe is not None and self._due(step, recipe.probe.every):
            with self._live(step) as model:
                found["probes"] = _probes(model, recipe.probe)
        if recipe.sample is not None and self._due(step, recipe.sample.every):
            with self._live(step) as model:
                found["samples"] = _samples(model, recipe.sample)
        evaluation = self._job.evaluation
        if evaluation is not None and recipe.evaluate is not None and self._due(step, recipe.evaluate.every):
            # Named as what a killed process leaves behind of a checkpoint, and removed like it.
            with (
                TemporaryDirectory(prefix=f".step-{step:08d}.", dir=self._job.out) as folder,
                self._live(step) as model,
            ):
                self._write(step, Path(folder))
                found["evaluation"] = evaluation(model, Path(folder), self._job.out / RECORDS, progress)
        return found

    def _due(self, step: int, every: int) -> bool:
        return step == self._recipe.steps or (every > 0 and step % every == 0)


def _probes(model: TorchLanguageModel, probe: Probe) -> list[dict[str, object]]:
    requests = [NextWord(word.prompt, word.target) for word in probe.words]
    lines = []
    for request, answer in zip(requests, _answers(model, requests), strict=True):
        found: dict[str, Any] = {"prompt": request.context, "target": request.target}
        if isinstance(answer, Unanswered):
            lines.append(found | {"unanswered": answer.reason})
            continue
        assert isinstance(answer, Ranked)
        lines.append(found | {"rank": answer.rank, "probability": math.exp(answer.logprob)})
    return lines


def _samples(model: TorchLanguageModel, sample: Sample) -> list[dict[str, Any]]:
    decoding = Decoding(max_new_tokens=sample.max_new_tokens, temperature=sample.temperature)
    requests = [Generation(prompt, decoding) for prompt in sample.prompts]
    lines = []
    for request, answer in zip(requests, _answers(model, requests), strict=True):
        assert isinstance(answer, Generated | Unanswered)
        text = answer.text if isinstance(answer, Generated) else f"[not answered: {answer.reason}]"
        lines.append({"prompt": request.prompt, "text": text})
    return lines


def _answers(model: TorchLanguageModel, requests: Sequence[Request]) -> list[Answer]:
    """Return the answers in the order of the requests."""
    found = {request: answer for batch in model.answer(list(dict.fromkeys(requests))) for request, answer in batch}
    return [found[request] for request in requests]

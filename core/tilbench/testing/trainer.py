"""What every trainer must do: train, stop anywhere and go on to the same weights."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import nn

from tilbench.checkpoints.folder import checkpoints, read_info
from tilbench.config.model import ArchitectureRef, Data, ModelSpec, Recipe, TokenizerRef
from tilbench.data.rows import Conversation, Document
from tilbench.kinds.capabilities.trainer import LearnsFromRows
from tilbench.kinds.hardware import HardwareProfile
from tilbench.kinds.trainer import Source, Trainer, TrainingJob
from tilbench.testing.base import Conformance, require
from tilbench.testing.toy_decoder import ToyArchitecture, ToyConfig
from tilbench.testing.toys import ToyTokenizer, toy_texts

__all__ = ["TrainerConformance"]

_STEPS = 6


class TrainerConformance(Conformance):
    """Checks of a trainer, on a toy decoder and two dozen documents, or as many conversations.

    subject: the trainer; `rows`, where it has that, says what it learns from (a set of kinds of rows). recipe: fields
    laid over those of six short steps.
    """

    settable: ClassVar[tuple[str, ...]] = ("recipe",)
    subject: Trainer
    recipe: Mapping[str, object] = {}

    def job(self, out: Path, seed: int = 0) -> TrainingJob:
        """Return a job whose module is initialised by `seed`."""
        sizes = {"vocab_size": ToyTokenizer.size, "max_length": 32}
        plain = {
            "steps": _STEPS,
            "sequence_length": 16,
            "batch_size": 2,
            "accumulation": 2,
            "optimizer": {"learning_rate": 0.01},
            "schedule": {"warmup": 1},
            "checkpoint_every": 2,
        }
        spec = ModelSpec(
            name="toy",
            title="Toy",
            architecture=ArchitectureRef(name="toy", config=sizes),
            tokenizer=TokenizerRef(family="toy"),
            data=[Data(dataset="toy")],
            recipe=Recipe.model_validate({**plain, **self._kind()[0], **self.recipe}),
        )
        rows = self._kind()[1]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            module = ToyArchitecture().build(ToyConfig(**sizes))
        return TrainingJob(
            spec=spec,
            architecture=ToyArchitecture(),
            build=lambda: module,
            tokenizer=ToyTokenizer(),
            sources=[Source("toy", 1.0, rows[:24], rows[24:], "toy:1")],
            hardware=HardwareProfile(name="cpu", device="cpu", memory_gib=1.0, peak_tflops={"fp32": 0.01}),
            out=out,
            reference="toy",
            progress=False,
        )

    def _kind(self) -> tuple[Mapping[str, object], Sequence[Document] | Sequence[Conversation]]:
        """Return what the recipe needs for the rows that the trainer learns from, and thirty of these."""
        texts = toy_texts(30)
        if isinstance(self.subject, LearnsFromRows) and "conversations" in self.subject.rows:
            talks = [(("user", "?"), ("assistant", text[:8])) for text in texts]
            recipe = {"sequence_length": 32, "chat": {"template": "plain"}}
            return recipe, [Conversation(f"toy-{index}", turns) for index, turns in enumerate(talks)]
        return {}, [Document(f"toy-{index}", text) for index, text in enumerate(texts)]

    def test_interface(self) -> None:
        """It has `fit`."""
        require(isinstance(self.subject, Trainer), "it lacks fit")

    def test_it_trains_and_saves(self) -> None:
        """It returns the checkpoint of the last step, which loads, and the loss on its text has fallen."""
        with tempfile.TemporaryDirectory() as folder:
            job = self.job(Path(folder) / "run")
            before = _loss(job.module)
            last = self.subject.fit(job)
            require(read_info(last).step == _STEPS, f"the last checkpoint is of step {read_info(last).step}")
            config = ToyConfig(**job.spec.architecture.config)
            after = _loss(job.architecture.load(config, last))
            require(after < before, f"the loss was {before:.3f} before training and is {after:.3f} after")

    def test_it_resumes_to_the_same_weights(self) -> None:
        """A run that was killed while it wrote a checkpoint resumes from the one before, to the same bits."""
        with tempfile.TemporaryDirectory() as name:
            whole = _weights(self.subject.fit(self.job(Path(name) / "whole")))
            out = Path(name) / "killed"
            killed = replace(self.job(out), architecture=_KilledArchitecture())
            try:
                self.subject.fit(killed)
            except _Killed:
                left = [read_info(folder).step for folder in checkpoints(out)]
            else:
                left = []
            some = left and 0 < left[-1] < _STEPS
            require(some, f"killed in its third save, it has the checkpoints {left} to go on from")
            last = self.subject.fit(self.job(out, seed=1))
            require(read_info(last).step == _STEPS, f"after going on, the last checkpoint is of {read_info(last).step}")
            for part, tensor in _weights(last).items():
                require(torch.equal(tensor, whole[part]), f"after going on, {part} has other weights")

    def test_a_finished_run_stays(self) -> None:
        """Training again what is trained returns the same checkpoint, and computes nothing."""
        with tempfile.TemporaryDirectory() as name:
            first = self.subject.fit(self.job(Path(name)))
            before = _weights(first)
            second = self.subject.fit(self.job(Path(name), seed=1))
            require(second == first, f"the last checkpoint was {first.name} and is {second.name}")
            same = all(torch.equal(tensor, before[part]) for part, tensor in _weights(second).items())
            require(same, "a finished run has other weights when it is trained again")


class _Killed(BaseException):
    """As a kill would, it passes whatever catches errors."""


class _KilledArchitecture(ToyArchitecture):
    """Dies in the middle of its third save."""

    def __init__(self) -> None:
        self.saves = 0

    def save(self, module: nn.Module, folder: Path) -> None:
        self.saves += 1
        super().save(module, folder)
        if self.saves == 3:
            raise _Killed


def _weights(folder: Path) -> dict[str, torch.Tensor]:
    module = ToyArchitecture().load(ToyConfig(vocab_size=ToyTokenizer.size, max_length=32), folder)
    return module.state_dict()


@torch.no_grad()
def _loss(module: nn.Module) -> float:
    ids = torch.tensor([ToyTokenizer().encode(text)[:16] for text in toy_texts(24)])
    logits = module.eval()(ids)
    return float(F.cross_entropy(logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten()))

"""A suite on a model that is being trained, by the code that scores checkpoints afterwards."""

from __future__ import annotations

import math
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tilbench.config.model import Evaluate
from tilbench.config.suite import Suite
from tilbench.errors import MissingDataset
from tilbench.evaluation.environment import describe_environment, thread_count
from tilbench.evaluation.execute import Recorder, run_model
from tilbench.evaluation.plan import PlannedTask, plan_tasks, select_tasks
from tilbench.evaluation.runner import JOURNAL
from tilbench.kinds.hardware import HardwareProfile
from tilbench.kinds.language_model import LanguageModel, ModelCard, OpenOptions
from tilbench.progress import Progress
from tilbench.registry import Registry
from tilbench.resolve.checkpoint_loader import CheckpointLoader
from tilbench.resolve.models import ModelSource
from tilbench.resolve.suites import expand_suite, find_suite
from tilbench.resolve.tokenizers import load_tokenizer
from tilbench.results.macro import record_macros
from tilbench.results.store import RecordStore
from tilbench.scoring.journal import Journal

__all__ = ["SuiteEvaluation", "plan_evaluation"]


@dataclass(frozen=True, slots=True)
class _Opened:
    """A loader of one checkpoint whose model is open already."""

    model: LanguageModel
    checkpoints: CheckpointLoader

    def recognises(self, reference: str) -> bool:
        return self.checkpoints.recognises(reference)

    def card(self, reference: str, options: OpenOptions) -> ModelCard:
        return self.checkpoints.card(reference, options)

    def open(self, reference: str, options: OpenOptions) -> LanguageModel:
        return self.model


@dataclass(frozen=True, slots=True, kw_only=True)
class SuiteEvaluation:
    """A planned suite (`tilbench.kinds.trainer.Evaluation`)."""

    suite: Suite
    tasks: Sequence[PlannedTask]
    hardware: HardwareProfile
    registry: Registry
    options: OpenOptions

    def __call__(
        self, model: LanguageModel, checkpoint: Path, records: Path, progress: Progress
    ) -> Mapping[str, Mapping[str, float | None]]:
        """Score the model, and return task → value → number; a task that it cannot answer has no values.

        The records are those that `tilbench run` would make of the checkpoint, which will not score it again.
        """
        distributions = {name for task in self.tasks for name in task.distributions}
        device, dtype = self.hardware.device, self.options.dtype
        store = RecordStore(records)
        with Journal(records / JOURNAL) as journal:
            recorder = Recorder(
                store=store,
                journal=journal,
                environment=describe_environment(self.hardware.name, device, dtype, thread_count(), distributions),
                progress=progress,
                command=shlex.join(["tilbench", *sys.argv[1:]]),
            )
            share = run_model(
                ModelSource(model.card.name, str(checkpoint), _Opened(model, CheckpointLoader(self.registry))),
                self.tasks,
                self.options,
                recorder,
            )
        made = [*share.records, *record_macros(self.suite, share.records, store)]
        return {
            record.task.name: {
                name: score.value if math.isfinite(score.value) else None for name, score in record.values.items()
            }
            for record in made
        }


def plan_evaluation(
    wanted: Evaluate, registry: Registry, data_dir: Path | None, hardware: HardwareProfile
) -> SuiteEvaluation:
    """Read the suite and plan its tasks, so that a mistake is found before the training begins.

    Raises UnknownName or ConfigError, and MissingDataset for a task whose data is not on this machine.
    """
    suite = expand_suite(find_suite(wanted.suite, registry), registry)
    tasks = plan_tasks(suite, select_tasks(suite, wanted.tasks), registry, data_dir, wanted.limit)
    for task in tasks:
        if task.missing:
            raise MissingDataset(
                f"recipe.evaluate: task {task.used.name} of suite {suite.name} cannot be run: {task.missing}; "
                "or name other tasks in recipe.evaluate.tasks"
            )
    options = OpenOptions(device=hardware.device, load_tokenizer=partial(load_tokenizer, registry=registry))
    return SuiteEvaluation(suite=suite, tasks=tasks, hardware=hardware, registry=registry, options=options)

"""The pretraining loop: documents in, checkpoints out, on one device or on one for each process of torchrun.

Everything that decides the weights is a function of the job and the step: the rows (`data.packing`), the learning rate
(`optim.schedule`), the seed of dropout. So a run that is stopped in any way and started again gives the same
bits as one that was not, in fp32 on the CPU of one machine with one number of threads, and as many processes.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, cast

import torch

from tilbench.checkpoints.folder import step_folder
from tilbench.config.model import Recipe
from tilbench.kinds.architecture import Decoder
from tilbench.kinds.capabilities.architecture import StatesParts
from tilbench.kinds.capabilities.decoder import StatesOwnParts
from tilbench.kinds.tokenizer import SpecialTokens
from tilbench.kinds.trainer import Stopped, TrainingJob
from tilbench.kinds.weight_layout import Slot
from tilbench.memory import peak_memory
from tilbench.progress import Progress
from tilbench.scoring.encode.prefix import Prefix
from tilbench_trainers.checkpoint.best import Best
from tilbench_trainers.checkpoint.record import claim, resolved_architecture, run_record, same_run
from tilbench_trainers.checkpoint.state import State, clean, last_checkpoint, restore, save, write_model
from tilbench_trainers.data.batch import Batches, rank_rows
from tilbench_trainers.data.batches import text_batches
from tilbench_trainers.data.packing import key_of
from tilbench_trainers.loop.checks import check_module, checked_recipe, chosen_device, remarks
from tilbench_trainers.loop.forward import Forward
from tilbench_trainers.loop.guard import Guard, check_ids
from tilbench_trainers.loop.interrupts import StopRequests
from tilbench_trainers.loop.prefix import prefix_rule
from tilbench_trainers.optim.average import Average
from tilbench_trainers.optim.optimizer import clip, make_optimizer, trainable
from tilbench_trainers.optim.schedule import learning_rate
from tilbench_trainers.parallel import Whole
from tilbench_trainers.reporting.board import TENSORBOARD, Board
from tilbench_trainers.reporting.display import Display
from tilbench_trainers.reporting.telemetry import LOG, Log
from tilbench_trainers.validation.monitor import Monitor
from tilbench_trainers.validation.validator import Validation, Validator

__all__ = ["Pretrain"]


class Pretrain:
    """Next-token training of all parameters that require a gradient (`tilbench.kinds.trainer.Trainer`)."""

    def fit(self, job: TrainingJob) -> Path:
        """Train, or go on from the last checkpoint in `job.out`; return the last checkpoint's folder.

        The job's module is trained in place. SIGINT or SIGTERM, of any process, finishes the step under way, saves it
        and raises Stopped. Raises ConfigError or Unsupported for a recipe that cannot be run here, DataError for
        unusable text, CheckpointError where `job.out` is a different run, and TilbenchError, with the rows of the batch
        and the last good checkpoint, where the loss or the gradient is not finite.
        """
        recipe, record = checked_recipe(job), run_record(job)
        if done := job.ranks.told(_finished(job.out, recipe, record)):
            return done
        check_module(job, recipe)
        device = chosen_device(job)
        if job.ranks.first:
            claim(job.out, record)
            clean(job.out)
        job.ranks.wait()
        last = job.ranks.told(last_checkpoint(job.out))
        if last is not None and _at_end(last, recipe):
            return last
        accelerators = [] if device.type == "cpu" else [torch.get_device_module(device).current_device()]
        with torch.random.fork_rng(devices=accelerators, device_type=device.type if accelerators else "cuda"):
            return _Loop(self, job, recipe, device, record).run(last)

    def fresh_prefix(self, special: SpecialTokens) -> int | None:
        """Return the token that texts begin with where the weights are fresh: eos, which stands between documents."""
        return special.eos if special.eos is not None else special.bos

    def batches(self, job: TrainingJob, prefix: Prefix, progress: Progress) -> Batches:
        """Return what the steps read: rows of running text, documents end to end with the prefix between them."""
        return text_batches(job, prefix.id, progress)

    def validator(self, job: TrainingJob, device: torch.device, prefix: Prefix) -> Validation:
        """Return what measures the module on held-out rows."""
        return Validator(job, device, prefix)


def _finished(out: Path, recipe: Recipe, record: dict[str, Any]) -> Path | None:
    """Return the last checkpoint of this very run where it is at its end; the module need not be built then."""
    last = last_checkpoint(out) if same_run(out, record) else None
    return last if last is not None and _at_end(last, recipe) else None


def _at_end(checkpoint: Path, recipe: Recipe) -> bool:
    return checkpoint == step_folder(checkpoint.parent, recipe.steps)


class _Loop:
    def __init__(
        self, trainer: Pretrain, job: TrainingJob, recipe: Recipe, device: torch.device, record: dict[str, Any]
    ) -> None:
        self.trainer, self.ranks = trainer, job.ranks
        self.job, self.recipe, self.device, self.record = job, recipe, device, record
        prefix = prefix_rule(trainer.fresh_prefix(job.tokenizer.special), job.start)
        self.whole = Whole(job.module, recipe, device, job.ranks)  # its copy is made while the device is empty
        self.module = job.module.to(device)
        self.decoder = cast("Decoder", self.module)
        self.flops_per_token = 6 * sum(parameter.numel() for parameter in self.module.parameters())
        self.forward = Forward(self.module, recipe, device, job.ranks)
        self.parameters = list(trainable(self.module).values())
        self.state = State(
            module=self.module,
            whole=self.whole,
            optimizer=make_optimizer(self.module, recipe.optimizer, _slots(job)),
            average=Average(self.parameters, recipe.ema),
            scaler=torch.amp.GradScaler(device.type, enabled=recipe.precision == "fp16"),
            device=device,
            ranks=job.ranks,
            digest=record["digest"],
            prefix=prefix,
            lineage=job.start.lineage if job.start else (),
        )
        seen = replace(job, build=lambda: self.whole.module)
        validator, write = trainer.validator(seen, device, prefix), partial(write_model, job, recipe, self.state)
        self.monitor = Monitor(seen, recipe, device, prefix, validator, write)
        self.guard = Guard(recipe.spike, job.out)
        self.best = Best(recipe.keep_best)
        self.board = Board(job.out / TENSORBOARD) if recipe.tensorboard and job.ranks.first else None

    def run(self, last: Path | None) -> Path:
        """Train from checkpoint `last` (None: from the job's start) to the end; return the last folder."""
        start = last or (self.job.start.resume if self.job.start else None)
        done = 0 if start is None else restore(self.job, self.state, start)
        first = self.ranks.first
        with Display(self.job.progress and first, self.recipe.steps, done) as display:
            for why in remarks(self.job, self.recipe):
                display.remark(why)
            with self.ranks.in_turn():
                self.batches = self.trainer.batches(self.job, self.state.prefix, display.encoding)
            folder = save(self.job, self.recipe, self.state, done) if last is None else last
            self.module.train()
            listeners = [each for each in (self.guard, display, self.best, self.board) if each]
            with (
                self.board or nullcontext(),
                Log(self.job.out / LOG, done, listeners, writes=first) as log,
                StopRequests() as stop,
            ):
                for step in range(done + 1, self.recipe.steps + 1):
                    stopped = self._step(step, log, display, stop)
                    if self._due(step, self.recipe.checkpoint_every) or stopped or self._is_best(step):
                        log.sync()
                        folder = save(self.job, self.recipe, self.state, step)
                    if stopped and step < self.recipe.steps:
                        why = stop.name or "another process"
                        raise Stopped(f"{why}: {folder} is saved, and the same command resumes from it")
        return folder

    def _is_best(self, step: int) -> bool:
        """Say whether the validation after `step` is the best so far, and the recipe keeps the best; each calls it."""
        return bool(self.recipe.keep_best) and self.monitor.due(step) and self.ranks.told(self.best.step == step)

    def _due(self, step: int, every: int) -> bool:
        return step == self.recipe.steps or (every > 0 and step % every == 0)

    def _step(self, step: int, log: Log, display: Display, stop: StopRequests) -> bool:
        """Do update `step`, look at what it is time for, and write both down; say whether to stop."""
        recipe, tokens = self.recipe, self.recipe.tokens_per_step
        began = time.perf_counter()
        lr = learning_rate(step, recipe.steps, recipe.optimizer.learning_rate, recipe.schedule)
        loss, norm, stopped = self._update(step, lr, stop)
        seconds = time.perf_counter() - began
        timing = {
            "seconds": seconds,
            "tokens_per_second": tokens / seconds,
            "mfu": self._mfu(tokens / seconds),
            "peak_memory_bytes": self._peak_memory(),
        }
        # An fp16 step whose scaled gradient overflowed is skipped by the scaler and has no norm.
        shown = norm if math.isfinite(norm) else None
        log.write(step=step, loss=loss, lr=lr, grad_norm=shown, tokens=step * tokens, timing=timing)
        if self.monitor.due(step):
            with self.state.average.in_place(), self.whole.gathered():
                if self.ranks.first and (found := self.monitor.look(step, display.scoring)):
                    log.write(step=step, **found)
            self.ranks.wait()
        return stopped

    def _peak_memory(self) -> int:
        """Return the most memory this process has held, in bytes: reserved on a CUDA device, else resident."""
        return torch.cuda.max_memory_reserved(self.device) if self.device.type == "cuda" else peak_memory()

    def _update(self, step: int, lr: float, stop: StopRequests) -> tuple[float, float, bool]:
        """Do one optimizer step.

        Return its tokens' mean loss in nats, the norm before clipping, and whether a process was told to stop.
        """
        optimizer, scaler = self.state.optimizer, self.state.scaler
        batch = self.batches.batch(step - 1, self.ranks.rank, self.ranks.world)
        check_ids(batch.ids, self.decoder.vocab_size, lambda: self._places(step))
        torch.manual_seed(key_of(self.recipe.seed, "dropout", step, self.ranks.rank))
        total = self.forward.accumulate(batch.to(self.device), self.recipe.batch_size, scaler)
        shared = self.ranks.summed(torch.stack([total, total.new_full((), float(bool(stop.name)))]))
        scaler.unscale_(optimizer)
        norm = clip(self.parameters, self.recipe.optimizer.clip)
        # The step's one wait for the device.
        mean, stopped, size = torch.cat([shared, norm.to(shared.dtype)[None]]).tolist()
        self.guard.check(step, mean, 0.0 if scaler.is_enabled() else size, lambda: self._row_losses(step))
        for group in optimizer.param_groups:
            group["lr"] = lr
        scaler.step(optimizer)
        scaler.update()
        self.state.average.update(step)
        optimizer.zero_grad(set_to_none=True)
        return mean, size, stopped > 0

    def _places(self, step: int) -> Sequence[object]:
        """Return where this process's rows of a step come from."""
        places = self.batches.places(step - 1)
        return [places[row] for row in rank_rows(len(places), self.ranks.rank, self.ranks.world)]

    def _row_losses(self, step: int) -> list[tuple[object, float]]:
        """Return the place of each row of a step, of all processes, and its mean loss in nats, without dropout."""
        self.module.eval()
        mine = self.batches.batch(step - 1, self.ranks.rank, self.ranks.world).to(self.device)
        losses = chain.from_iterable(self.ranks.gathered(self.forward.row_losses(mine)))
        self.module.train()
        return list(zip(self.batches.places(step - 1), losses, strict=True))

    def _mfu(self, tokens_per_second: float) -> float | None:
        """Return the share of the devices' peak that 6N operations a token use; None where it is not known.

        N counts all parameters, embeddings and frozen ones too (Kaplan et al., 2020, without the attention
        term).
        """
        used = replace(self.job.hardware, count=self.ranks.world)
        return used.mfu(self.flops_per_token * tokens_per_second, self.recipe.precision)


def _slots(job: TrainingJob) -> Sequence[Slot]:
    """Return what the module's weights are made of, where the module or its architecture says so."""
    if job.spec.recipe is None or job.spec.recipe.optimizer.name == "adamw":  # it treats every number alike
        return ()
    if isinstance(job.module, StatesOwnParts):
        return job.module.parts()
    if not isinstance(job.architecture, StatesParts):
        return ()
    return job.architecture.parts(job.architecture.Config.model_validate(resolved_architecture(job).config))

"""The pretraining loop: documents in, checkpoints out, on one device.

Everything that decides the weights is a function of the job and the step: the rows
(`tilbench.data.packing`), the learning rate (`schedule`), the generators' states (saved). So a run that is
stopped in any way and started again gives the same bits as one that was not, in fp32 on the CPU of one
machine with one number of threads.
"""

from __future__ import annotations

import math
import time
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from numpy.typing import NDArray
from torch import Tensor

from tilbench.checkpoints.folder import checkpoints
from tilbench.config.model import Recipe
from tilbench.data.packing import Stream
from tilbench.errors import TilbenchError
from tilbench.kinds.architecture import Decoder
from tilbench.kinds.trainer import TrainingJob
from tilbench.scoring.chunked import cross_entropy
from tilbench_trainers.checks import checked_recipe, chosen_device
from tilbench_trainers.interrupts import StopRequests
from tilbench_trainers.optimizer import adamw, clip, trainable
from tilbench_trainers.record import claim, run_record
from tilbench_trainers.schedule import learning_rate
from tilbench_trainers.state import State, clean, last_checkpoint, restore, save
from tilbench_trainers.telemetry import LOG, Display, Log, peak_memory_bytes
from tilbench_trainers.tokens import token_file, token_path
from tilbench_trainers.validation import Validator

__all__ = ["Pretrain"]

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
_ROWS_SHOWN = 8


class Pretrain:
    """Next-token training of all parameters that require a gradient (`tilbench.kinds.trainer.Trainer`)."""

    def fit(self, job: TrainingJob) -> Path:
        """Train, or go on from the last checkpoint in `job.out`; return the last checkpoint's folder.

        The job's module is trained in place. SIGINT or SIGTERM finishes the step under way, saves it and
        raises KeyboardInterrupt. Raises ConfigError or Unsupported for a recipe that cannot be run here,
        DataError for unusable text, CheckpointError where `job.out` is a different run, and TilbenchError,
        with the rows of the batch and the last good checkpoint, where the loss or the gradient is not
        finite.
        """
        recipe, device = checked_recipe(job), chosen_device(job)
        record = run_record(job)
        claim(job.out, record)
        clean(job.out)
        last = last_checkpoint(job.out)
        if last is not None and last.name == f"step-{recipe.steps:08d}":
            return last
        accelerators = [] if device.type == "cpu" else [torch.get_device_module(device).current_device()]
        with torch.random.fork_rng(devices=accelerators, device_type=device.type if accelerators else "cuda"):
            torch.manual_seed(recipe.seed)
            return _Loop(job, recipe, device, record).run(last)


class _Loop:
    def __init__(self, job: TrainingJob, recipe: Recipe, device: torch.device, record: dict[str, Any]) -> None:
        self.job, self.recipe, self.device, self.record = job, recipe, device, record
        special = job.tokenizer.special
        separator = special.eos if special.eos is not None else special.bos
        self.module = job.module.to(device)
        self.decoder = cast("Decoder", self.module)
        self.parameters = list(trainable(self.module).values())
        self.state = State(
            module=self.module,
            optimizer=adamw(self.module, recipe.optimizer),
            scaler=torch.amp.GradScaler(device.type, enabled=recipe.precision == "fp16"),
            device=device,
            digest=record["digest"],
            prefix=separator,
        )
        # One process does the passes of every device the recipe names, so that a step is the same step.
        self.passes = recipe.accumulation * recipe.devices
        self.flops_per_token = 6 * sum(parameter.numel() for parameter in self.module.parameters())
        self.validator = Validator(job, device, separator)

    def run(self, last: Path | None) -> Path:
        """Train from checkpoint `last` (None: the untrained module) to the end; return the last folder."""
        done = 0 if last is None else restore(self.job, self.state, last)
        with Display(self.job.progress, self.recipe.steps, done) as display:
            self.stream = self._open_stream(display)
            folder = save(self.job, self.recipe, self.state, 0) if last is None else last
            self.module.train()
            with Log(self.job.out / LOG, done) as log, StopRequests() as stop:
                for step in range(done + 1, self.recipe.steps + 1):
                    self._step(step, log, display)
                    if self._due(step, self.recipe.checkpoint_every) or stop.name:
                        log.sync()
                        folder = save(self.job, self.recipe, self.state, step)
                    if stop.name and step < self.recipe.steps:
                        raise KeyboardInterrupt(f"{stop.name}: {folder} is saved, and the same command goes on from it")
        return folder

    def _open_stream(self, display: Display) -> Stream:
        tokenizer = self.job.tokenizer
        ids: dict[str, tuple[float, NDArray[Any]]] = {}
        for source in self.job.sources:
            if source.weight > 0:
                file = token_file(
                    token_path(self.job.out / "data", source.name),
                    source.train,
                    tokenizer.encode_batch,
                    separator=self.state.prefix,
                    vocabulary=tokenizer.size,
                    fingerprint=self._fingerprint(source.name),
                    progress=partial(display.encoding, source.name),
                )
                ids[source.name] = (source.weight, file.ids)
        recipe = self.recipe
        return Stream(
            ids,
            sequence_length=recipe.sequence_length,
            rows=recipe.batch_size * self.passes,
            seed=recipe.seed,
            mixing=recipe.mixing,
            packing=recipe.packing,
        )

    def _fingerprint(self, source: str) -> str:
        return f"{self.record['data'][source]['fingerprint']} {self.job.tokenizer.fingerprint}"

    def _due(self, step: int, every: int) -> bool:
        return step == self.recipe.steps or (every > 0 and step % every == 0)

    def _step(self, step: int, log: Log, display: Display) -> None:
        """Do update `step`, and validate where it is time, and write both down."""
        recipe, tokens = self.recipe, self.recipe.tokens_per_step
        began = time.perf_counter()
        lr = learning_rate(step, recipe.steps, recipe.optimizer.learning_rate, recipe.schedule)
        loss, norm = self._update(step, lr)
        seconds = time.perf_counter() - began
        timing = {
            "seconds": seconds,
            "tokens_per_second": tokens / seconds,
            "mfu": self._mfu(tokens / seconds),
            "peak_memory_bytes": peak_memory_bytes(self.device),
        }
        # An fp16 step whose scaled gradient overflowed is skipped by the scaler and has no norm.
        shown = norm if math.isfinite(norm) else None
        log.write(step=step, loss=loss, lr=lr, grad_norm=shown, tokens=step * tokens, timing=timing)
        if self.validator and self._due(step, recipe.validate_every):
            log.write(step=step, validation=self.validator.measure())
        display.step(step, loss, lr, tokens / seconds)

    def _update(self, step: int, lr: float) -> tuple[float, float]:
        """Do one optimizer step; return its tokens' mean loss in nats and the norm before clipping."""
        optimizer, scaler = self.state.optimizer, self.state.scaler
        batch = self.stream.batch(step - 1)  # [passes * B, T + 1]
        if self.device.type != "cpu":
            batch = batch.pin_memory().to(self.device, non_blocking=True)
        inputs, targets = batch[:, :-1].contiguous(), batch[:, 1:].contiguous()
        total = torch.zeros((), device=self.device)
        size = self.recipe.batch_size
        for ids, wanted in zip(torch.split(inputs, size), torch.split(targets, size), strict=True):
            loss = self._loss(ids, wanted) / self.passes
            scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
            total += loss.detach()
        scaler.unscale_(optimizer)
        norm = clip(self.parameters, self.recipe.optimizer.clip)
        numbers: list[float] = torch.stack([total, norm.to(total.dtype)]).tolist()  # the step's one wait for the device
        self._check(step, *numbers)
        for group in optimizer.param_groups:
            group["lr"] = lr
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad(set_to_none=True)
        return numbers[0], numbers[1]

    def _loss(self, ids: Tensor, targets: Tensor) -> Tensor:
        """Return the mean cross-entropy in nats of `targets` [B, T] after `ids` [B, T], without [B, T, V]."""
        precision = self.recipe.precision
        with torch.autocast(self.device.type, dtype=_DTYPES[precision], enabled=precision != "fp32"):
            hidden = self.decoder.hidden(ids)  # [B, T, D]
            return cross_entropy(self.decoder.project, hidden.flatten(0, 1), targets.flatten())

    def _check(self, step: int, loss: float, norm: float) -> None:
        """Raise TilbenchError where the step must not be taken; the weights are those of the step before."""
        if math.isfinite(loss) and (math.isfinite(norm) or self.state.scaler.is_enabled()):
            return
        rows = self.stream.places(step - 1)
        shown = ", ".join(map(str, rows[:_ROWS_SHOWN])) + (
            f" and {len(rows) - _ROWS_SHOWN} more" if rows[_ROWS_SHOWN:] else ""
        )
        raise TilbenchError(
            f"step {step}: the loss is {loss} and the gradient's norm {norm}; the batch is {shown}; the last "
            f"good checkpoint is {checkpoints(self.job.out)[-1]}; lower the learning rate or look at these rows"
        )

    def _mfu(self, tokens_per_second: float) -> float | None:
        """Return the share of the profile's peak that 6N operations a token use; None where it is not known.

        N counts all parameters, embeddings and frozen ones too (Kaplan et al., 2020, without the attention
        term).
        """
        hardware = self.job.hardware
        return hardware.mfu(self.flops_per_token * tokens_per_second, self.recipe.precision)

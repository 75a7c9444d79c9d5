"""What every exporter must do: write something, leave the checkpoint alone, and refuse weights that it would spoil."""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from tilbench.checkpoints.folder import CheckpointInfo, checkpoint_fingerprint, write_info
from tilbench.config.model import ArchitectureRef, DType
from tilbench.errors import ConfigError, TilbenchError, Unsupported
from tilbench.kinds.architecture import Architecture
from tilbench.kinds.exporter import Exporter, ExportJob
from tilbench.kinds.tokenizer import Tokenizer
from tilbench.registry import Registry
from tilbench.testing.base import Conformance, NotApplicable, declining, require
from tilbench.testing.modules import example_config
from tilbench.testing.toy_decoder import ToyArchitecture
from tilbench.testing.toys import ToyTokenizer

__all__ = ["ExporterConformance"]


@dataclass(frozen=True, slots=True)
class _Written:
    """A job that was not refused, and what came of it. sizes: bytes of each file by its name."""

    architecture: tuple[str, Architecture]
    tokenizer: tuple[str, Tokenizer]
    told: object
    sizes: Mapping[str, int]
    unchanged: bool


class ExporterConformance(Conformance):
    """Checks of an exporter, on a tiny checkpoint.

    subject: the exporter. registry: where architectures and tokenizers are looked for if the toys are refused.
    """

    subject: Exporter
    registry: Registry | None = None
    _first: _Written | None = None

    def test_interface(self) -> None:
        """It has `export`."""
        require(isinstance(self.subject, Exporter), "it lacks export")

    def test_it_writes_files_and_leaves_the_checkpoint(self) -> None:
        """Something is in the folder afterwards, what is told is plain data, and the checkpoint is as it was."""
        written = self._written()
        require(sum(written.sizes.values()), "it writes nothing, or empty files")
        require(isinstance(written.told, Mapping), f"it returns {type(written.told).__name__} and no mapping")
        json.dumps(written.told)
        require(written.unchanged, "it changes the checkpoint that it exports")

    def test_bfloat16_is_smaller(self) -> None:
        """Its largest file is smaller in bfloat16 than in float32."""
        whole = max(self._written().sizes.values())
        half = max(self._export(dtype="bfloat16").sizes.values())
        require(half < whole, f"its largest file has {half:,} bytes in bfloat16 and {whole:,} in float32")

    def test_weights_out_of_range_are_refused(self) -> None:
        """A weight of 1e6, which float16 cannot hold, is an error in one line."""
        self._refused(1e6, "float16")

    def test_weights_that_are_not_finite_are_refused(self) -> None:
        """A weight that is no number is an error in one line."""
        self._refused(float("nan"), "float32")

    def _refused(self, value: float, dtype: DType) -> None:
        self._written()
        try:
            self._export(dtype=dtype, weight=value)
        except TilbenchError as error:
            require("\n" not in str(error), f"its error has several lines: {error}")
            return
        require(False, f"it exports a weight of {value} in {dtype}")

    def _written(self) -> _Written:
        """Return what the first pair of architecture and tokenizer that is not refused gave."""
        if self._first is not None:
            return self._first
        refusal = "nothing registered can be exported with it"
        for architecture in self._architectures():
            for tokenizer in self._tokenizers():
                try:
                    self._first = self._export(architecture, tokenizer)
                except (Unsupported, ConfigError) as error:
                    refusal = str(error)
                    continue
                return self._first
        raise NotApplicable(refusal)

    def _export(
        self,
        architecture: tuple[str, Architecture] | None = None,
        tokenizer: tuple[str, Tokenizer] | None = None,
        *,
        dtype: DType = "float32",
        weight: float | None = None,
    ) -> _Written:
        """Export a tiny checkpoint; weight: a number that one of its weights has."""
        first = self._first
        architecture, tokenizer = architecture or first.architecture, tokenizer or first.tokenizer  # type: ignore[union-attr]
        with tempfile.TemporaryDirectory() as name:
            job = _job(Path(name) / "checkpoint", architecture, tokenizer, weight)
            job = replace(job, dtype=dtype)
            out = Path(name) / "out"
            out.mkdir()
            before = checkpoint_fingerprint(job.folder)
            with declining() if first is not None and weight is None else contextlib.nullcontext():
                told = self.subject.export(job, out)
            sizes = {path.name: path.stat().st_size for path in out.rglob("*") if path.is_file()}
            return _Written(architecture, tokenizer, told, sizes, checkpoint_fingerprint(job.folder) == before)

    def _architectures(self) -> Iterator[tuple[str, Architecture]]:
        yield "toy", ToyArchitecture()
        yield from self.registry.architectures.all() if self.registry else ()

    def _tokenizers(self) -> Iterator[tuple[str, Tokenizer]]:
        yield "toy", ToyTokenizer()
        for name, family in self.registry.tokenizers.all() if self.registry else ():
            if family.recognises(name):
                yield name, family.load(name)


def _job(
    folder: Path, architecture: tuple[str, Architecture], tokenizer: tuple[str, Tokenizer], weight: float | None
) -> ExportJob:
    """Write a checkpoint of random weights and return the job of exporting it, code allowed."""
    name, made = architecture
    config = example_config(made, {"vocab_size": tokenizer[1].size})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        module: nn.Module = made.build(config)
    if weight is not None:
        with torch.no_grad():
            next(module.parameters()).view(-1)[0] = weight
    folder.mkdir()
    made.save(module, folder)
    tokenizer[1].save(folder)
    reference = ArchitectureRef(name=name, config=config.model_dump())
    info = CheckpointInfo(
        model="toy",
        architecture=reference,
        tokenizer=tokenizer[0],
        prefix=tokenizer[1].special.eos,
        parameters=made.parameters(config),
        step=1,
    )
    write_info(folder, info)
    return ExportJob(
        folder=folder, info=info, architecture=made, config=config, tokenizer=tokenizer[1], allow_code=True
    )

"""Training: resolve (spec, recipe, data, hardware) → build (model, tokenizer, sources) → fit."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydantic

from tilbench.checkpoints.folder import RUN, is_run, read_json
from tilbench.config.base import first_fault
from tilbench.config.model import Data, ModelSpec, Recipe
from tilbench.config.references import parse_spec
from tilbench.data.resolve import Rows, fingerprint
from tilbench.data.rows import Conversation, Document
from tilbench.errors import CheckpointError, ConfigError, DataError, Unsupported
from tilbench.kinds.hardware import HardwareProfile
from tilbench.kinds.tokenizer import Tokenizer, ids_without_rows
from tilbench.kinds.trainer import Source, Start, TrainingJob
from tilbench.paths import atomic_folder
from tilbench.ranks import Ranks, joined
from tilbench.registry import Registry
from tilbench.resolve.datasets import rows_of
from tilbench.resolve.specs import load_spec
from tilbench.training.base import adapted, base_origin, base_tokenizer, started
from tilbench.training.live import SuiteEvaluation, plan_evaluation
from tilbench.training.rows import Selection, select

__all__ = ["Training", "preview", "resolve_spec", "resolve_training", "train", "train_if_needed"]


@dataclass(frozen=True, slots=True)
class Training:
    """A resolved training: names looked up and data read, nothing built yet."""

    reference: str
    spec: ModelSpec
    recipe: Recipe
    sources: Sequence[Source]
    hardware: HardwareProfile
    config: Any
    """The architecture's validated config."""
    evaluation: SuiteEvaluation | None = None
    """What the recipe's `evaluate` asks for, planned."""
    start: Start | None = None
    """The checkpoint of the same model whose optimizer and place in the data are gone on with, if any."""

    @property
    def documents(self) -> list[str]:
        """All training texts, source by source; a conversation's turns are texts."""
        rows = [row for source in self.sources for row in source.train]
        return [text for row in rows for text in _texts(row)]


def resolve_training(
    reference: str,
    registry: Registry,
    data_dir: Path | None,
    overrides: Sequence[str] = (),
    hardware: str = "",
) -> Training:
    """Resolve everything that `reference` names, with overrides laid over the spec.

    Raises UnknownName, ConfigError, DataError or MissingDataset before anything is built or written.
    """
    asked = parse_spec(reference)
    if asked.step is not None:
        raise ConfigError(
            f"model {reference!r}: training starts from a spec, not from a step; leave out '@{asked.step}'"
        )
    return resolve_spec(load_spec(asked, registry, overrides), asked.label, registry, data_dir, hardware)


def resolve_spec(
    spec: ModelSpec,
    label: str,
    registry: Registry,
    data_dir: Path | None,
    hardware: str = "",
    start: Start | None = None,
) -> Training:
    """Resolve everything that a spec names; `start` is a checkpoint of its own that it goes on from.

    Raises UnknownName, ConfigError, DataError or MissingDataset before anything is built or written.
    """
    if spec.recipe is None:
        raise Unsupported(f"{label} has no recipe, so it cannot be trained; give it one with --set recipe.…")
    if not spec.data:
        raise ConfigError(f"{label} names no training data; give it some with --set 'data=[{{dataset: NAME}}]'")
    architecture = registry.get("architectures", spec.architecture.name)
    trainer = registry.get("trainers", spec.recipe.trainer)
    registry.get("tokenizers", spec.tokenizer.family)
    profile = registry.get("hardware", hardware or spec.hardware or "cpu")
    wanted = spec.recipe.evaluate
    sources = [_source(data, registry, data_dir) for data in spec.data]
    _learnable(sources, spec.recipe.trainer, getattr(trainer, "rows", frozenset({Document.kind})))
    return Training(
        reference=label,
        spec=spec,
        recipe=spec.recipe,
        sources=sources,
        hardware=profile,
        config=_config(architecture, spec),
        evaluation=plan_evaluation(wanted, registry, data_dir, profile) if wanted else None,
        start=start,
    )


def train(training: Training, registry: Registry, out: Path, *, progress: bool = True) -> Path:
    """Build the model, fit it, and return the folder of the last checkpoint.

    The processes that torchrun started train together. Raises Stopped where a signal ended it.
    """
    if out.exists() and not out.is_dir():
        raise DataError(f"{out} is a file; a run goes into a folder, so name another with --out")
    import torch

    architecture = registry.get("architectures", training.spec.architecture.name)
    with joined(training.hardware.device) as ranks:
        _refuse_too_large(training, architecture.parameters(training.config), ranks)
        torch.manual_seed(training.recipe.seed)
        module, start = started(training.spec, architecture, training.config)
        module = adapted(training.spec, architecture, module)
        with ranks.in_turn():
            tokenizer = _tokenizer(training, registry, out)
        job = TrainingJob(
            spec=training.spec,
            architecture=architecture,
            module=module,
            tokenizer=tokenizer,
            sources=training.sources,
            hardware=training.hardware,
            out=out,
            reference=training.reference,
            progress=progress,
            evaluation=training.evaluation,
            start=training.start or start,
            ranks=ranks,
        )
        folder: Path = registry.get("trainers", training.recipe.trainer).fit(job)
    return folder


def preview(training: Training, registry: Registry, out: Path) -> Iterator[str]:
    """Yield lines that show what the trainer would learn from its data; nothing is written.

    out: the run's folder; where it has a tokenizer, that is used. Raises Unsupported for a trainer without a preview.
    """
    trainer = registry.get("trainers", training.recipe.trainer)
    if not hasattr(trainer, "preview"):
        raise Unsupported(f"trainer {training.recipe.trainer!r} has no preview; --dry-run shows what it would train")
    architecture = registry.get("architectures", training.spec.architecture.name)
    with tempfile.TemporaryDirectory() as aside:
        tokenizer = _tokenizer(training, registry, out if is_run(out) else Path(aside))
        origin = base_origin(training.spec, architecture)
        yield from trainer.preview(training.spec, tokenizer, training.sources, origin)


def _refuse_too_large(training: Training, parameters: int, ranks: Ranks) -> None:
    """Raise Unsupported where weights, gradients and AdamW's two moments in fp32 exceed the memory of one device."""
    if training.recipe.adapter is not None:  # most weights are frozen and have neither
        return
    devices = ranks.world if training.recipe.parallel == "fsdp" else 1
    needed, there = 16 * parameters / devices / 2**30, training.hardware.memory_gib
    if needed > there:
        raise Unsupported(
            f"{training.reference} takes {needed:.0f} GiB for weights, gradients and optimizer alone, and "
            f"{training.hardware.name} has {there:.0f}; choose a smaller variant, other --hardware, or more processes "
            "of torchrun with recipe.parallel=fsdp"
        )


def _config(architecture: Any, spec: ModelSpec) -> Any:
    try:
        return architecture.Config(**spec.architecture.config)
    except pydantic.ValidationError as error:
        raise ConfigError(f"{spec.name}: architecture.config.{first_fault(error)}") from None


def _source(data: Data, registry: Registry, data_dir: Path | None) -> Source:
    rows = rows_of(data.dataset, registry, data_dir, limit=data.rows)
    found = _selected(data, rows)
    if not found.train:
        why = "; ".join(f"{count:,} {what}" for what, count in found.dropped.items())
        raise DataError(
            f"dataset {data.dataset!r}: none of its {len(rows.rows):,} rows is left to train on{why and ': '}{why}"
        )
    heldout: Sequence[Document] | Sequence[Conversation] = found.heldout
    if data.heldout:
        if data.validation_ratio:
            raise ConfigError(f"{data.dataset}: it has heldout and validation_ratio; give it one of them")
        heldout = _selected(Data(dataset=data.heldout), rows_of(data.heldout, registry, data_dir)).train
    if shared := {_said(row) for row in found.train} & {_said(row) for row in heldout}:
        where, fix = (repr(data.heldout), "") if data.heldout else ("the part held out", "; set deduplicate: true")
        raise DataError(f"{len(shared)} rows of {data.dataset!r} are also in {where}, its held-out text{fix}")
    untouched = len(found.train) == len(rows.rows) and data.split == "none"
    return Source(
        data.dataset,
        data.weight,
        found.train,
        heldout,
        rows.fingerprint if untouched else fingerprint(found.train),
        data.min_tokens,
        found.dropped,
    )


def _learnable(sources: Sequence[Source], trainer: str, kinds: Collection[str]) -> None:
    """Raise DataError for a source of rows that the trainer does not learn from."""
    for source in sources:
        if (kind := source.train[0].kind) not in kinds:
            raise DataError(
                f"dataset {source.name!r} holds {kind}, and trainer {trainer!r} learns from "
                f"{' or '.join(sorted(kinds))}; choose another dataset, or another recipe.trainer"
            )


def _selected(data: Data, rows: Rows) -> Selection:
    """Return the rows of one kind that a trainer can learn from. Raises DataError for other kinds."""
    if documents := [row for row in rows.rows if isinstance(row, Document)]:
        return select(documents, data)
    if conversations := [row for row in rows.rows if isinstance(row, Conversation)]:
        return select(conversations, data)
    raise DataError(f"dataset {data.dataset!r} holds {rows.kind}; running text or conversations are needed here")


def _texts(row: Document | Conversation) -> list[str]:
    return [row.text] if isinstance(row, Document) else [content for _, content in row.messages]


def _said(row: Document | Conversation) -> object:
    return row.text if isinstance(row, Document) else row.messages


def _tokenizer(training: Training, registry: Registry, out: Path) -> Tokenizer:
    """Return the run's tokenizer: the one it already has, the one the spec refers to, or one trained now.

    Raises ConfigError for one that the embedding is too small for, which is not kept, and CheckpointError where the
    run in `out` has one that cannot be this training's.
    """
    reference = training.spec.tokenizer
    if (own := base_tokenizer(training.spec, registry)) is not None:
        return _fitting(training, own)
    family = registry.get("tokenizers", reference.family)
    if training.start is not None:
        return _fitting(training, family.load(str(training.start.resume)))
    folder = out / "tokenizer"
    if reference.reference:
        return _fitting(training, family.load(reference.reference))
    if not family.trainable:
        return _fitting(training, family.load(reference.family))
    if is_run(out) and folder.is_dir():  # one left by a run that never began may be of other options
        return _kept(training, family, out, folder)
    trained = _fitting(training, family.train(training.documents, reference.options))
    with atomic_folder(folder) as aside:
        trained.save(aside)
    return _fitting(training, family.load(str(folder)))


def _kept(training: Training, family: Any, out: Path, folder: Path) -> Tokenizer:
    """Return the tokenizer that the run in `out` has. Raises CheckpointError where that run is another one.

    The trainer, which knows every field that makes a run another one, is only reached with a tokenizer that fits.
    """
    tokenizer: Tokenizer = family.load(str(folder))
    if ids_without_rows(tokenizer, training.config.vocab_size):
        was = read_json(out / RUN).get("model", "unknown") if (out / RUN).is_file() else "unknown"
        raise CheckpointError(
            f"{out} is a different run: model was {was}, with a tokenizer of {tokenizer.size:,} ids, and is now "
            f"{training.reference}, with an embedding of {training.config.vocab_size:,} rows; train into another folder"
        )
    return tokenizer


def _fitting(training: Training, tokenizer: Tokenizer) -> Tokenizer:
    if ids_without_rows(tokenizer, training.config.vocab_size):
        raise ConfigError(
            f"{training.reference}: the tokenizer has {tokenizer.size:,} ids and the embedding "
            f"{training.config.vocab_size:,} rows; lower the tokenizer's vocab_size or raise "
            "architecture.config.vocab_size"
        )
    return tokenizer


def train_if_needed(reference: str, out: Path, registry: Registry, data_dir: Path | None) -> Path:
    """Train `reference` in `out` with its own recipe, go on with it, or find that it is done."""
    return train(resolve_training(reference, registry, data_dir), registry, out)

"""What a training needs, by name: the spec, its recipe and config, its rows and hardware. Nothing is built yet."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import pydantic

from tilbench.config.base import first_fault
from tilbench.config.model import Data, ModelSpec, Recipe
from tilbench.config.references import parse_spec
from tilbench.data.resolve import Rows
from tilbench.data.rows import Conversation, Document, rows_fingerprint
from tilbench.errors import ConfigError, DataError, Unsupported
from tilbench.kinds.architecture import Architecture, DecoderConfig
from tilbench.kinds.capabilities.trainer import LearnsFromRows
from tilbench.kinds.hardware import HardwareProfile
from tilbench.kinds.trainer import Source, Start
from tilbench.registry import Registry
from tilbench.resolve.datasets import rows_of
from tilbench.resolve.specs import load_spec
from tilbench.training.live import SuiteEvaluation, plan_evaluation
from tilbench.training.rows import Selection, select_rows

__all__ = ["Training", "resolve_spec", "resolve_training"]


@dataclass(frozen=True, slots=True)
class Training:
    """A resolved training: names looked up and data read, nothing built yet."""

    reference: str
    spec: ModelSpec
    recipe: Recipe
    sources: Sequence[Source]
    hardware: HardwareProfile
    config: DecoderConfig
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
    """Resolve everything that a spec names; `start` is the checkpoint of its own that it resumes.

    Raises UnknownName, ConfigError, DataError or MissingDataset before anything is built or written.
    """
    if spec.recipe is None:
        raise Unsupported(f"{label} has no recipe, so it cannot be trained; give it one with --set recipe.…")
    if not spec.data:
        raise ConfigError(f"{label} names no training data; give it some with --set 'data=[{{dataset: NAME}}]'")
    architecture = registry.architectures.get(spec.architecture.name)
    trainer = registry.trainers.get(spec.recipe.trainer)
    registry.tokenizers.get(spec.tokenizer.family)
    profile = registry.hardware.get(hardware or spec.hardware or "cpu")
    wanted = spec.recipe.evaluate
    sources = [_source(data, registry, data_dir) for data in spec.data]
    rows = trainer.rows if isinstance(trainer, LearnsFromRows) else frozenset({Document.kind})
    _learnable(sources, spec.recipe.trainer, rows)
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


def _config(architecture: Architecture, spec: ModelSpec) -> DecoderConfig:
    try:
        config: DecoderConfig = architecture.Config(**spec.architecture.config)
        return config
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
        rows.fingerprint if untouched else rows_fingerprint(found.train),
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
        return select_rows(documents, data)
    if conversations := [row for row in rows.rows if isinstance(row, Conversation)]:
        return select_rows(conversations, data)
    raise DataError(f"dataset {data.dataset!r} holds {rows.kind}; running text or conversations are needed here")


def _texts(row: Document | Conversation) -> list[str]:
    return [row.text] if isinstance(row, Document) else [content for _, content in row.messages]


def _said(row: Document | Conversation) -> object:
    return row.text if isinstance(row, Document) else row.messages

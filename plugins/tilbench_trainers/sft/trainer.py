"""Supervised fine-tuning: the loop of `pretrain` on conversations, where only the assistant's tokens are learned."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import torch

from tilbench.config.model import Chat, ModelSpec, Recipe
from tilbench.data.rows import Conversation
from tilbench.errors import ConfigError
from tilbench.kinds.tokenizer import SpecialTokens, Tokenizer
from tilbench.kinds.trainer import Source, Start, TrainingJob
from tilbench.paths import atomic_path
from tilbench.progress import Progress
from tilbench.scoring.encode.prefix import Prefix
from tilbench.text.chat import TEMPLATES
from tilbench_trainers.data.batch import Batches
from tilbench_trainers.data.rows import conversations_of
from tilbench_trainers.loop.prefix import prefix_rule
from tilbench_trainers.loop.pretrain import Pretrain
from tilbench_trainers.sft.batches import ChatBatches
from tilbench_trainers.sft.examples import Encoder, Examples
from tilbench_trainers.sft.preview import preview
from tilbench_trainers.sft.validation import ChatValidator
from tilbench_trainers.validation.validator import Validation, lost_bytes_of

__all__ = ["COUNTS", "Sft"]

COUNTS = "conversations.json"
"""In the run's folder: what became of the conversations of each source."""


class Sft(Pretrain):
    """Learns what the assistant says (`tilbench.kinds.trainer.Trainer`)."""

    rows: ClassVar[frozenset[str]] = frozenset({"conversations"})

    def fit(self, job: TrainingJob) -> Path:
        """Train, or go on; see `Pretrain.fit`. Raises ConfigError too where the recipe has no chat template."""
        if job.spec.recipe is not None:
            _chat(job.spec.recipe)
        return super().fit(job)

    def fresh_prefix(self, special: SpecialTokens) -> int | None:
        """Return the token that texts begin with where the weights are fresh: bos, else eos."""
        return special.bos if special.bos is not None else special.eos

    def batches(self, job: TrainingJob, prefix: Prefix, progress: Progress) -> Batches:
        """Return what the steps read, and write what became of the conversations into `COUNTS`."""
        recipe = _recipe(job.spec)
        examples = _examples(_encoder(recipe, job.tokenizer, prefix), job.sources)
        with atomic_path(job.out / COUNTS) as aside:
            counts = {
                name: {
                    "conversations": len(rows),
                    "examples": len(made.found),
                    "tokens": sum(len(each.ids) for each in made.found),
                    "learned tokens": sum(int(each.learned.sum()) for each in made.found),
                    **{what: count for what, count in made.counts.items() if count},
                }
                for name, (rows, made) in examples.items()
            }
            aside.write_text(json.dumps(counts, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        return _batches(recipe, job.sources, examples)

    def validator(self, job: TrainingJob, device: torch.device, prefix: Prefix) -> Validation:
        """Return what measures the loss of held-out answers. Raises ConfigError where the recipe compares bpb."""
        if _recipe(job.spec).keep_best == "bpb":
            raise ConfigError("recipe.keep_best is bpb, and trainer 'sft' measures the loss of answers; set it to loss")
        encoder = _encoder(_recipe(job.spec), job.tokenizer, prefix)
        rows = {source.name: conversations_of(source, heldout=True) for source in job.sources}
        heldout = {name: encoder.encode(each).found for name, each in rows.items()}
        return ChatValidator(job.module, device, heldout, {name: _lost(job, each) for name, each in rows.items()})

    def preview(
        self, spec: ModelSpec, tokenizer: Tokenizer, sources: Sequence[Source], start: Start | None
    ) -> Iterator[str]:
        """Yield lines that show what would be learned. Raises as `fit` does before its first step."""
        recipe = _recipe(spec)
        encoder = _encoder(recipe, tokenizer, prefix_rule(self.fresh_prefix(tokenizer.special), start))
        examples = _examples(encoder, sources)
        return preview(tokenizer, encoder, examples, _batches(recipe, sources, examples))


def _lost(job: TrainingJob, rows: Sequence[Conversation]) -> float:
    """Return the share of the answers' bytes that the tokens do not reproduce."""
    lost, size = lost_bytes_of(
        job.tokenizer, [text for row in rows for role, text in row.messages if role == "assistant"]
    )
    return lost / size if size else 0.0


def _recipe(spec: ModelSpec) -> Recipe:
    if spec.recipe is None:
        raise ConfigError(f"model {spec.name!r} has no recipe")
    return spec.recipe


def _chat(recipe: Recipe) -> Chat:
    if recipe.chat is None:
        raise ConfigError(f"trainer 'sft' needs recipe.chat.template: {', '.join(TEMPLATES)}")
    if recipe.packing != "packed" or recipe.document_masks:
        raise ConfigError(
            "recipe.packing and document_masks are for running text; conversations are packed, or not, by "
            "recipe.chat.packed, and never see each other"
        )
    return recipe.chat


def _encoder(recipe: Recipe, tokenizer: Tokenizer, prefix: Prefix) -> Encoder:
    """Return what makes examples; a prefix for whole documents only is not for conversations."""
    before = prefix.id if prefix.contexts else None
    return Encoder(tokenizer, _chat(recipe), prefix=before, length=recipe.sequence_length)


def _examples(encoder: Encoder, sources: Sequence[Source]) -> dict[str, tuple[Sequence[Conversation], Examples]]:
    found = {source.name: conversations_of(source) for source in sources if source.weight > 0}
    return {name: (rows, encoder.encode(rows)) for name, rows in found.items()}


def _batches(
    recipe: Recipe, sources: Sequence[Source], examples: Mapping[str, tuple[Sequence[Conversation], Examples]]
) -> ChatBatches:
    weights = {source.name: source.weight for source in sources}
    return ChatBatches(
        {name: (weights[name], made.found) for name, (_, made) in examples.items()},
        sequence_length=recipe.sequence_length,
        rows=recipe.batch_size * recipe.accumulation * recipe.devices,
        seed=recipe.seed,
        mixing=recipe.mixing,
        packed=_chat(recipe).packed,
    )

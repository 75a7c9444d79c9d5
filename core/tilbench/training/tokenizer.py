"""The tokenizer of a run: its own, the base's, the one its spec names, or one trained now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from tilbench.checkpoints.folder import RUN, is_run, read_json
from tilbench.errors import CheckpointError, ConfigError, Unsupported
from tilbench.kinds.tokenizer import Tokenizer, TokenizerFamily, ids_beyond
from tilbench.paths import atomic_folder, refuse_filled
from tilbench.registry import Registry
from tilbench.resolve.datasets import documents
from tilbench.training.initial import base_tokenizer
from tilbench.training.resolve import Training

__all__ = ["run_tokenizer", "train_tokenizer"]


def train_tokenizer(
    family: str,
    datasets: Sequence[str],
    out: Path,
    registry: Registry,
    *,
    options: Mapping[str, object] = MappingProxyType({}),
    data_dir: Path | None = None,
) -> Tokenizer:
    """Train a tokenizer of a family on datasets of documents, write it into `out`, and return it.

    options: the family's own. Raises Unsupported for a family that is not trained, DataError where `out` holds
    anything, and what reading a dataset raises.
    """
    made = registry.tokenizers.get(family)
    if not made.trainable:
        raise Unsupported(f"tokenizer family {family!r} is loaded, not trained")
    refuse_filled(out)
    texts = [document.text for name in datasets for document in documents(name, registry, data_dir)[1]]
    trained: Tokenizer = made.train(texts, dict(options))
    with atomic_folder(out) as aside:
        trained.save(aside)
    return trained


def run_tokenizer(training: Training, registry: Registry, out: Path) -> Tokenizer:
    """Return the run's tokenizer: the one it already has, the one the spec refers to, or one trained now.

    Raises ConfigError for one that the embedding is too small for, which is not kept, and CheckpointError where the
    run in `out` has one that cannot be this training's.
    """
    reference = training.spec.tokenizer
    if (own := base_tokenizer(training.spec, registry)) is not None:
        return _fitting(training, own)
    family = registry.tokenizers.get(reference.family)
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


def _kept(training: Training, family: TokenizerFamily, out: Path, folder: Path) -> Tokenizer:
    """Return the tokenizer that the run in `out` has. Raises CheckpointError where that run is another one.

    The trainer, which knows every field that makes a run another one, is only reached with a tokenizer that fits.
    """
    tokenizer: Tokenizer = family.load(str(folder))
    if reason := ids_beyond(tokenizer, training.config.vocab_size):
        was = read_json(out / RUN).get("model", "unknown") if (out / RUN).is_file() else "unknown"
        raise CheckpointError(
            f"{out} is a different run: model was {was} and is now {training.reference}, where {reason}; train into "
            "another folder"
        )
    return tokenizer


def _fitting(training: Training, tokenizer: Tokenizer) -> Tokenizer:
    if reason := ids_beyond(tokenizer, training.config.vocab_size):
        raise ConfigError(
            f"{training.reference}: {reason}; lower the tokenizer's vocab_size or raise architecture.config.vocab_size"
        )
    return tokenizer

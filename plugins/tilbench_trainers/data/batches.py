"""From the sources of a job to its batches: token files, made where they are not there yet, and the order over them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from tilbench.errors import ConfigError
from tilbench.kinds.trainer import TrainingJob
from tilbench.progress import Progress
from tilbench_trainers.data.packing import Stream
from tilbench_trainers.data.rows import documents_of, source_fingerprint
from tilbench_trainers.data.tokens import Encoding, token_file, token_path

__all__ = ["text_batches"]


def text_batches(job: TrainingJob, separator: int | None, progress: Progress | None = None) -> Stream:
    """Return the packed or windowed rows of the job's running text, after its token files are there.

    separator: id after each document, or None. progress: called with source, rows done and rows. Raises DataError for
    sources that hold no text or too little of it, ConfigError for a recipe that cannot be followed.
    """
    recipe, tokenizer = job.spec.recipe, job.tokenizer
    if recipe is None:
        raise ConfigError(f"model {job.spec.name!r} has no recipe")
    if recipe.chat is not None:
        raise ConfigError("recipe.chat is for trainer 'sft', and this one learns from running text; remove it")
    ids: dict[str, tuple[float, NDArray[np.integer]]] = {}
    for source in job.sources:
        if source.weight > 0:
            file = token_file(
                token_path(job.out / "data", source.name),
                documents_of(source),
                Encoding(
                    encode=tokenizer.encode_batch,
                    separator=separator,
                    vocabulary=tokenizer.size,
                    fingerprint=f"{source_fingerprint(source)} {tokenizer.fingerprint}",
                    min_tokens=source.min_tokens,
                ),
                workers=recipe.workers,
                progress=None if progress is None else _of(source.name, progress),
            )
            ids[source.name] = (source.weight, file.ids)
    return Stream(
        ids,
        sequence_length=recipe.sequence_length,
        rows=recipe.batch_size * recipe.accumulation * recipe.devices,
        seed=recipe.seed,
        mixing=recipe.mixing,
        packing=recipe.packing,
        separator=separator,
        masked=recipe.document_masks,
    )


def _of(source: str, progress: Progress) -> Callable[[int, int], None]:
    return lambda done, rows: progress(source, done, rows)

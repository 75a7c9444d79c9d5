"""`run.json`: what a run was asked for, so that going on with something else is refused by field."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tilbench.checkpoints.folder import RUN, checkpoints
from tilbench.config.model import ArchitectureRef, Recipe
from tilbench.errors import CheckpointError
from tilbench.kinds.trainer import Source, TrainingJob
from tilbench.paths import atomic_path
from tilbench.version import __version__
from tilbench_trainers.data.rows import source_fingerprint

__all__ = ["claim", "resolved_architecture", "run_record", "same_run"]

_FREE = frozenset(
    {
        "activation_checkpointing",
        "checkpoint_every",
        "evaluate",
        "keep",
        "keep_best",
        "keep_every",
        "parallel",
        "probe",
        "sample",
        "spike",
        "tensorboard",
        "validate_every",
        "workers",
    }
)
"""Fields of a recipe that do not touch the weights, and may change from one sitting to the next."""


def resolved_architecture(job: TrainingJob) -> ArchitectureRef:
    """Return the job's architecture with every field of its config filled in."""
    given = job.spec.architecture.config
    if "vocab_size" not in given:
        given = {**given, "vocab_size": job.module.vocab_size}
    config = job.architecture.Config.model_validate(given)
    return ArchitectureRef(name=job.spec.architecture.name, config=config.model_dump(mode="json"))


def run_record(job: TrainingJob) -> dict[str, object]:
    """Return the content of `run.json`; `digest` is of the part that decides the weights."""
    recipe = job.spec.recipe
    record: dict[str, Any] = {
        "format": 1,
        "model": job.reference or job.spec.name,
        "tilbench": __version__,
        "architecture": resolved_architecture(job).model_dump(mode="json"),
        "tokenizer": {"family": job.tokenizer.family, "fingerprint": job.tokenizer.fingerprint},
        "start": {"reference": job.start.reference, "lineage": list(job.start.lineage)} if job.start else None,
        "recipe": recipe.model_dump(mode="json") if recipe else None,
        "data": {source.name: _data(source) for source in job.sources},
        "spec": job.spec.model_dump(mode="json"),
    }
    text = json.dumps(_deciding(record), sort_keys=True)
    return record | {"digest": hashlib.sha256(text.encode()).hexdigest()}


def _data(source: Source) -> dict[str, Any]:
    record = {"weight": source.weight, "fingerprint": source_fingerprint(source), "documents": len(source.train)}
    more = {"min_tokens": source.min_tokens, "dropped": dict(source.dropped)}
    return record | {name: value for name, value in more.items() if value}


def _deciding(record: Mapping[str, Any]) -> dict[str, object]:
    decisive = {key: record.get(key) for key in ("architecture", "tokenizer", "recipe", "data")}
    if start := record.get("start"):
        decisive["start"] = start["lineage"]
    recipe = {key: value for key, value in (record.get("recipe") or {}).items() if key not in _FREE}
    return decisive | {"recipe": recipe}


def same_run(out: Path, record: Mapping[str, Any]) -> bool:
    """Say whether the run in `out` is this one, from the digests alone: `claim` says what is different or damaged."""
    try:
        held = json.loads((out / RUN).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(held, dict) and held.get("digest") == record["digest"]


def claim(out: Path, record: Mapping[str, Any]) -> None:
    """Make `out` the folder of this run: write `run.json`, or, once it has checkpoints, check
    that the one there asks for the same.

    Raises CheckpointError that names the fields that differ, or where `out` holds checkpoints of no known
    run.
    """
    path = out / RUN
    if found := checkpoints(out):
        if not path.is_file():
            raise CheckpointError(f"{out} holds {found[-1].name} but no {RUN}; train into another folder")
        _compare(path, record)
    with atomic_path(path) as aside:
        aside.write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _compare(path: Path, record: Mapping[str, Any]) -> None:
    try:
        held = json.loads(path.read_text(encoding="utf-8"))
        # An older version did not write the fields that it did not have; it did what their defaults do.
        held["recipe"] = Recipe.model_validate(held["recipe"]).model_dump(mode="json")
        theirs = dict(_leaves(_deciding(held)))
    except (OSError, ValueError, AttributeError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}; train into another folder") from None
    ours = dict(_leaves(_deciding(json.loads(json.dumps(record)))))
    fields = [key for key in sorted(theirs | ours) if theirs.get(key) != ours.get(key)]
    if fields:
        if held.get("model") != record["model"]:  # its name decides nothing, and says the most
            fields.insert(0, "model")
            theirs["model"], ours["model"] = held.get("model"), record["model"]
        said = "; ".join(
            f"{key} was {_shown(theirs.get(key))} and is now {_shown(ours.get(key))}" for key in fields[:8]
        )
        more = f"; and {len(fields) - 8} more" if len(fields) > 8 else ""
        raise CheckpointError(f"{path.parent} is a different run: {said}{more}; train into another folder")


def _leaves(value: Any, name: str = "") -> Iterator[tuple[str, object]]:
    """Yield (dotted name, value) of everything in nested mappings that is no mapping."""
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from _leaves(inner, f"{name}.{key}" if name else str(key))
    else:
        yield name, value


def _shown(value: Any) -> str:
    text = json.dumps(value) if value is not None else "absent"
    return text if len(text) <= 40 else f"{text[:18]}…{text[-4:]}"

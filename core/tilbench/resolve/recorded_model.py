"""Which model of the records a folder means."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from tilbench.checkpoints.folder import find_checkpoint, is_checkpoint, model_folder, read_info
from tilbench.errors import ConfigError, TilbenchError
from tilbench.results.record import Record

__all__ = ["recorded_model"]


def recorded_model(reference: str, records: Iterable[Record]) -> str:
    """Return NAME#FINGERPRINT of the model that `run --models REFERENCE` would open, where a record has it.

    A run is its last checkpoint, RUN@STEP that of the step; how the path is written does not matter. A reference that
    is no such folder, or that no record or several fit, comes back without "./" and a slash at its end, unless a record
    calls its model so. A folder of another kind is the one that a record names, however its path is written there.
    """
    records = list(records)
    named = {record.model.name for record in records}
    plain = reference.rstrip("/").removeprefix("./") or reference
    meant = _checkpoint(reference)
    if meant is None:
        here = Path(reference).expanduser()
        same = [name for name in sorted(named) if here.is_dir() and _is_folder(name, here)]
        return next((name for name in (reference.rstrip("/"), *same) if name in named), plain)
    fitting = {
        (record.model.name, record.model.fingerprint)
        for record in records
        if record.model.fingerprint != "none" and _checkpoint(record.model.name, record.model.step) == meant
    }
    fitting = {model for model in fitting if model[0] == plain} or fitting
    return "#".join(fitting.pop()) if len(fitting) == 1 else plain


def _is_folder(name: str, folder: Path) -> bool:
    path = Path(name).expanduser()
    return path.is_dir() and path.resolve() == folder.resolve()


def _checkpoint(reference: str, made_at: int | None = None) -> Path | None:
    """Return the folder of the checkpoint that a reference means, or meant when it was at the step `made_at`."""
    try:
        found = model_folder(reference)
    except ConfigError:
        return None
    if found is None:
        return None
    folder, step = found
    if is_checkpoint(folder):
        return folder.resolve() if made_at in (None, read_info(folder).step) else None
    step = made_at if made_at is not None else step
    try:
        return find_checkpoint(folder, step).resolve()
    except TilbenchError:
        return None

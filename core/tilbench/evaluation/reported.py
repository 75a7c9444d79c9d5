"""Reported records: the figures that a paper prints, as records that never stand among measured ones."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Collection
from pathlib import Path

from tilbench.config.model import ModelSpec, Reported
from tilbench.config.references import parse_spec
from tilbench.errors import ConfigError
from tilbench.kinds.language_model import ModelCard
from tilbench.kinds.metric import Value
from tilbench.registry import Registry
from tilbench.resolve.specs import load_spec
from tilbench.results.record import DatasetUsed, Environment, Measured, Record, TaskUsed
from tilbench.results.store import RecordStore

__all__ = ["reported_records", "write_reported"]

_INTERVAL = 1.959964
"""Standard errors on each side of a value, for 95% of a normal distribution."""
_NOWHERE = Environment(
    hardware="not measured here", device="", dtype="", threads=0, python="", platform="", versions={}
)
_NEVER = Measured(finished="", wall_seconds=0.0, requests=0, reused=0, tokens=0, peak_memory_bytes=0)


def write_reported(names: Collection[str], registry: Registry, out: Path) -> list[Path]:
    """Write a record for every figure that the papers of these models print (none named: of all), and return where.

    Raises UnknownName for a model nobody registered, ConfigError for a figure that stands in a spec twice.
    """
    specs = [load_spec(parse_spec(name), registry) for name in names or registry.models.names()]
    store = RecordStore(out)
    return [store.write(record, ()) for spec in specs for record in reported_records(spec)]


def reported_records(spec: ModelSpec) -> list[Record]:
    """Return a record for every figure that the paper of `spec` prints.

    Its suite is `reported-MODEL` or `reported-MODEL-TABLE`, its task the metric and what it was measured on. Both
    are this paper's alone: the task's fingerprint is made of the spec's name, the table, the metric and what it was
    measured on, so a figure shares a column with other models of the same table and with nothing else. A printed
    standard error gives the interval, that of a normal distribution. Raises ConfigError for a figure that stands there
    twice.
    """
    tasks = list(dict.fromkeys(_identity(spec, figure) for figure in spec.reported))
    records = [_record(spec, figure, tasks.index(_identity(spec, figure))) for figure in spec.reported]
    seen: set[tuple[str, str]] = set()
    for record in records:
        key = record.task.fingerprint, record.model.fingerprint
        if key in seen:
            what = f"{record.task.headline} on {record.task.dataset.name or 'nothing'} of {record.model.name}"
            raise ConfigError(f"{spec.name}: reported has {what} twice in {record.task.suite}; tell them apart with on")
        seen.add(key)
    return records


def _record(spec: ModelSpec, figure: Reported, position: int) -> Record:
    margin = None if figure.stderr is None else _INTERVAL * figure.stderr
    score = Value(
        value=figure.value,
        n=figure.n or 0,
        unit=figure.unit,
        direction=figure.direction,
        stderr=figure.stderr,
        low=None if margin is None else figure.value - margin,
        high=None if margin is None else figure.value + margin,
        chance=figure.chance,
    )
    return Record(
        source="reported",
        task=_task(spec, figure, position),
        model=_model(spec, figure),
        values={figure.metric: score},
        environment=_NOWHERE,
        measured=_NEVER,
        citation=spec.document,
        notes=[note for note in (figure.note, f"In doubt: {figure.doubt}" if figure.doubt else "") if note],
    )


def _task(spec: ModelSpec, figure: Reported, position: int) -> TaskUsed:
    identity = _identity(spec, figure)
    rows = figure.n or 0
    return TaskUsed(
        suite="-".join(part for part in ("reported", spec.name, figure.table) if part),
        suite_version=1,
        name=_slug(f"{figure.metric} {figure.on}"),
        position=position,
        version=1,
        metric=figure.metric,
        metric_version=1,
        headline=figure.metric,
        settings={},
        seed=0,
        dataset=DatasetUsed(name=figure.on, origin=spec.document, fingerprint="", rows=rows, total=rows),
        fingerprint=_digest("task", *identity),
    )


def _model(spec: ModelSpec, figure: Reported) -> ModelCard:
    """Return whose figure it is; a count of parameters is known of the spec's own model and its stages alone."""
    name = figure.model or spec.name
    own = name.partition(":")[0] == spec.name
    return ModelCard(
        name=name if figure.step is None else f"{name}@{figure.step}",
        fingerprint=_digest("model", spec.name, name, str(figure.step)),
        parameters=(spec.parameters or 0) if own else 0,
        step=figure.step,
    )


def _identity(spec: ModelSpec, figure: Reported) -> tuple[str, str, str, str]:
    return spec.name, figure.table, figure.metric, figure.on


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(("reported", *parts)).encode()).hexdigest()


def _slug(text: str) -> str:
    """Return text as a name of a task, which is also that of a folder."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9_.]+", "-", plain.lower()).strip("-.")

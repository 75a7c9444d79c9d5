"""The record: one model on one task, with everything needed to check it and to compare it."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from tilbench.config.base import Schema

__all__ = [
    "SCHEMA_VERSION",
    "DatasetUsed",
    "Environment",
    "Measured",
    "ModelUsed",
    "Record",
    "Score",
    "TaskUsed",
]

SCHEMA_VERSION = 1


class Score(Schema):
    """One named value (`tilbench.kinds.metric.Value` says what the fields mean)."""

    value: float
    n: int
    unit: str
    direction: Literal["lower", "higher", "none"]
    stderr: float | None = None
    low: float | None = None
    high: float | None = None
    chance: float | None = None
    of: tuple[str, str] | None = None


class DatasetUsed(Schema):
    """The rows that were scored."""

    name: str
    origin: str
    fingerprint: str
    rows: int
    total: int
    """Rows of the dataset before `limit`."""
    language: str = ""
    equal_options: list[str] = []
    """Questions two of whose choices have one text, as published."""


class TaskUsed(Schema):
    """The task. Two records are comparable only if `fingerprint` agrees."""

    suite: str
    suite_version: int
    name: str
    position: int = 0
    """Place in the suite, counted from 0; columns stand in this order."""
    version: int
    metric: str
    metric_version: int
    headline: str
    """The value shown first."""
    settings: dict[str, Any]
    shots: int = 0
    examples: str = ""
    """Digest of the example rows."""
    seed: int
    dataset: DatasetUsed
    fingerprint: str


class ModelUsed(Schema):
    """The model."""

    name: str
    fingerprint: str
    parameters: int
    step: int | None = None
    prefix: str = ""
    tokenizer: str = ""
    max_length: int | None = None
    lineage: list[str] = []
    details: dict[str, Any] = {}


class Environment(Schema):
    """Where it ran."""

    hardware: str
    device: str
    dtype: str
    threads: int
    python: str
    platform: str
    versions: dict[str, str]
    """Distribution → version of everything that took part, plugins included."""


class Measured(Schema):
    """What the run took. Nothing here decides whether two records agree."""

    finished: str
    """UTC, ISO 8601."""
    command: str = ""
    wall_seconds: float
    """Time spent on the answers of this task in this run; answers taken from the journal took none."""
    requests: int
    reused: int
    """Requests whose answers were in the journal already."""
    tokens: int
    """Tokens in the answers."""
    peak_memory_bytes: int


class Record(Schema):
    """One model on one task. Written once, never edited.

    A task that could not be run has `status` "not run" (its data is missing) or "n/a" (the model cannot answer) with
    the `reason`, and no values.
    """

    schema_version: int = SCHEMA_VERSION
    source: Literal["measured", "reported", "community"] = "measured"
    status: Literal["done", "not run", "n/a"] = "done"
    reason: str = ""
    task: TaskUsed
    model: ModelUsed
    values: dict[str, Score] = {}
    items: str = ""
    """SHA-256 of the per-item Parquet file beside the record."""
    environment: Environment
    measured: Measured
    citation: str = ""
    """For a reported figure: where it is printed."""
    notes: list[str] = Field(default=[])

    @property
    def headline(self) -> Score | None:
        """The value shown first, if the task was done."""
        return self.values.get(self.task.headline)

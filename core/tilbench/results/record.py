"""The record: one model on one task, with everything needed to check it and to compare it."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from tilbench.config.base import Schema
from tilbench.kinds.language_model import ModelCard
from tilbench.kinds.metric import Value

__all__ = [
    "CONTAMINATED",
    "SCHEMA_VERSION",
    "Contamination",
    "DatasetUsed",
    "Environment",
    "Measured",
    "Reading",
    "Record",
    "TaskUsed",
]

SCHEMA_VERSION = 1


CONTAMINATED = "contaminated"
"""Name, among the numbers of an item, of the share of it that was found in a training text."""


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
    truncation: Literal["allow", "error"] = "allow"
    """error: no row may lose examples, text or room for its answer."""
    seed: int
    machine: str = ""
    """Processor, threads and precision, where answers depend on them, as timings do; such a task is another on another
    machine. Empty where the model alone decides."""
    dataset: DatasetUsed
    fingerprint: str


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
    engine: int = 0
    """Version of the scoring engine (`tilbench.scoring.journal`); a run does not reuse records of another one."""
    tokens: int
    """Tokens in the answers."""
    peak_memory_bytes: int


class Contamination(Schema):
    """What of the scored rows stands in a training text (`tilbench.contamination.overlap` says how it is found)."""

    against: str
    """Datasets, files or runs that were read."""
    fingerprint: str
    """SHA-256 of their text."""
    documents: int
    bytes: int
    rule: str
    """What of a row must be found for it to be flagged."""
    n: int
    flagged: int
    """Rows of which something was found."""
    too_short: int = 0
    """Rows too short to be looked for; they count as clean."""
    parts: dict[str, int] = {}
    """Part of a row (question, passage …) → rows of which that part was found."""
    clean: dict[str, Value] = {}
    """The values of the rows that are not flagged."""


class Reading(Schema):
    """What of the texts of a task the model read, counted from its answers (`tilbench.results.reading`).

    Shares of bytes that a model lost were not predicted by it, so they belong beside every value of the record.
    """

    scored_bytes: int = 0
    """UTF-8 bytes of the texts whose likelihood was asked for."""
    lost_bytes: int = 0
    """Those that the token ids do not reproduce. Each was charged 8 bits."""
    context_bytes: int = 0
    """UTF-8 bytes of the contexts and prompts."""
    lost_context_bytes: int = 0
    cut_rows: int = 0
    """Rows whose context did not fit, even without its few-shot examples, and lost tokens."""
    cut_tokens: int = 0
    dropped_rows: int = 0
    """Rows that lost whole few-shot examples."""
    dropped_examples: int = 0
    bare_rows: int = 0
    """Of `dropped_rows`, those that lost every example they had."""
    short_rows: int = 0
    """Rows whose answer ended where the prompt left no more room, before its limit of new tokens."""
    windowed_rows: int = 0
    """Rows with a text that was scored in more than one window."""
    unanswered: dict[str, int] = {}
    """Why the model could not answer a row → rows. They are left out of the values."""
    too_long_rows: int = 0
    """Of the unanswered rows, those that do not fit the model even without examples and with their text cut."""

    @property
    def lost_share(self) -> float:
        """The share of the scored bytes that the token ids do not reproduce."""
        return self.lost_bytes / self.scored_bytes if self.scored_bytes else 0.0

    @property
    def lost_context_share(self) -> float:
        """The share of the contexts' bytes that the token ids do not reproduce."""
        return self.lost_context_bytes / self.context_bytes if self.context_bytes else 0.0


class Record(Schema):
    """One model on one task. Written once; only what was found of its rows in a training text is added later.

    A task that could not be run has `status` "not run" (its data is missing) or "n/a" (the model cannot answer, or its
    answers must not be scored) with the `reason`, and no values.
    """

    schema_version: int = SCHEMA_VERSION
    source: Literal["measured", "reported", "community"] = "measured"
    status: Literal["done", "not run", "n/a"] = "done"
    reason: str = ""
    task: TaskUsed
    model: ModelCard
    values: dict[str, Value] = {}
    items: str = ""
    """SHA-256 of the per-item Parquet file beside the record."""
    environment: Environment
    measured: Measured
    citation: str = ""
    """For a reported figure: where it is printed."""
    notes: list[str] = Field(default=[])
    reading: Reading | None = None
    """What of the texts the model read; None where no text was scored or continued, and in older records."""
    contamination: Contamination | None = None
    """What was found of its rows, where somebody looked."""

    @property
    def headline(self) -> Value | None:
        """The value shown first, if the task was done."""
        return self.values.get(self.task.headline)

"""Synthetic records: models whose names try to be markup, tasks of every kind, and figures from a paper."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from tilbench.kinds.language_model import ModelCard
from tilbench.kinds.metric import Value
from tilbench.results.record import DatasetUsed, Environment, Measured, Record, TaskUsed
from tilbench.results.store import RecordStore
from tilbench.results.table import Entry

__all__ = ["HOSTILE", "accuracy", "entries", "record", "save", "score", "showcase"]


def _digest(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def score(value: float, half: float | None = 0.02, **fields: Any) -> Value:
    """Return a score with an interval of `half` on either side."""
    bounds = {} if half is None else {"low": value - half, "high": value + half, "stderr": half / 1.96}
    return Value(**{"value": value, "n": 200, "unit": "bits/byte", "direction": "lower", **bounds, **fields})


def accuracy(value: float, half: float = 0.05, chance: float = 0.25) -> Value:
    """Return an accuracy with an interval of `half` on either side."""
    return score(value, half, unit="fraction", direction="higher", chance=chance)


def record(
    model: str = "alpha",
    task: str = "news-bpb",
    value: Value | None = None,
    *,
    suite: str = "kazakh",
    version: int = 1,
    rows: int = 200,
    settings: dict[str, Any] | None = None,
    language: str = "kk-Cyrl",
    headline: str = "bpb",
    fingerprint: str = "",
    model_fingerprint: str = "",
    parameters: int = 14_000_000,
    step: int | None = None,
    finished: str = "2026-08-01T10:00:00+00:00",
    **fields: Any,
) -> Record:
    """Return a record; tasks of one name, version, rows and settings have one fingerprint."""
    settings = {"window": 512} if settings is None else settings
    return Record(
        task=TaskUsed(
            suite=suite,
            suite_version=1,
            name=task,
            version=version,
            metric="likelihood",
            metric_version=2,
            headline=headline,
            settings=settings,
            seed=0,
            dataset=DatasetUsed(
                name=f"{task}-rows",
                origin="hf:example/rows@abc",
                fingerprint=f"data-{rows}",
                rows=rows,
                total=1000,
                language=language,
                equal_options=["q17"] if "fraction" in str(value) else [],
            ),
            fingerprint=fingerprint or _digest(task, version, rows, settings),
        ),
        model=ModelCard(
            name=model,
            fingerprint=model_fingerprint or _digest(model),
            parameters=parameters,
            step=step,
            prefix="<s>",
            tokenizer="til-bpe-16k",
            max_length=1024,
            lineage=("til-mini:tiny",),
        ),
        values={headline: value} if value else {},
        environment=Environment(
            hardware="2 × x86-64 core",
            device="cpu",
            dtype="float32",
            threads=2,
            python="3.11.9",
            platform="Linux",
            versions={"tilbench": "0.1.0", "torch": "2.11.0"},
        ),
        measured=Measured(
            finished=finished,
            command=f"tilbench run suites/{suite}.yaml --models {model}",
            wall_seconds=12.5,
            requests=200,
            reused=20,
            tokens=51_200,
            peak_memory_bytes=700 * 2**20,
        ),
        **fields,
    )


def entries(*records: Record) -> list[Entry]:
    """Return records with made-up paths, as a board takes them."""
    return [(Path(f"{place}.json"), found) for place, found in enumerate(records)]


def save(folder: Path, records: list[Record]) -> None:
    """Write records into a folder, with no items."""
    store = RecordStore(folder)
    for found in records:
        store.write(found, [])


HOSTILE = (
    "<script>alert(1)</script>",
    "[click](javascript:alert(1))",
    "`ticks` and ``more``",
    "$math$ :smile: :red[x]",
    "<img src=x onerror=alert(1)>",
)


def showcase() -> list[Record]:
    """Return records as a small team would have them."""
    records = []
    models = [
        ("til-mini:tiny", 14_000_000, 1.412, 0.31, None),
        ("til-mini:tiny@1000", 14_000_000, 1.731, 0.262, 1000),
        ("til-mini:tiny@2000", 14_000_000, 1.498, 0.283, 2000),
        ("hf:org/kazakh-600m@4f1c", 587_202_560, 1.021, 0.41, None),
        ("hf:org/multilingual-1b@77aa", 1_235_814_400, 1.034, 0.425, None),
        ("xz", 0, 2.105, None, None),
        ("uniform-bytes", 0, 8.0, 0.25, None),
    ]
    for place, (model, parameters, bpb, acc, step) in enumerate(models):
        base: dict[str, Any] = {"parameters": parameters, "step": step}
        records.append(record(model, "news-bpb", score(bpb, 0.021), **base))
        records.append(record(model, "wiki-bpb", score(bpb * 1.13, 0.03), rows=150, **base))
        for task, shift in (("unt-history", 0.0), ("belebele", 0.03)):
            if acc is None:
                status: dict[str, Any] = {"status": "n/a", "reason": "xz scores documents only"}
                records.append(record(model, task, headline="acc", **status, **base))
            else:
                value = accuracy(acc + shift * (place % 3), 0.035)
                records.append(record(model, task, value, headline="acc", **base))
        if place < 4:
            value = score(bpb * 0.9, 0.03)
            records.append(
                record(
                    model,
                    "news-bpb",
                    value,
                    suite="turkish",
                    language="tr-Latn",
                    fingerprint=_digest("tr"),
                    **base,
                )
            )
    old = "2026-05-01T10:00:00+00:00"
    records.append(record("old-baseline", "news-bpb", score(1.9), settings={"window": 256}, finished=old))
    paper: dict[str, Any] = {"source": "reported", "citation": "Example et al. 2026, Table 3"}
    records.append(
        record("til-mini:1b", "unt-history", accuracy(0.38), headline="acc", fingerprint=_digest("paper"), **paper)
    )
    records.append(record("russian-only", "news-bpb", status="not run", reason="no dataset 'kk-news' here"))
    return records

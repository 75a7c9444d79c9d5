"""A release: a checkpoint, scored, compared, with its decoding settings, exported, and described from its records."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tilbench.checkpoints.folder import checkpoints, find_checkpoint, read_info
from tilbench.comparison.compare import Comparison, compare_models
from tilbench.config.model import DType, ModelSpec
from tilbench.config.references import split_folder
from tilbench.config.sweep import Sweep
from tilbench.errors import CheckpointError, ConfigError
from tilbench.evaluation.run_plan import RunConfig, plan_run
from tilbench.evaluation.runner import JOURNAL, SuiteRun, run_suite
from tilbench.generation.sweep import SweepPlan, plan_sweep
from tilbench.generation.sweep_report import sweep_into
from tilbench.kinds.language import Language
from tilbench.paths import atomic_folder, refuse_existing
from tilbench.progress import Progress
from tilbench.publish.bundle_files import write_checksums, write_evaluation, write_telemetry
from tilbench.publish.export import export_job
from tilbench.publish.report import Released, benchmark_report, release_card, release_note
from tilbench.registry import Registry
from tilbench.resolve.specs import run_spec
from tilbench.resolve.suites import find_suite
from tilbench.results.record import Record
from tilbench.results.store import RecordStore

__all__ = ["Release", "ReleaseConfig", "plan_release", "release"]

_FORMATS = {"transformers": "", "safetensors": "native", "pt": "native"}
"""Exporter → the folder of the bundle that it writes into."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """Everything resolved, nothing computed.

    reference: how the checkpoint was named. against: the model that it is compared with, if any. sweep: None where
    there are no prompts in its languages.
    """

    reference: str
    folder: Path
    spec: ModelSpec
    languages: Sequence[Language]
    runs: Sequence[SuiteRun]
    against: str
    sweep: SweepPlan | None
    records: Path
    dtype: DType
    allow_code: bool


@dataclass(frozen=True, slots=True)
class _Scored:
    """What the suites say. records: the model's own, in the order of suites and tasks. comparisons: suite → its own."""

    records: Sequence[Record]
    comparisons: dict[str, Comparison]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseConfig:
    """What a release is asked to be.

    reference: a run or checkpoint of ours, or RUN@STEP. records: the folder that keeps answers and records. suites:
    those of the model's spec, if none is named. against: the run's first checkpoint, if None; "" compares with
    nothing. prompts: the registered ones in the model's languages, if none is named. limit: rows per task, and prompts
    per dataset.
    """

    reference: str
    records: Path
    data_dir: Path | None
    suites: Sequence[str] = ()
    against: str | None = None
    prompts: Sequence[str] = ()
    sweep: Sweep | None = None
    limit: int | None = None
    dtype: DType = "float32"
    allow_code: bool = False
    command: str = ""


def plan_release(config: ReleaseConfig, registry: Registry) -> Release:
    """Resolve what the release needs.

    Raises what naming something wrong raises, before anything is computed or written.
    """
    folder = _checkpoint(config.reference)
    spec = run_spec(folder.parent)
    wanted = [find_suite(name, registry) for name in (config.suites or spec.suites)]
    if not wanted:
        raise ConfigError(f"the spec of {config.reference} names no suites; name some with --suites")
    against = _first(folder) if config.against is None else config.against
    models = [config.reference, *([against] if against else [])]
    data_dir, limit = config.data_dir, config.limit
    runs = [
        RunConfig(
            suite=suite, models=models, out=config.records, data_dir=data_dir, limit=limit, command=config.command
        )
        for suite in wanted
    ]
    languages = [language for tag, language in registry.languages.all() if tag in spec.languages]
    sets = list(config.prompts) or _prompts(registry, languages)
    swept = config.sweep or Sweep()
    return Release(
        reference=config.reference,
        folder=folder,
        spec=spec,
        languages=sorted(languages, key=lambda language: spec.languages.index(language.tag)),
        runs=[plan_run(run, registry) for run in runs],
        against=against,
        sweep=plan_sweep(swept, registry, sets, [], data_dir=data_dir, limit=limit, seed=0) if sets else None,
        records=config.records,
        dtype=config.dtype,
        allow_code=config.allow_code,
    )


def _checkpoint(reference: str) -> Path:
    """Return the checkpoint's folder. Raises CheckpointError for one that is of no run, and so has no telemetry."""
    folder = find_checkpoint(*split_folder(reference))
    if not checkpoints(folder.parent):
        raise CheckpointError(
            f"{folder} is a checkpoint of no run, so nothing says how it was trained; 'tilbench export' writes its "
            "files alone"
        )
    return folder


def _first(folder: Path) -> str:
    """Return the reference of the first checkpoint of the same run; empty where that is the one in `folder`."""
    first = checkpoints(folder.parent)[0]
    return "" if first == folder else f"{folder.parent}@{read_info(first).step}"


def _prompts(registry: Registry, languages: Sequence[Language]) -> list[str]:
    """Return the datasets of prompts in some languages that plugins bring with them."""
    tags = [language.tag for language in languages if not language.domain]
    return [
        name
        for name, dataset in registry.datasets.all()
        if dataset.kind == "prompts" and dataset.language in tags and dataset.package
    ]


def release(plan: Release, registry: Registry, out: Path, progress: Progress) -> Path:
    """Export, score, compare, sweep and describe; return the bundle's folder, which appears whole or not at all.

    The folder of records keeps answers and records, so the same call resumes a killed release.
    """
    refuse_existing(out)
    asked: dict[str, Any] = {"dtype": plan.dtype, "allow_code": plan.allow_code}
    with export_job(plan.reference, registry, **asked) as job, atomic_folder(out) as aside:
        for name, where in _FORMATS.items():  # first: what a format cannot hold is said before hours of scoring
            (aside / where).mkdir(exist_ok=True)
            registry.exporters.get(name).export(job, aside / where)
        scored = _score(plan, registry, progress)
        write_telemetry(plan.folder, aside)
        write_evaluation(plan.reference, scored.records, scored.comparisons, plan.against, aside)
        _copy_records(plan, scored.records, aside / "records")
        outcome = None
        if plan.sweep is not None:
            source, options = plan.runs[0].sources[0], plan.runs[0].worker.options
            outcome = sweep_into(
                aside, plan.sweep, source, options, registry, journal=plan.records / JOURNAL, progress=progress
            )
        released = Released(
            job=job,
            spec=plan.spec,
            languages=plan.languages,
            records=scored.records,
            against=plan.against,
            comparisons=scored.comparisons,
            sweep=plan.sweep,
            outcome=outcome,
        )
        texts = {
            "README.md": release_card(released, code=any(aside.glob("*.py"))),
            "RELEASE.md": release_note(released),
            "benchmark_report.md": benchmark_report(plan.reference, scored.records),
        }
        for name, text in texts.items():
            (aside / name).write_text(text, encoding="utf-8")
        write_checksums(aside)
    return out


def _score(plan: Release, registry: Registry, progress: Progress) -> _Scored:
    executor = registry.executors.get("local")
    records: list[Record] = []
    comparisons: dict[str, Comparison] = {}
    store = RecordStore(plan.records)
    for run in plan.runs:
        shares = list(run_suite(run, executor, progress))
        records += shares[0].records
        if plan.against:
            ours, theirs = (f"{share.card.name}#{share.card.fingerprint}" for share in shares[:2])
            shown = {record.task.fingerprint for record in shares[0].records}  # older records may be of other rows
            comparisons[run.suite.name] = compare_models(store, ours, theirs, suite=run.suite.name, fingerprints=shown)
    return _Scored(records, comparisons)


def _copy_records(plan: Release, records: Sequence[Record], target: Path) -> None:
    """Copy the model's records with their items, so that others can verify them."""
    store = RecordStore(plan.records)
    for record in records:
        path = store.place(record)
        copy = target / path.relative_to(plan.records)
        copy.parent.mkdir(parents=True, exist_ok=True)
        for each in (path, path.with_suffix(".parquet")):
            if each.is_file():
                shutil.copyfile(each, copy.with_suffix(each.suffix))

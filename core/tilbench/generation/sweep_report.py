"""What a decoding sweep leaves behind: settings for Transformers and for people, tables, and every text."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tilbench.checkpoints.folder import is_checkpoint
from tilbench.checkpoints.generation import GENERATION, generation_config
from tilbench.comparison.paired import Paired
from tilbench.config.decoding import SAMPLING
from tilbench.generation.sweep import Outcome, PromptSplit, Result, SweepPlan, run_sweep
from tilbench.kinds.language_model import OpenOptions
from tilbench.kinds.metric import Value
from tilbench.kinds.tokenizer import SpecialTokens
from tilbench.paths import atomic_folder, refuse_filled
from tilbench.progress import Progress
from tilbench.registry import Registry
from tilbench.resolve.checkpoint import Checkpoint
from tilbench.resolve.models import ModelSource
from tilbench.results.markdown import table
from tilbench.results.wording import format_p
from tilbench.scoring.journal import Journal

__all__ = ["summary", "sweep_into", "sweep_to", "write_sweep"]


def sweep_to(
    out: Path, plan: SweepPlan, source: ModelSource, options: OpenOptions, registry: Registry, progress: Progress
) -> Outcome:
    """Try what the plan says and write the folder `out`, which appears whole or not at all.

    A killed sweep resumes from the journal beside `out`, which is removed at the end. Raises DataError where `out`
    holds anything, and what describing the model raises.
    """
    refuse_filled(out)
    source.check(options)
    journal = out.with_name(f"{out.name}.journal.sqlite")
    with atomic_folder(out) as aside:
        outcome = sweep_into(aside, plan, source, options, registry, journal=journal, progress=progress)
    journal.unlink(missing_ok=True)
    return outcome


def sweep_into(
    folder: Path,
    plan: SweepPlan,
    source: ModelSource,
    options: OpenOptions,
    registry: Registry,
    *,
    journal: Path,
    progress: Progress,
) -> Outcome:
    """Try what the plan says and write all files of it into an existing folder. journal: keeps answers as they come."""
    with Journal(journal) as kept:
        outcome = run_sweep(plan, source, options, kept, progress)
    write_sweep(folder, plan, outcome, _special(source.reference, options, registry))
    return outcome


def _special(reference: str, options: OpenOptions, registry: Registry) -> SpecialTokens:
    if is_checkpoint(Path(reference)):
        return Checkpoint.open(Path(reference), registry).special
    special: SpecialTokens = options.load_tokenizer(reference).special
    return special


def summary(plan: SweepPlan, outcome: Outcome) -> dict[str, Any]:
    """Return everything but the texts as plain data."""
    return {
        "model": outcome.card.name,
        "fingerprint": outcome.card.fingerprint,
        "seed": plan.seed,
        "sweep": plan.sweep.model_dump(mode="json"),
        "winner": outcome.winner.preset,
        "recommended": outcome.recommended.preset,
        "verdict": outcome.verdict,
        "gain": _gain(outcome.gain),
        "tuning": {"prompts": plan.tuning.count, "results": [_result(each) for each in outcome.tuning]},
        "holdout": {"prompts": plan.holdout.count, "results": [_result(each) for each in outcome.holdout]},
    }


def write_sweep(folder: Path, plan: SweepPlan, outcome: Outcome, special: SpecialTokens) -> None:
    """Write all files of a sweep into an existing folder."""
    chosen = outcome.recommended
    limit, stop = (plan.sweep.settings.get(name) for name in ("max_new_tokens", "stop"))
    config = generation_config(chosen.settings, special, max_new_tokens=limit, stop=stop or ())
    _json(folder / GENERATION, config)
    recommended = {
        "preset": chosen.preset,
        "winner": outcome.winner.preset,
        "verdict": outcome.verdict,
        **asdict(chosen.settings),
        **plan.sweep.settings,
        "model": outcome.card.name,
        "fingerprint": outcome.card.fingerprint,
    }
    _json(folder / "recommended_decoding_params.json", recommended)
    _json(folder / "decoding_summary.json", summary(plan, outcome))
    (folder / "decoding_report.md").write_text(_report(plan, outcome), encoding="utf-8")
    for name, results in (("tuning", outcome.tuning), ("holdout", outcome.holdout)):
        _table(folder / f"{name}.csv", results)
        _texts(folder / f"{name}_generations.jsonl", results)


def _result(result: Result) -> dict[str, object]:
    values = {dataset: {name: asdict(value) for name, value in each.items()} for dataset, each in result.values.items()}
    return {
        "preset": result.preset,
        "settings": asdict(result.settings),
        "objective": result.objective,
        "values": values,
    }


def _json(path: Path, data: object) -> None:
    path.write_text(json.dumps(data, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _table(path: Path, results: Sequence[Result]) -> None:
    """Write one row per preset, dataset and value, and the objective of the preset beside each."""
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["preset", *SAMPLING, "objective", "dataset", "value_name", "value", "low", "high", "n"])
        for result in results:
            settings = asdict(result.settings).values()
            for dataset, values in result.values.items():
                for name, value in values.items():
                    numbers = [value.value, value.low, value.high, value.n]
                    rows.writerow([result.preset, *settings, result.objective, dataset, name, *numbers])


def _texts(path: Path, results: Sequence[Result]) -> None:
    with path.open("w", encoding="utf-8") as file:
        for result in results:
            for text in result.texts:
                row = {
                    "preset": result.preset,
                    "dataset": text.dataset,
                    "id": text.prompt.id,
                    "prompt": text.prompt.prompt,
                    "text": text.answer.text,
                    "tokens": text.answer.tokens,
                    "complete": text.answer.complete,
                    "objective": text.objective,
                }
                file.write(json.dumps(row, ensure_ascii=False) + "\n")


def _report(plan: SweepPlan, outcome: Outcome) -> str:
    sweep = plan.sweep
    terms = ", ".join(f"{name} (weight {weight:g})" for name, weight in sweep.objective.items())
    lines = [
        f"# Decoding of {outcome.card.name}",
        "",
        f"Winner: **{outcome.winner.preset}**; on the hold-out prompts: **{outcome.verdict}**{_gained(outcome.gain)}. "
        f"Recommended: **{outcome.recommended.preset}**.",
        "",
        f"The objective of a text is the weighted mean of {terms}, each from 0 to 1; where less is better, 1 minus the "
        "value counts. That of a preset is the mean over texts. It does not say whether a text makes sense.",
        "",
        *_part("Tuning", plan.tuning, outcome.tuning),
        *_part("Hold-out", plan.holdout, outcome.holdout),
        f"Metric `{sweep.metric}`, seed {plan.seed}. No prompt is in both parts.",
    ]
    return "\n".join(lines) + "\n"


def _gain(gain: Paired | None) -> dict[str, object] | None:
    if gain is None:
        return None
    low, high = gain.interval.low, gain.interval.high
    return {"difference": gain.difference, "low": low, "high": high, "p": gain.p, "prompts": gain.clusters}


def _gained(gain: Paired | None) -> str:
    if gain is None:
        return ""
    text = f", {gain.difference:+.3f} [{gain.interval.low:+.3f}, {gain.interval.high:+.3f}] over the default"
    return f"{text}, {format_p(gain.p)} by {gain.clusters} prompts"


def _part(title: str, part: PromptSplit, results: Sequence[Result]) -> list[str]:
    """Return a table: a row per preset, a column per value, means over datasets weighted by their texts."""
    names = list(dict.fromkeys(name for result in results for each in result.values.values() for name in each))
    head = ["preset", "objective", *names]
    rows = []
    for result in results:
        cells = [_cell([each[name] for each in result.values.values() if name in each]) for name in names]
        rows.append([result.preset, f"{result.objective:.3f}", *cells])
    return [f"## {title}: {part.count} prompts", "", *table(head, rows), ""]


def _cell(values: Sequence[Value]) -> str:
    count = sum(value.n for value in values)
    return f"{sum(value.value * value.n for value in values) / count:.3f}" if count else "–"

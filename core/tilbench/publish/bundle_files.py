"""The files of a release that programs read: what the log says, what the records say, and digests of all."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from tilbench.checkpoints.folder import RUN, read_info
from tilbench.comparison.compare import Comparison
from tilbench.comparison.report import ComparisonReport
from tilbench.kinds.metric import Value
from tilbench.paths import file_digest
from tilbench.results.record import Record
from tilbench.training.log import LOG, read_lines

__all__ = ["CHECKSUMS", "write_checksums", "write_evaluation", "write_telemetry"]

CHECKSUMS = "SHA256SUMS"
_STEP = ("loss",)
_EVALUATED = ("validation", "evaluation")
_SHOWN = ("probes", "samples")


def write_telemetry(checkpoint: Path, out: Path) -> None:
    """Write how a checkpoint was trained into `out`, up to its step.

    `training_config.json` is the run's run.json. `metrics.jsonl`, `eval_metrics.jsonl` and `probe_generations.jsonl`
    are the lines of its log with losses, with validations and suites, and with probes and samples, where there are any.
    `best_validation.json` is the line whose validation has the lowest mean (of bits per byte where they are counted,
    else of the loss) over the sources.
    """
    run, step = checkpoint.parent, read_info(checkpoint).step
    _json(out / "training_config.json", json.loads((run / RUN).read_text(encoding="utf-8")))
    lines = [line for line in read_lines(run / LOG) if line["step"] <= step] if (run / LOG).is_file() else []
    for name, fields in (("metrics", _STEP), ("eval_metrics", _EVALUATED), ("probe_generations", _SHOWN)):
        if chosen := [line for line in lines if any(field in line for field in fields)]:
            _lines(out / f"{name}.jsonl", chosen)
    validated = [line for line in lines if line.get("validation")]
    if validated:
        _json(out / "best_validation.json", min(validated, key=_mean))


def _mean(line: Mapping[str, Any]) -> float:
    return fmean(source.get("bpb", source["loss"]) for source in line["validation"].values())


def write_evaluation(
    reference: str, records: Sequence[Record], comparisons: Mapping[str, Comparison], against: str, out: Path
) -> None:
    """Write what the suites say of a model: every value, the headlines, the losses by source, the comparison."""
    done = [record for record in records if record.status == "done"]
    first = records[0].model
    _json(
        out / "eval_summary.json",
        {
            "model": {"name": reference, "fingerprint": first.fingerprint, "step": first.step},
            "scores": [_headline(record) for record in done],
            "open": [
                {"suite": each.task.suite, "task": each.task.name, "status": each.status, "reason": each.reason}
                for each in records
                if each.status != "done"
            ],
        },
    )
    _json(out / "benchmark_metrics.json", [_place(each) | {"values": _values(each)} for each in done])
    _json(out / "benchmark_scores.json", {f"{each.task.suite}/{each.task.name}": _headline(each) for each in done})
    _json(out / "benchmark_source_losses.json", dict(_losses(done)))
    _json(
        out / "comparison.json",
        {"against": against, "suites": {name: ComparisonReport(found).data() for name, found in comparisons.items()}},
    )


def _place(record: Record) -> dict[str, Any]:
    task = record.task
    about = {"suite": task.suite, "suite_version": task.suite_version, "task": task.name, "metric": task.metric}
    data = {"dataset": task.dataset.name, "language": task.dataset.language, "rows": task.dataset.rows}
    return about | data | {"task_fingerprint": task.fingerprint}


def _values(record: Record) -> dict[str, Any]:
    values: dict[str, Any] = record.model_dump(mode="json", include={"values"}, exclude_none=True)["values"]
    return values


def _headline(record: Record) -> dict[str, object]:
    headline = record.task.headline
    return _place(record) | {"headline": headline, **_values(record).get(headline, {})}


def _losses(records: Iterable[Record]) -> Iterable[tuple[str, dict[str, float]]]:
    """Yield, of each task with bits per byte and perplexity, the dataset and its loss in nats per token."""
    for record in records:
        bits, perplexity = record.values.get("bpb"), record.values.get("perplexity")
        if bits is not None and _positive(perplexity):
            loss = math.log(perplexity.value)  # type: ignore[union-attr]
            yield f"{record.task.suite}/{record.task.name}", {"loss": loss, "bpb": bits.value, "documents": bits.n}


def _positive(score: Value | None) -> bool:
    return score is not None and math.isfinite(score.value) and score.value > 0


def write_checksums(folder: Path) -> None:
    """Write the SHA-256 of every file of a folder into `SHA256SUMS`, as `sha256sum --check` reads it."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != CHECKSUMS)
    lines = [f"{file_digest(path)}  {path.relative_to(folder).as_posix()}\n" for path in paths]
    (folder / CHECKSUMS).write_text("".join(lines), encoding="utf-8")


def _json(path: Path, data: object) -> None:
    path.write_text(json.dumps(data, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _lines(path: Path, lines: Iterable[Mapping[str, object]]) -> None:
    path.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), encoding="utf-8")

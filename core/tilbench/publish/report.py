"""The texts of a release. Every number in them is read from a record, a log or a spec; none is written here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from tilbench.comparison.compare import Comparison
from tilbench.comparison.verdict import caveats, pooled_caveats, pooled_verdict, verdict
from tilbench.config.model import ModelSpec
from tilbench.generation.sweep import Outcome, SweepPlan
from tilbench.kinds.exporter import ExportJob
from tilbench.kinds.language import CardWords, Language
from tilbench.kinds.metric import Value
from tilbench.publish.card import loading, model_card
from tilbench.results.cells import clears
from tilbench.results.markdown import escape, table
from tilbench.results.record import DatasetUsed, Record
from tilbench.results.wording import format_interval, format_number

__all__ = ["Released", "benchmark_report", "comparison_lines", "release_card", "release_note"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Released:
    """What the texts of a release are written from.

    records: the model's own, in the order of suites and tasks. comparisons: suite → this model beside `against`. sweep
    and outcome: None where no decoding was searched.
    """

    job: ExportJob
    spec: ModelSpec
    languages: Sequence[Language]
    records: Sequence[Record]
    against: str
    comparisons: Mapping[str, Comparison]
    sweep: SweepPlan | None
    outcome: Outcome | None


def release_card(release: Released, *, code: bool) -> str:
    """Return the model's card: in English, and a section in each of its languages that somebody has written words for.

    code: the model's class lies beside it.
    """
    sections = [("Results", _results(release.records)), *_compared(release)]
    sections.append(("Decoding", _decoding(release.sweep, release.outcome)))
    sections.append(("Training", _training(release.spec)))
    sections.append(loading(code=code))
    sections.append(("Limits", _limits(release.records)))
    for language in release.languages:
        if language.card is not None:
            sections.append((language.native_name, _in_language(language.card, release.job, release.records)))
    return model_card(release.job, sections, about=_front(release.spec, release.languages))


def _front(spec: ModelSpec, languages: Sequence[Language]) -> dict[str, object]:
    """Return what the Hub reads at the top of a card: licence and languages (the first part of their tags)."""
    tags = [language.tag.partition("-")[0] for language in languages if not language.domain]
    about: dict[str, object] = {"language": tags} if tags else {}
    return about | ({"license": spec.licence.lower()} if spec.licence else {})


def _results(records: Sequence[Record]) -> str:
    head = ("suite", "task", "value", "95% interval", "chance", "rows", "fingerprint")
    rows = [_result(record, record.headline) for record in records if record.headline is not None]
    return "\n".join(
        [
            "Scored by tilbench. Each row is a record in `records/`; `tilbench records verify records` computes it "
            "again from its items. Records are comparable only where task fingerprints agree.",
            "",
            *table(head, rows, "llrlrrl"),
        ]
    )


def _result(record: Record, score: Value) -> tuple[str, ...]:
    """Return the cells of a record's headline."""
    task = record.task
    unit = "" if score.unit == "fraction" else f" {escape(score.unit)}"
    return (
        escape(task.suite),
        f"{escape(task.name)} ({escape(task.headline)})",
        f"{format_number(score)}{unit}",
        format_interval(score),
        _chance(score),
        _rows(task.dataset, score),
        f"`{task.fingerprint[:12]}`",
    )


def _rows(used: DatasetUsed, score: Value) -> str:
    """Return how many rows were scored, and of how many where they are a sample."""
    rows = used.rows or score.n
    return f"{rows} of {used.total}" if rows < used.total else str(rows)


def benchmark_report(reference: str, records: Sequence[Record]) -> str:
    """Return every value of every task as Markdown."""
    lines = [f"# Benchmarks of {escape(reference)}", ""]
    for record in records:
        task = record.task
        lines += [f"## {escape(task.suite)} / {escape(task.name)}", ""]
        if record.status != "done":
            lines += [f"{record.status}: {escape(record.reason)}", ""]
            continue
        lines += [
            f"Metric {escape(task.metric)} version {task.metric_version} on "
            f"{escape(task.dataset.name or 'the tasks above')}, fingerprint `{task.fingerprint}`.",
            "",
            *table(
                ("value", "", "95% interval", "chance", "n"), [_value(*each) for each in record.values.items()], "lrlrr"
            ),
            "",
        ]
    return "\n".join(lines)


def _value(name: str, score: Value) -> tuple[str, ...]:
    shown = (format_number(score), format_interval(score), _chance(score), str(score.n))
    return (f"{escape(name)} ({escape(score.unit)})", *shown)


def _compared(release: Released) -> Iterator[tuple[str, str]]:
    """Yield what is said of this model beside the one that it is compared with."""
    for suite, found in release.comparisons.items():
        labels = f"A is {escape(found.a.label)}, B is {escape(found.b.label)}."
        yield f"Beside {release.against} on {suite}", "\n".join([labels, "", *comparison_lines(found)])


def comparison_lines(found: Comparison) -> Iterator[str]:
    """Yield a Markdown list of the verdicts of a comparison, and under each what a reader must know beside it."""
    for task in found.tasks:
        yield f"- {escape(task.a.task.name)}: {escape(verdict(found, task))}"
        yield from (f"  - {escape(note)}" for note in caveats(found, task))
    for pooled in found.pooled:
        headline = escape(pooled.tasks[0].a.task.headline)
        yield f"- all {len(pooled.tasks)} tasks by {headline}: {escape(pooled_verdict(found, pooled))}"
        yield from (f"  - {escape(note)}" for note in pooled_caveats(found, pooled))


def _decoding(plan: SweepPlan | None, outcome: Outcome | None) -> str:
    if plan is None or outcome is None:
        return "No prompts in the model's languages were at hand, so decoding was not searched."
    preset = escape(outcome.recommended.preset)
    return (
        f"`generation_config.json` holds the settings that a sweep recommends ({preset}): tuned on {plan.tuning.count} "
        f"prompts; on {plan.holdout.count} others, {outcome.verdict}. `decoding_report.md` has the figures; they do "
        "not say whether texts make sense."
    )


def _training(spec: ModelSpec) -> str:
    total = sum(each.weight for each in spec.data)
    shares = [(escape(each.dataset), f"{each.weight / total:.1%}") for each in spec.data]
    lines = table(("dataset", "share"), shares)
    if spec.recipe is not None:
        recipe = spec.recipe
        lines += [
            "",
            f"{recipe.steps:,} steps of {recipe.tokens_per_step:,} tokens, sequences of {recipe.sequence_length:,}, "
            f"{recipe.optimizer.name} at a peak rate of {recipe.optimizer.learning_rate:g}, schedule "
            f"{recipe.schedule.name}, {recipe.precision}. All of it is in `training_config.json`, the losses in "
            "`metrics.jsonl`.",
        ]
    return "\n".join(lines)


def _limits(records: Sequence[Record]) -> str:
    """Say which tasks cannot be told from chance, and which were not run."""
    lines = []
    level = [
        each.task.name for each in records if each.headline and clears(each.headline, each.headline.chance) is False
    ]
    if level:
        names = ", ".join(map(escape, level))
        lines.append(f"- Not above chance, by its 95% interval: {names}.")
    for record in records:
        if record.status != "done":
            name = f"{escape(record.task.suite)} / {escape(record.task.name)}"
            lines.append(f"- {name}: {record.status} ({escape(record.reason)}).")
    lines.append("- What a model of this size says may be false or harmful; nothing here measures that.")
    return "\n".join(lines)


def _chance(score: Value) -> str:
    return "" if score.chance is None else format_number(score, chance=True)


def _in_language(words: CardWords, job: ExportJob, records: Sequence[Record]) -> str:
    about = words.about.format(name=escape(job.info.model), parameters=_numbers(f"{job.info.parameters:,}", words))
    rows = []
    for record in records:
        score = record.headline
        if score is not None:
            count = _rows(record.task.dataset, score).replace(" of ", " / ")
            name = f"{escape(record.task.name)} ({escape(record.task.headline)}, n = {count})"
            numbers = (format_number(score), format_interval(score), _chance(score))
            rows.append((name, *(_numbers(each, words) for each in numbers)))
    head = (words.task, words.value, words.interval, words.chance)
    return "\n".join([about, "", f"### {words.results}", "", *table(head, rows, "lrlr"), "", words.source])


def _numbers(text: str, words: CardWords) -> str:
    """Return English numbers as another language writes them; bounds of an interval are parted by a semicolon."""
    marked = text.replace(", ", "; ").translate({ord(","): words.group, ord("."): words.decimal})
    return words.percent.format(marked.removesuffix("%")) if marked.endswith("%") else marked


def release_note(release: Released) -> str:
    """Return what is new, for people who know the model: what it is, what it was compared with, where to look."""
    info = release.job.info
    done = sum(record.status == "done" for record in release.records)
    suites = ", ".join(map(escape, dict.fromkeys(record.task.suite for record in release.records)))
    lines = [
        f"# {escape(info.model)}, step {info.step:,}",
        "",
        f"{info.parameters:,} parameters, {info.tokens:,} training tokens, {release.job.dtype} weights.",
        "",
        f"Scored on {suites}: {done} of {len(release.records)} tasks done. `README.md` has the numbers, "
        "`benchmark_report.md` all of them.",
        "",
    ]
    for heading, body in _compared(release):
        lines += [f"## {escape(heading)}", "", body, ""]
    return "\n".join(lines)

"""The texts of a release. Every number in them is read from a record, a log or a spec; none is written here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from tilbench.checkpoints.folder import read_info
from tilbench.comparison.verdict import pooled_verdict, verdict
from tilbench.config.model import ModelSpec
from tilbench.kinds.exporter import ExportJob
from tilbench.kinds.language import CardWords, Language
from tilbench.publish.model_card import loading, markdown_text, model_card
from tilbench.results.cells import clears
from tilbench.results.record import DatasetUsed, Record, Score
from tilbench.results.wording import format_interval, format_number

if TYPE_CHECKING:
    from tilbench.generation.sweep import Outcome, SweepPlan
    from tilbench.publish.bundle import Release, Scored

__all__ = ["benchmark_report", "release_card", "release_note"]


def release_card(job: ExportJob, plan: Release, scored: Scored, outcome: Outcome | None, *, code: bool) -> str:
    """Return the model's card: in English, and a section in each of its languages that somebody has written words for.

    outcome: of the plan's sweep, if it has one. code: the model's class lies beside it.
    """
    sections = [("Results", _results(scored.records)), *_compared(plan, scored)]
    sections.append(("Decoding", _decoding(plan.sweep, outcome)))
    sections.append(("Training", _training(plan.spec)))
    sections.append(loading(code=code))
    sections.append(("Limits", _limits(scored.records)))
    for language in plan.languages:
        if language.card is not None:
            sections.append((language.native_name, _in_language(language.card, job, scored.records)))
    return model_card(job, sections, about=_front(plan.spec, plan.languages))


def _front(spec: ModelSpec, languages: Sequence[Language]) -> dict[str, object]:
    """Return what the Hub reads at the top of a card: licence and languages (the first part of their tags)."""
    tags = [language.tag.partition("-")[0] for language in languages if not language.domain]
    about: dict[str, object] = {"language": tags} if tags else {}
    return about | ({"license": spec.licence.lower()} if spec.licence else {})


def _results(records: Sequence[Record]) -> str:
    lines = [
        "Scored by tilbench. Each row is a record in `records/`; `tilbench records verify records` computes it again "
        "from its items. Records are comparable only where task fingerprints agree.",
        "",
        "| suite | task | value | 95% interval | chance | rows | fingerprint |",
        "|---|---|---:|---|---:|---:|---|",
    ]
    for record in records:
        task, score = record.task, record.headline
        if score is not None:
            unit = "" if score.unit == "fraction" else f" {markdown_text(score.unit)}"
            name = f"{markdown_text(task.name)} ({markdown_text(task.headline)})"
            cells = [
                markdown_text(task.suite),
                name,
                f"{format_number(score)}{unit}",
                format_interval(score),
                _chance(score),
            ]
            cells += [_rows(task.dataset, score), f"`{task.fingerprint[:12]}`"]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _rows(used: DatasetUsed, score: Score) -> str:
    """Return how many rows were scored, and of how many where they are a sample."""
    rows = used.rows or score.n
    return f"{rows} of {used.total}" if rows < used.total else str(rows)


def benchmark_report(reference: str, records: Sequence[Record]) -> str:
    """Return every value of every task as Markdown."""
    lines = [f"# Benchmarks of {markdown_text(reference)}", ""]
    for record in records:
        task = record.task
        lines += [f"## {markdown_text(task.suite)} / {markdown_text(task.name)}", ""]
        if record.status != "done":
            lines += [f"{record.status}: {markdown_text(record.reason)}", ""]
            continue
        lines += [
            f"Metric {markdown_text(task.metric)} version {task.metric_version} on "
            f"{markdown_text(task.dataset.name or 'the tasks above')}, fingerprint `{task.fingerprint}`.",
            "",
            "| value | | 95% interval | chance | n |",
            "|---|---:|---|---:|---:|",
        ]
        for name, score in record.values.items():
            lines.append(
                f"| {markdown_text(name)} ({markdown_text(score.unit)}) | {format_number(score)} | "
                f"{format_interval(score)} | {_chance(score)} | {score.n} |"
            )
        lines.append("")
    return "\n".join(lines)


def _compared(plan: Release, scored: Scored) -> Iterator[tuple[str, str]]:
    """Yield what is said of this model beside the one that it is compared with."""
    for suite, found in scored.comparisons.items():
        lines = [f"- {markdown_text(each.a.task.name)}: {markdown_text(verdict(found, each))}" for each in found.tasks]
        lines += [
            f"- all {len(each.tasks)} tasks by {markdown_text(each.tasks[0].a.task.headline)}: "
            f"{markdown_text(pooled_verdict(found, each))}"
            for each in found.pooled
        ]
        labels = f"A is {markdown_text(found.a.label)}, B is {markdown_text(found.b.label)}."
        yield f"Beside {plan.against} on {suite}", "\n".join([labels, "", *lines])


def _decoding(plan: SweepPlan | None, outcome: Outcome | None) -> str:
    if plan is None or outcome is None:
        return "No prompts in the model's languages were at hand, so decoding was not searched."
    preset = markdown_text(outcome.recommended.preset)
    return (
        f"`generation_config.json` holds the settings that a sweep recommends ({preset}): tuned on {plan.tuning.count} "
        f"prompts; on {plan.holdout.count} others, {outcome.verdict}. `decoding_report.md` has the figures; they do "
        "not say whether texts make sense."
    )


def _training(spec: ModelSpec) -> str:
    lines = ["| dataset | share |", "|---|---:|"]
    total = sum(each.weight for each in spec.data)
    lines += [f"| {markdown_text(each.dataset)} | {each.weight / total:.1%} |" for each in spec.data]
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
        names = ", ".join(map(markdown_text, level))
        lines.append(f"- Not above chance, by its 95% interval: {names}.")
    for record in records:
        if record.status != "done":
            name = f"{markdown_text(record.task.suite)} / {markdown_text(record.task.name)}"
            lines.append(f"- {name}: {record.status} ({markdown_text(record.reason)}).")
    lines.append("- What a model of this size says may be false or harmful; nothing here measures that.")
    return "\n".join(lines)


def _chance(score: Score) -> str:
    return "" if score.chance is None else format_number(score, chance=True)


def _in_language(words: CardWords, job: ExportJob, records: Sequence[Record]) -> str:
    about = words.about.format(
        name=markdown_text(job.info.model), parameters=_numbers(f"{job.info.parameters:,}", words)
    )
    lines = [about, "", f"### {words.results}", ""]
    lines += [f"| {words.task} | {words.value} | {words.interval} | {words.chance} |", "|---|---:|---|---:|"]
    for record in records:
        score = record.headline
        if score is not None:
            rows = _rows(record.task.dataset, score).replace(" of ", " / ")
            name = f"{markdown_text(record.task.name)} ({markdown_text(record.task.headline)}, n = {rows})"
            numbers = (format_number(score), format_interval(score), _chance(score))
            lines.append(f"| {name} | {' | '.join(_numbers(each, words) for each in numbers)} |")
    return "\n".join([*lines, "", words.source])


def _numbers(text: str, words: CardWords) -> str:
    """Return English numbers as another language writes them; bounds of an interval are parted by a semicolon."""
    marked = text.replace(", ", "; ").translate({ord(","): words.group, ord("."): words.decimal})
    return words.percent.format(marked.removesuffix("%")) if marked.endswith("%") else marked


def release_note(job: ExportJob, plan: Release, scored: Scored) -> str:
    """Return what is new, for people who know the model: what it is, what it was compared with, where to look."""
    info = read_info(plan.folder)
    done = sum(record.status == "done" for record in scored.records)
    suites = ", ".join(markdown_text(run.suite.name) for run in plan.runs)
    lines = [
        f"# {markdown_text(info.model)}, step {info.step:,}",
        "",
        f"{job.info.parameters:,} parameters, {info.tokens:,} training tokens, {plan.precision} weights.",
        "",
        f"Scored on {suites}: {done} of {len(scored.records)} tasks done. `README.md` has the numbers, "
        "`benchmark_report.md` all of them.",
        "",
    ]
    for heading, body in _compared(plan, scored):
        lines += [f"## {markdown_text(heading)}", "", body, ""]
    return "\n".join(lines)

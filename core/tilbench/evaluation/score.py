"""Answers of one model to one task, reduced to values by the task's metric, and what is known of how they came."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from tilbench.errors import Refused
from tilbench.evaluation.metric_errors import metric_errors
from tilbench.evaluation.plan import PlannedTask
from tilbench.kinds.language_model import ModelCard
from tilbench.kinds.metric import ItemScore, Metric, Value
from tilbench.kinds.requests import Answer, Request
from tilbench.results.reading import misfits, read_row, reading_of, too_lossy, unanswered_row
from tilbench.results.record import Reading

__all__ = ["LOST_HELP", "TaskScore", "reason_of", "reduced", "score_task"]

LOST_HELP = "; 'tilbench tokenizer report' shows what is lost, and only a model whose tokenizer keeps it has a value"
"""Ends the reason of a task without values where bytes are lost; older records have the reason without it."""


@dataclass(frozen=True, slots=True)
class TaskScore:
    """What a task's answers amount to. `refusal` says why there are no values.

    items: of every row, the metric's numbers and the harness's own (`tilbench.results.reading`).
    """

    items: Sequence[ItemScore]
    reading: Reading | None
    values: Mapping[str, Value] = field(default_factory=dict)
    refusal: str = ""


def score_task(task: PlannedTask, known: Mapping[Request, Answer]) -> TaskScore:
    """Score the rows of a task whose answers are `known`. A row with a request unanswered is left out of the values."""
    assert task.metric is not None
    scores: list[ItemScore] = []
    items: list[ItemScore] = []
    with metric_errors(task.used.metric):
        for row in task.rows:
            requests = task.requests[row.id]
            answers = [known[request] for request in requests]
            if why := unanswered_row(answers):
                items.append(ItemScore(row.id, row.cluster, read_row(requests, answers), why))
                continue
            score = task.metric.score(row, answers)
            scores.append(score)
            items.append(replace(score, values={**score.values, **read_row(requests, answers)}))
        return reduced(task.metric, scores, items, task.used.truncation)


def reduced(
    metric: Metric, scores: Sequence[ItemScore], items: Sequence[ItemScore], truncation: str = "allow"
) -> TaskScore:
    """Reduce the scores of the answered rows to values, or to the reason why there are none.

    items: of every row. truncation: the task's.
    """
    reading = reading_of([item.values for item in items], [item.texts for item in items])
    if items and not scores:
        return TaskScore(items, reading, refusal=_nothing_answered(reading))
    if reading and (why_not := too_lossy(reading.lost_bytes, reading.scored_bytes)):
        return TaskScore(items, reading, refusal=why_not)
    unread = misfits(reading)
    if unread and truncation == "error":  # of models whose tokenizer could not be asked before
        return TaskScore(items, reading, refusal=f"{'; '.join(unread)}; the task says 'truncation: error'")
    try:
        return TaskScore(items, reading, metric.aggregate(scores))
    except Refused as error:  # these answers only: other tasks and models go on
        return TaskScore(items, reading, refusal="; ".join([str(error), *unread]))


def reason_of(scored: TaskScore, card: ModelCard) -> str:
    """Return why there are no values; where bytes are lost, with what of the tokenizer loses them, and what helps."""
    if not scored.refusal or scored.reading is None or not scored.reading.lost_bytes:
        return scored.refusal
    cause = card.details.get("decoder")
    return f"{scored.refusal}{f': {cause}' if cause else ''}{LOST_HELP}"


def _nothing_answered(reading: Reading | None) -> str:
    reasons = reading.unanswered if reading else {}
    commonest = max(reasons, key=lambda reason: reasons[reason])
    more = f" (and {len(reasons) - 1} other reasons)" if len(reasons) > 1 else ""
    return f"no row can be answered: {commonest}{more}"

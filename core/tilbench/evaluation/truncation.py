"""What of a run's prompts will not fit its models: foreseen from tokenizers, before any weight is loaded."""

from __future__ import annotations

from collections.abc import Sequence

from tilbench.errors import DataError
from tilbench.evaluation.plan import PlannedTask
from tilbench.kinds.requests import Answer, Generation, Likelihood, Ranked, Request, RequestKind, Timed, Unanswered
from tilbench.results.reading import misfits, read_row, reading_of, unanswered_row
from tilbench.results.record import Reading
from tilbench.scoring.decode.generate import Job, fit
from tilbench.scoring.encode.reader import Read, Reader

__all__ = ["predict_reading", "refuse_truncation"]

_LIKELIHOODS = (RequestKind.CONTINUATION, RequestKind.DOCUMENT, RequestKind.NEXT_WORD)


def predict_reading(reader: Reader, task: PlannedTask) -> Reading | None:
    """Return what a record of the task will say of how its texts were read; None where it will say nothing.

    `short_rows` are rows whose answer has less room than it may use; in a record, those that used it up.
    """
    requests = list(dict.fromkeys(request for each in task.requests.values() for request in each))
    answers: dict[Request, Answer] = {request: Timed() for request in requests}
    for request, read in reader.likelihoods([each for each in requests if each.kind in _LIKELIHOODS]):
        answers[request] = read if isinstance(read, Unanswered) else _likelihood(request, read)
    for request, job in reader.jobs([each for each in requests if isinstance(each, Generation)]):
        answers[request] = _generated(job, reader.length)
    rows = [[answers[request] for request in task.requests[row.id]] for row in task.rows]
    whys = [unanswered_row(row) for row in rows]
    counts = [read_row(task.requests[row.id], given) for row, given in zip(task.rows, rows, strict=True)]
    return reading_of(counts, whys)


def _likelihood(request: Request, read: Read) -> Answer:
    how = {name: getattr(read, name) for name in ("lost", "lost_context", "cut", "dropped")}
    if request.kind is RequestKind.NEXT_WORD:
        return Ranked(1, 0.0, read.tokens, **how)
    return Likelihood(0.0, read.tokens, **how, windows=max(1, len(read.pairs)))


def _generated(job: Job | Unanswered, length: int) -> Answer:
    return job if isinstance(job, Unanswered) else fit(job, length).answer("", 0, complete=False)


def refuse_truncation(model: str, length: int | None, readings: Sequence[tuple[PlannedTask, Reading | None]]) -> None:
    """Raise DataError for the first task that asks for an error where rows do not fit, and has such rows."""
    for task, reading in readings:
        if task.used.truncation == "error" and (fits := misfits(reading)):
            raise DataError(
                f"{model}: task {task.used.name} says 'truncation: error', and in a model of {length or 0:,} tokens "
                f"{'; '.join(fits)}; lower 'shots' or 'max_new_tokens', shorten the instruction, "
                "or take a model with a longer context"
            )

"""The second and third beat of a run: questions put to one model, answers journalled, scores recorded."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from tilbench.errors import CheckpointError, MissingDataset, TilbenchError
from tilbench.evaluation.plan import PlannedTask
from tilbench.evaluation.score import reason_of, score_task
from tilbench.kinds.capabilities.metric import HasNotes
from tilbench.kinds.language_model import LanguageModel, ModelCard, OpenOptions
from tilbench.kinds.metric import ItemScore
from tilbench.kinds.requests import Answer, Generated, Likelihood, Ranked, Request, Timed, TokenIds, Unanswered
from tilbench.memory import peak_memory
from tilbench.progress import Progress
from tilbench.resolve.models import ModelSource
from tilbench.results.record import Environment, Measured, Record
from tilbench.results.store import RecordStore
from tilbench.scoring.journal import ENGINE_VERSION, Journal

__all__ = ["Share", "run_model"]


@dataclass(slots=True)
class Share:
    """One model's part of a run, and what became of it.

    records: of every task, whether made now (`made`) or `found`, then of macros. scored: requests answered in this run.
    """

    source: ModelSource
    card: ModelCard
    records: list[Record] = field(default_factory=list)
    made: int = 0
    found: int = 0
    scored: int = 0


@dataclass(slots=True)
class _Timing:
    seconds: dict[Request, float] = field(default_factory=dict)


def run_model(
    source: ModelSource,
    tasks: Sequence[PlannedTask],
    store: RecordStore,
    journal: Journal,
    options: OpenOptions,
    environment: Environment,
    progress: Progress,
    command: str = "",
) -> Share:
    """Score one model on every task that has no record of it yet, and record the results.

    Answers are journalled batch by batch. A task that the model cannot answer, or whose answers its metric refuses to
    score, is recorded as "n/a", one whose data is missing as "not run".
    """
    try:
        card = source.card(options)
        unopened = ""
    except MissingDataset as error:
        card = ModelCard(name=source.name, fingerprint="none", supports=frozenset())
        unopened = str(error)
    share = Share(source, card)
    found: dict[str, Record] = {}
    open_tasks: list[PlannedTask] = []
    blanks: list[Record] = []
    for task in tasks:
        used = task.used
        old = store.find(used.suite, used.name, used.fingerprint, card.name, card.fingerprint)
        blank = _blank(task, card, environment, unopened, command)
        if old is not None and old.measured.engine != ENGINE_VERSION:
            old = None  # the engine would answer otherwise today
        done = old is not None and old.status == "done" and task.lasting  # a timing is measured in every run
        if old is not None and (done or (blank and old.reason == blank.reason)):
            found[used.name] = old
        elif blank is not None:
            found[used.name] = blank
            blanks.append(blank)
        else:
            open_tasks.append(task)
    wanted = {request: None for task in open_tasks for requests in task.requests.values() for request in requests}
    known = dict(journal.known(card.fingerprint, wanted))
    missing = [request for request in wanted if request not in known]
    timing = _Timing()
    if strict := [task for task in open_tasks if task.used.truncation == "error"]:
        _refuse_truncation(source, card, strict, options)
    model = source.open(options) if missing else None  # before anything is written: its files may not fit together
    for blank in blanks:
        store.write(blank, [])
    if model is not None:
        _ask(model, card, missing, known, journal, timing, progress)
    for task in open_tasks:
        record, items = _score(task, card, known, timing, environment, command)
        store.write(record, items)
        found[task.used.name] = record
    share.records = [found[task.used.name] for task in tasks]
    share.made = len(open_tasks) + len(blanks)
    share.scored = len(missing)
    return share


def _refuse_truncation(
    source: ModelSource, card: ModelCard, tasks: Sequence[PlannedTask], options: OpenOptions
) -> None:
    """Raise DataError where rows do not fit whose task asks for an error then; no weight is loaded for this."""
    if reader := source.reader(options):
        from tilbench.evaluation.fit import foresee, refuse_truncation

        refuse_truncation(card.name, reader.length, [(task, foresee(reader, task)) for task in tasks])


def _ask(
    model: LanguageModel,
    card: ModelCard,
    requests: Sequence[Request],
    known: dict[Request, Answer],
    journal: Journal,
    timing: _Timing,
    progress: Progress,
) -> None:
    done = 0
    progress(card.name, 0, len(requests))
    before = time.perf_counter()
    try:
        for batch in model.answer(requests):
            journal.add(card.fingerprint, batch)
            now = time.perf_counter()
            for request, answer in batch:
                known[request] = answer
                timing.seconds[request] = (now - before) / len(batch)
            before = now
            done += len(batch)
            progress(card.name, done, len(requests))
    except CheckpointError as error:
        raise CheckpointError(f"{card.name}: {error}") from None
    if unanswered := len(requests) - sum(request in known for request in requests):
        raise TilbenchError(f"{card.name}: the model left {unanswered} of {len(requests)} requests unanswered")


def _score(
    task: PlannedTask,
    card: ModelCard,
    known: Mapping[Request, Answer],
    timing: _Timing,
    environment: Environment,
    command: str,
) -> tuple[Record, Sequence[ItemScore]]:
    scored = score_task(task, known)
    requests = {request for each in task.requests.values() for request in each}
    measured = _measured(
        command,
        wall_seconds=sum(timing.seconds.get(request, 0.0) for request in requests),
        requests=len(requests),
        reused=sum(request not in timing.seconds for request in requests),
        tokens=sum(_tokens(known[request]) for request in requests),
    )
    record = Record(
        status="n/a" if scored.refusal else "done",
        reason=reason_of(scored, card),
        task=task.used,
        model=card,
        values=dict(scored.values),
        environment=environment,
        measured=measured,
        notes=_notes(task),
        reading=scored.reading,
    )
    return record, scored.items


def _notes(task: PlannedTask) -> list[str]:
    count = len(task.used.dataset.equal_options)
    equal = [f"{count} questions have two options of equal text, as published"] if count else []
    return [*equal, *(task.metric.notes if isinstance(task.metric, HasNotes) else ())]


def _blank(task: PlannedTask, card: ModelCard, environment: Environment, unopened: str, command: str) -> Record | None:
    """Return the record of a task that this model cannot be scored on, saying why; None where it can be."""
    missing = task.missing or unopened
    lacking = sorted(kind for kind in task.counts if kind not in card.supports)
    if not missing and not lacking:
        return None
    return Record(
        status="not run" if missing else "n/a",
        reason=missing or f"{card.name} cannot answer {' and '.join(lacking)} requests",
        task=task.used,
        model=card,
        environment=environment,
        measured=_measured(command),
    )


def _measured(command: str, wall_seconds: float = 0.0, requests: int = 0, reused: int = 0, tokens: int = 0) -> Measured:
    return Measured(
        finished=datetime.now(UTC).isoformat(timespec="seconds"),
        command=command,
        wall_seconds=round(wall_seconds, 3),
        requests=requests,
        reused=reused,
        tokens=tokens,
        peak_memory_bytes=peak_memory(),
        engine=ENGINE_VERSION,
    )


def _tokens(answer: Answer) -> int:
    match answer:
        case Likelihood() | Generated() | Ranked():
            return answer.tokens or 0
        case TokenIds():
            return len(answer.ids)
        case Timed():
            return answer.text_tokens
        case Unanswered():
            return 0

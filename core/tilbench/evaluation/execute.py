"""The second and third beat of a run: questions put to one model, answers journalled, scores recorded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from tilbench.errors import MissingDataset, TilbenchError
from tilbench.evaluation.plan import PlannedTask
from tilbench.evaluation.score import reason_of, score_task
from tilbench.evaluation.worker import Answered, Event, Job, Opened, answers
from tilbench.kinds.capabilities.metric import HasNotes
from tilbench.kinds.language_model import ModelCard, OpenOptions
from tilbench.kinds.metric import ItemScore
from tilbench.kinds.requests import Answer, Generated, Likelihood, Ranked, Request, Timed, TokenIds, Unanswered
from tilbench.memory import peak_memory
from tilbench.progress import Progress
from tilbench.resolve.models import ModelSource
from tilbench.results.record import Environment, Measured, Record
from tilbench.results.store import RecordStore
from tilbench.scoring.journal import ENGINE_VERSION, Journal

__all__ = ["ModelRun", "Recorder", "Share", "run_model"]


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorder:
    """Where a run keeps what comes of its models, and what its records say of it. Stays in the process of the run."""

    store: RecordStore
    journal: Journal
    environment: Environment
    progress: Progress
    command: str = ""


class ModelRun:
    """One model on every task that has no record of it yet, from what is known already to its records.

    job: what the model is still to be asked. The events of a worker go to `take`. A task that the model cannot answer,
    or whose answers its metric refuses to score, is recorded as "n/a", one whose data is missing as "not run".
    """

    def __init__(
        self, source: ModelSource, tasks: Sequence[PlannedTask], options: OpenOptions, recorder: Recorder
    ) -> None:
        """Find what is there. Trains a model that is trained on demand; raises what describing the model raises."""
        self.source = source
        self._tasks = tasks
        self._recorder = recorder
        try:
            self.card, unopened = source.card(options), ""
        except MissingDataset as error:
            self.card = ModelCard(name=source.name, fingerprint="none", supports=frozenset())
            unopened = str(error)
        self._found: dict[str, Record] = {}
        self._open: list[PlannedTask] = []
        self._blanks: list[Record] = []
        self._written = 0
        for task in tasks:
            self._look_up(task, unopened)
        wanted = {request: None for task in self._open for requests in task.requests.values() for request in requests}
        self._known = dict(recorder.journal.known(self.card.fingerprint, wanted))
        missing = [request for request in wanted if request not in self._known]
        self._seconds: dict[Request, float] = {}
        self._peak_memory = 0
        if strict := [task for task in self._open if task.used.truncation == "error"]:
            _refuse_truncation(source, self.card, strict, options)
        self.job = Job(self.card.name, source.location if missing else source.reference, missing)

    def _look_up(self, task: PlannedTask, unopened: str) -> None:
        """Sort a task: it has a record, it can be recorded without an answer, or it is open."""
        used, card, recorder = task.used, self.card, self._recorder
        old = recorder.store.find(used.suite, used.name, used.fingerprint, card.name, card.fingerprint)
        blank = _blank(task, card, recorder, unopened)
        if old is not None and old.measured.engine != ENGINE_VERSION:
            old = None  # the engine would answer otherwise today
        done = old is not None and old.status == "done" and task.lasting  # a timing is measured in every run
        if old is not None and (done or (blank and old.reason == blank.reason)):
            self._found[used.name] = old
        elif blank is not None:
            self._found[used.name] = blank
            self._blanks.append(blank)
        else:
            self._open.append(task)

    def take(self, event: Event) -> None:
        """Keep what a worker found. Answers are in the journal when this returns."""
        recorder, total = self._recorder, len(self.job.requests)
        match event:
            case Opened():  # nothing is written before: the model's files may not fit together
                self._write_blanks()
                recorder.progress(self.card.name, 0, total)
            case Answered():
                recorder.journal.add(self.card.fingerprint, event.answers)
                for request, answer in event.answers:
                    self._known[request] = answer
                    self._seconds[request] = event.seconds / len(event.answers)
                self._peak_memory = event.peak_memory
                recorder.progress(self.card.name, len(self._seconds), total)

    def finish(self) -> Share:
        """Score and record every open task. Raises TilbenchError where the model left requests unanswered."""
        if unanswered := sum(request not in self._known for request in self.job.requests):
            raise TilbenchError(
                f"{self.card.name}: the model left {unanswered} of {len(self.job.requests)} requests unanswered"
            )
        self._write_blanks()
        for task in self._open:
            record, items = self._score(task)
            self._recorder.store.write(record, items)
            self._found[task.used.name] = record
        return Share(
            self.source,
            self.card,
            records=[self._found[task.used.name] for task in self._tasks],
            made=len(self._open) + self._written,
            scored=len(self.job.requests),
        )

    def _write_blanks(self) -> None:
        while self._blanks:
            self._recorder.store.write(self._blanks.pop(0), [])
            self._written += 1

    def _score(self, task: PlannedTask) -> tuple[Record, Sequence[ItemScore]]:
        scored = score_task(task, self._known)
        requests = {request for each in task.requests.values() for request in each}
        measured = _measured(
            self._recorder.command,
            wall_seconds=sum(self._seconds.get(request, 0.0) for request in requests),
            requests=len(requests),
            reused=sum(request not in self._seconds for request in requests),
            tokens=sum(_tokens(self._known[request]) for request in requests),
            peak=self._peak_memory,
        )
        record = Record(
            status="n/a" if scored.refusal else "done",
            reason=reason_of(scored, self.card),
            task=task.used,
            model=self.card,
            values=dict(scored.values),
            environment=self._recorder.environment,
            measured=measured,
            notes=_notes(task),
            reading=scored.reading,
        )
        return record, scored.items


def run_model(source: ModelSource, tasks: Sequence[PlannedTask], options: OpenOptions, recorder: Recorder) -> Share:
    """Score one model in this process, opened by its own loader, and record the results."""
    model = ModelRun(source, tasks, options, recorder)
    if model.job.requests:
        for event in answers(source.open(options), model.job):
            model.take(event)
    return model.finish()


def _refuse_truncation(
    source: ModelSource, card: ModelCard, tasks: Sequence[PlannedTask], options: OpenOptions
) -> None:
    """Raise DataError where rows do not fit whose task asks for an error then; no weight is loaded for this."""
    if reader := source.reader(options):
        from tilbench.evaluation.truncation import predict_reading, refuse_truncation

        refuse_truncation(card.name, reader.length, [(task, predict_reading(reader, task)) for task in tasks])


def _notes(task: PlannedTask) -> list[str]:
    count = len(task.used.dataset.equal_options)
    equal = [f"{count} questions have two options of equal text, as published"] if count else []
    return [*equal, *(task.metric.notes if isinstance(task.metric, HasNotes) else ())]


def _blank(task: PlannedTask, card: ModelCard, recorder: Recorder, unopened: str) -> Record | None:
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
        environment=recorder.environment,
        measured=_measured(recorder.command),
    )


def _measured(
    command: str, wall_seconds: float = 0.0, requests: int = 0, reused: int = 0, tokens: int = 0, peak: int = 0
) -> Measured:
    return Measured(
        finished=datetime.now(UTC).isoformat(timespec="seconds"),
        command=command,
        wall_seconds=round(wall_seconds, 3),
        requests=requests,
        reused=reused,
        tokens=tokens,
        peak_memory_bytes=peak or peak_memory(),
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

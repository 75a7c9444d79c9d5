"""A decoding sweep: presets are tuned on some prompts, and the winner is confirmed on others.

The objective of a text is the weighted mean of its terms, each a number from 0 to 1 of which more is better; that of a
preset is the mean over texts. A text without a term that others of its task have (an empty one has no words) counts
as 0 there.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tilbench.comparison.paired import ALPHA, Paired, Side, pair
from tilbench.config.decoding import Sampling
from tilbench.config.suite import Suite, Task
from tilbench.config.sweep import Sweep
from tilbench.data.rows import Prompt, Row
from tilbench.errors import ConfigError, DataError, TilbenchError, UnknownName, Unsupported
from tilbench.evaluation.metric_errors import metric_errors
from tilbench.evaluation.plan import PlannedTask, plan_tasks
from tilbench.kinds.language_model import ModelCard, OpenOptions
from tilbench.kinds.metric import ItemScore, Metric, Value
from tilbench.kinds.requests import Answer, Generated, Request, RequestKind
from tilbench.progress import Progress
from tilbench.registry import Registry
from tilbench.resolve.models import ModelSource
from tilbench.results.wording import FEWEST
from tilbench.scoring.journal import Journal

__all__ = ["Outcome", "PromptSplit", "Result", "SweepPlan", "Text", "plan_sweep", "run_sweep", "sweep_suite"]


@dataclass(frozen=True, slots=True)
class PromptSplit:
    """The prompts of one split. rows: task → ids of its rows that belong to it."""

    name: str
    rows: Mapping[str, Sequence[str]]

    @property
    def count(self) -> int:
        """Prompts in all."""
        return sum(len(rows) for rows in self.rows.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepPlan:
    """Everything resolved, nothing computed. tasks: preset → its planned tasks, over the prompts of both parts."""

    sweep: Sweep
    seed: int
    presets: Mapping[str, Sampling]
    tasks: Mapping[str, Sequence[PlannedTask]]
    tuning: PromptSplit
    holdout: PromptSplit


@dataclass(frozen=True, slots=True)
class Text:
    """What was written after one prompt, and how good that is."""

    dataset: str
    prompt: Prompt
    answer: Generated
    objective: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What one preset did on one part. objective: mean over texts. values: dataset → the metric's values."""

    preset: str
    settings: Sampling
    objective: float
    values: Mapping[str, Mapping[str, Value]]
    texts: Sequence[Text]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """A sweep that is done. tuning: best first. holdout: the winner, and the default where it is another one.

    gain: winner less default on the hold-out prompts, paired by prompt; None where the default won, or there is but
    one prompt.
    """

    card: ModelCard
    tuning: Sequence[Result]
    holdout: Sequence[Result]
    gain: Paired | None = None

    @property
    def winner(self) -> Result:
        """The preset that did best on the tuning prompts, as it did on them."""
        return self.tuning[0]

    @property
    def verdict(self) -> str:
        """What the hold-out prompts say of winner and default."""
        if len(self.holdout) == 1:
            return "the default won"
        if self.gain is None or self.gain.too_few:
            return f"too few hold-out prompts to compare with the default, at least {FEWEST} needed"
        if self.gain.p >= ALPHA:
            return "not distinguishable from the default"
        return "confirmed" if self.gain.difference > 0 else "the default is better"

    @property
    def recommended(self) -> Result:
        """The winner, but where the hold-out prompts say that the default is better."""
        return self.holdout[-1] if self.verdict == "the default is better" else self.holdout[0]


def sweep_suite(sweep: Sweep, preset: Sampling, datasets: Sequence[str], seed: int) -> Suite:
    """Return the tasks of one preset: the sweep's metric on each dataset of prompts."""
    settings = {**sweep.settings, **asdict(preset)}
    tasks = [
        Task(name=f"prompts-{place}", metric=sweep.metric, dataset=dataset, settings=settings)
        for place, dataset in enumerate(datasets)
    ]
    return Suite(name="decode", seed=seed, tasks=tasks)


def plan_sweep(
    sweep: Sweep,
    registry: Registry,
    prompts: Sequence[str],
    holdout: Sequence[str] = (),
    *,
    data_dir: Path | None = None,
    limit: int | None = None,
    seed: int = 0,
) -> SweepPlan:
    """Resolve datasets and settings. Without `holdout` datasets every dataset is halved by a digest of seed and text.

    Raises DataError where a part would be empty or a prompt stands in both, UnknownName and MissingDataset.
    """
    datasets = list(dict.fromkeys([*prompts, *holdout]))
    presets = sweep.candidates()
    tasks: dict[str, Sequence[PlannedTask]] = {}
    for name, preset in presets.items():
        suite = sweep_suite(sweep, preset, datasets, seed)
        tasks[name] = plan_tasks(suite, suite.tasks, registry, data_dir, limit)
    first = tasks[sweep.default]
    if missing := next((task.missing for task in first if task.missing), ""):
        raise DataError(missing)
    parts: dict[bool, dict[str, list[str]]] = {False: {}, True: {}}
    if twice := set(prompts) & set(holdout):
        raise DataError(f"{min(twice)} is named for tuning and for the hold-out; name another with --holdout")
    for dataset, task in zip(datasets, first, strict=True):
        for row in task.rows:
            held = dataset in holdout if holdout else _held_out(row, seed)
            parts[held].setdefault(task.used.name, []).append(row.id)
    tuning, held_out = PromptSplit("tuning", parts[False]), PromptSplit("hold-out", parts[True])
    for part in (tuning, held_out):
        if not part.count:
            raise DataError(f"no prompt is left for the {part.name} part; name more prompts, or --holdout datasets")
    texts = [
        {_text(row) for task in first for row in task.rows if row.id in part.rows.get(task.used.name, ())}
        for part in (tuning, held_out)
    ]
    if both := sorted(texts[0] & texts[1]):
        raise DataError(f"{len(both)} prompts are in both parts, such as {both[0][:60]!r}; take them out of one")
    return SweepPlan(sweep=sweep, seed=seed, presets=presets, tasks=tasks, tuning=tuning, holdout=held_out)


def run_sweep(
    plan: SweepPlan, source: ModelSource, options: OpenOptions, journal: Journal, progress: Progress
) -> Outcome:
    """Try every preset on the tuning prompts, then the winner and the default on the hold-out prompts.

    Raises Unsupported for a model that writes no text, ConfigError for an objective that no task has.
    """
    card = source.card(options)
    if RequestKind.GENERATION not in card.supports:
        raise Unsupported(f"{card.name} writes no text; a decoding sweep needs a model that does")
    asking = _Asking(source, options, card, journal, progress)
    tuned = _results(plan, plan.tuning, list(plan.presets), asking)
    order = list(plan.presets)
    tuned.sort(key=lambda result: (-result.objective, order.index(result.preset)))
    winner, default = tuned[0].preset, plan.sweep.default
    held = _results(plan, plan.holdout, list(dict.fromkeys([winner, default])), asking)
    if len(held) == 1:
        return Outcome(card=card, tuning=tuned, holdout=held)
    ours, theirs = held
    prompts = [f"{text.dataset}/{text.prompt.cluster}" for text in ours.texts]
    gain = pair(_side(ours), _side(theirs), prompts)
    return Outcome(card=card, tuning=tuned, holdout=held, gain=gain)


def _side(result: Result) -> Side:
    return Side([text.objective for text in result.texts], [1.0] * len(result.texts))


@dataclass(slots=True)
class _Asking:
    """A model that is opened when it is first asked something that the journal does not know."""

    source: ModelSource
    options: OpenOptions
    card: ModelCard
    journal: Journal
    progress: Progress
    known: dict[Request, Answer] = field(default_factory=dict)

    def ask(self, requests: Sequence[Request]) -> None:
        """Have every request answered, in `known`."""
        self.known.update(self.journal.known(self.card.fingerprint, requests))
        missing = [request for request in dict.fromkeys(requests) if request not in self.known]
        if not missing:
            return
        done = 0
        self.progress(self.card.name, 0, len(missing))
        for batch in self.source.open(self.options).answer(missing):
            self.journal.add(self.card.fingerprint, batch)
            self.known.update(batch)
            done += len(batch)
            self.progress(self.card.name, done, len(missing))
        if left := [request for request in missing if request not in self.known]:
            raise TilbenchError(f"{self.card.name}: the model left {len(left)} of {len(missing)} requests unanswered")


def _results(plan: SweepPlan, part: PromptSplit, presets: Sequence[str], asking: _Asking) -> list[Result]:
    """Return what presets do on a part, in their order."""
    tasks = {name: [_task(task, part) for task in plan.tasks[name]] for name in presets}
    asking.ask([request for name in presets for task in tasks[name] for request in task.requests])
    scored = {name: [task.scored(asking.known) for task in tasks[name]] for name in presets}
    directions = {
        term: value.direction for each in scored.values() for _, values in each for term, value in values.items()
    }
    _check(plan.sweep, directions)
    results = []
    for name in presets:
        texts: list[Text] = []
        for place, (task, (scores, _)) in enumerate(zip(tasks[name], scored[name], strict=True)):
            had = {term for each in scored.values() for score in each[place][0] for term in score.values}
            weights = {term: weight for term, weight in plan.sweep.objective.items() if term in had}
            for row, request, score in zip(task.rows, task.requests, scores, strict=True):
                answer = asking.known[request]
                assert isinstance(answer, Generated)
                texts.append(Text(task.dataset, row, answer, _objective(score, weights, directions)))
        results.append(
            Result(
                preset=name,
                settings=plan.presets[name],
                objective=math.fsum(text.objective for text in texts) / len(texts),
                values={task.dataset: values for task, (_, values) in zip(tasks[name], scored[name], strict=True)},
                texts=texts,
            )
        )
    return results


@dataclass(frozen=True, slots=True)
class _Task:
    """One preset's task on one part: a request for each row."""

    dataset: str
    metric: Metric
    name: str
    rows: Sequence[Prompt]
    requests: Sequence[Request]

    def scored(self, known: Mapping[Request, Answer]) -> tuple[Sequence[ItemScore], Mapping[str, Value]]:
        """Return the scores of the rows, and the metric's values."""
        with metric_errors(self.name):
            scores = [
                self.metric.score(row, [known[request]]) for row, request in zip(self.rows, self.requests, strict=True)
            ]
            return scores, self.metric.aggregate(scores)


def _task(task: PlannedTask, part: PromptSplit) -> _Task:
    """Raises ConfigError for a metric that asks for anything but one text a prompt."""
    chosen = set(part.rows.get(task.used.name, ()))
    rows = [row for row in task.rows if isinstance(row, Prompt) and row.id in chosen]
    asked = [task.requests[row.id] for row in rows]
    if any(len(each) != 1 or each[0].kind is not RequestKind.GENERATION for each in asked):
        raise ConfigError(f"metric {task.used.metric!r} does not ask for one text a prompt, as a decoding sweep needs")
    assert task.metric is not None
    return _Task(task.used.dataset.name, task.metric, task.used.metric, rows, [each[0] for each in asked])


def _check(sweep: Sweep, values: Mapping[str, object]) -> None:
    """Refuse an objective whose terms are not among the metric's values; of our own, some may be missing.

    A text without a language, such as code, has no consistency of language.
    """
    unknown = [term for term in sweep.objective if term not in values]
    if unknown and ("objective" in sweep.model_fields_set or len(unknown) == len(sweep.objective)):
        raise UnknownName(f"value of {sweep.metric} (objective)", unknown[0], values)


def _objective(score: ItemScore, weights: Mapping[str, float], directions: Mapping[str, str]) -> float:
    """Return the weighted mean of the terms of one text; a term that it lacks counts as 0."""
    total = 0.0
    for term, weight in weights.items():
        value = score.values.get(term)
        if value is None:
            continue
        if not 0 <= value <= 1:
            raise ConfigError(f"objective: {term} of {score.item} is {value:g}; a term is a number from 0 to 1")
        total += weight * (1 - value if directions[term] == "lower" else value)
    return total / math.fsum(weights.values())


def _held_out(row: Row, seed: int) -> bool:
    return hashlib.sha256(f"{seed}:{_text(row)}".encode("utf-8", "surrogatepass")).digest()[0] % 2 == 1


def _text(row: Row) -> str:
    return row.prompt if isinstance(row, Prompt) else ""

"""Tasks of lm-evaluation-harness as a metric: its prompts, filters and metrics around our models' answers."""

from __future__ import annotations

import contextlib
import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from tilbench.config.suite import HarnessEntry, HarnessTask, Macro
from tilbench.data.resolve import Rows
from tilbench.data.rows import Item, Row, rows_fingerprint
from tilbench.errors import ConfigError, DataError, MissingDataset, Refused, TilbenchError, UnknownName, Unsupported
from tilbench.kinds.harness import Bound
from tilbench.kinds.metric import ItemScore, TaskContext, Value
from tilbench.kinds.prompt import Prompt
from tilbench.kinds.requests import Answer, Request
from tilbench_lm_eval.catalogue import INCLUDE, Catalogue
from tilbench_lm_eval.expansion import expand
from tilbench_lm_eval.library import installed_version, one_line, quiet, require
from tilbench_lm_eval.messages import as_request, as_response
from tilbench_lm_eval.settings import LmEvalSettings, MetricUse, decisive, metric_names, uses
from tilbench_lm_eval.sources import dataset_name, load_splits
from tilbench_lm_eval.tasks import build
from tilbench_lm_eval.values import CHANCE, PAIRED, TIED, Aggregate, keep, tied_value, value_of

if TYPE_CHECKING:
    from lm_eval.api.instance import Instance
    from lm_eval.api.task import Task

__all__ = ["LmEval"]

_MEAN = MetricUse(aggregation="mean", higher_is_better=None)
"""Of results that a task gives and does not declare; the harness takes their mean."""


class LmEval:
    """One task of lm-evaluation-harness.

    Its documents, prompts, examples, filters, per-document metrics and aggregations are the harness's own; the requests
    are answered by our models. A value is called as there: metric and filter, `acc,none`. Filters see the responses to
    one document at a time. The headline is the first metric that can be compared pair by pair, else the first. Results
    that are no numbers, such as a pair of texts for a corpus score, are kept with the
    items as text, so that every value follows from the items. Among choices of equal likelihood its accuracies take the
    first; `tied` counts the documents where that happened, so that an accuracy above chance can be told from an order.
    """

    rows: ClassVar[frozenset[str]] = frozenset({Item.kind})
    version: ClassVar[int] = 2
    Settings: ClassVar[type[LmEvalSettings]] = LmEvalSettings

    def __init__(self, settings: LmEvalSettings, context: TaskContext) -> None:
        require("the metric lm_eval")
        paired = (name for name, use in settings.metrics.items() if use.aggregation in PAIRED)
        first = next(paired, None) or next(iter(settings.metrics), "acc")
        self.headline = f"{first},{(settings.filters or ['none'])[0]}"
        filters = ", ".join(settings.filters)
        self.notes = (f"lm-eval {settings.lm_eval}, {settings.task} version {settings.version}, filters {filters}",)
        self._settings = settings
        self._task: Task = None
        self._instances: Mapping[str, Sequence[Instance]] = {}
        self._prompts: Mapping[str, Prompt] = {}

    @classmethod
    def expand(
        cls, entries: Sequence[HarnessEntry], folders: Sequence[Path], *, trust_remote_code: bool
    ) -> tuple[Sequence[HarnessTask], Sequence[Macro]]:
        """Return the tasks behind names, groups and tags, and a macro for what a group aggregates."""
        require("a suite that lists tasks under 'lm_eval'")
        return expand(entries, Catalogue(folders, trust_remote_code=trust_remote_code))

    @classmethod
    def bind(cls, settings: LmEvalSettings, context: TaskContext, data_dir: Path | None, limit: int | None) -> Bound:
        """Build the task on its documents and write all its prompts."""
        if settings.leaf is None:
            raise ConfigError(f"list {settings.task!r} under 'lm_eval', not under 'tasks'")
        _refuse(settings.leaf.outline)
        with _task_errors(settings.task, Unsupported):
            config = settings.leaf.config()
        itself = "class" in config or callable(config.get("custom_dataset"))
        origin, splits = ("", None) if itself else load_splits(config, context.shots, data_dir)
        with _task_errors(settings.task, MissingDataset if itself else DataError):
            task, prompts = build(config, splits, context.shots, settings.fewshot_seed, limit)
            used = uses(config, task)
        filled = settings.model_copy(
            update={
                "version": str(task.VERSION),
                "lm_eval": installed_version(),
                "filters": [ensemble.name for ensemble in task._filters],
                "metrics": used,
                "config": decisive(config),
                "leaf": None,
            }
        )
        metric = cls(filled, context)
        metric._task, metric._prompts = task, prompts
        by_document = defaultdict(list)
        for instance in task.instances:
            by_document[str(instance.doc_id)].append(instance)
        metric._instances = {
            number: sorted(each, key=lambda instance: instance.idx) for number, each in by_document.items()
        }
        items = tuple(Item(number, _content(each)) for number, each in metric._instances.items())
        return Bound(
            metric,
            Rows(
                name=dataset_name(config),
                kind=Item.kind,
                rows=items,
                total=len(task.eval_docs),
                source_total=len(task.eval_docs),
                origin=origin,
                fingerprint=rows_fingerprint(items),
            ),
            filled,
        )

    def requests(self, row: Row) -> Sequence[Request]:
        """Ask what the harness asks about a document, as often as the task says."""
        beside: dict[str, list[str]] = defaultdict(list)
        for instance in self._instances[row.id]:
            if instance.request_type == "loglikelihood":
                beside[instance.args[0]].append(instance.args[1])
        return [
            as_request(
                instance.request_type, instance.args, repeat, self._prompts, tuple(beside.get(instance.args[0], ()))
            )
            for instance in self._instances[row.id]
            for repeat in range(instance.repeats or 1)
        ]

    def score(self, row: Row, answers: Sequence[Answer]) -> ItemScore:
        """Give the answers to the task's filters and metrics, and keep what these make of them."""
        left = iter(answers)
        instances = [
            replace(
                instance,
                resps=[as_response(instance.request_type, next(left)) for _ in range(instance.repeats or 1)],
                filtered_resps={},
            )
            for instance in self._instances[row.id]
        ]
        values, texts = {**_chance(self._task, instances), **_tied(self._task, instances)}, dict[str, str]()
        with quiet():
            self._task._instances = instances
            self._task.apply_filters()
            for name in instances[0].filtered_resps:
                responses = [instance.filtered_resps[name] for instance in instances]
                for metric, result in self._task.process_results(instances[0].doc, responses).items():
                    numbers, words = keep(f"{metric},{name}", result, self._use(metric).aggregation)
                    values |= numbers
                    texts |= words
        return ItemScore(row.id, row.cluster, values, texts)

    def aggregate(self, scores: Sequence[ItemScore]) -> Mapping[str, Value]:
        """Aggregate every metric under every filter as the task does, over the documents that have it."""
        ordered = sorted(scores, key=lambda score: int(score.item))
        having: dict[str, list[ItemScore]] = defaultdict(list)
        for score in ordered:
            for key in dict.fromkeys(name.partition(":")[0] for name in (*score.values, *score.texts)):
                if key not in (CHANCE, TIED):
                    having[key].append(score)
        values: dict[str, Value] = {}
        for key, some in sorted(having.items(), key=lambda pair: self._place(pair[0])):
            metric = key.rpartition(",")[0]
            value = value_of(key, self._use(metric), self._function(metric), some)
            values[key] = value if len(some) == len(ordered) else replace(value, of=None)
        return {**values, **tied_value(scores)}

    def _use(self, metric: str) -> MetricUse:
        return self._settings.metrics.get(metric, _MEAN)

    def _place(self, key: str) -> tuple[int, str]:
        names = list(self._settings.metrics)
        metric = key.rpartition(",")[0]
        return (names.index(metric) if metric in names else len(names)), key

    def _function(self, metric: str) -> Aggregate:
        """Return a metric's aggregation; one of the task's own from the task, or from its file where it is not bound.

        Raises DataError where that file is not here, or is another.
        """
        with quiet():
            from lm_eval.api.registry import get_aggregation

        if name := self._use(metric).aggregation:
            function: Aggregate = get_aggregation(name)
            made = None if self._task is None else self._task.aggregation().get(metric)
            if made not in (None, function):
                raise Refused(f"{self._settings.task} aggregates {metric} otherwise than its configuration says")
            return function
        if self._task is not None:
            function = self._task.aggregation()[metric]
            return function
        return _own_aggregation(metric, self._settings)


def _own_aggregation(metric: str, settings: LmEvalSettings) -> Aggregate:
    """Return an aggregation from the task's file, where that is here and the one that was recorded."""
    try:
        (leaf,) = Catalogue().find(settings.task).leaves
        with _task_errors(leaf.name):
            config = leaf.config()
    except UnknownName:
        config = {}
    if decisive(config) != settings.config:
        raise DataError(
            f"{metric} is aggregated by a function of lm-eval task {settings.task!r}, which is not here as it was "
            f"then; name the folder of its files in {INCLUDE}"
        )
    listed = dict(zip(metric_names(config), config["metric_list"], strict=True))
    function: Aggregate = listed[metric]["aggregation"]
    return function


def _refuse(config: Mapping[str, Any]) -> None:
    """Raise Unsupported for what a text model here cannot be asked, or must not."""
    if config.get("doc_to_image") or config.get("doc_to_audio"):
        raise Unsupported(f"lm-eval task {config['task']!r} shows images or sound, and tilbench's models read text")
    if config.get("unsafe_code"):
        raise Unsupported(
            f"lm-eval task {config['task']!r} runs code that the model writes; run it in a sandbox with "
            f"'python -m tilbench_lm_eval run --tasks {config['task']} --confirm_run_unsafe_code'"
        )


def _content(instances: Sequence[Instance]) -> str:
    asked = [[each.request_type, list(each.args), each.repeats] for each in instances]
    return json.dumps([instances[0].doc, asked], ensure_ascii=False, sort_keys=True, default=str)


def _chance(task: Task, instances: Sequence[Instance]) -> Mapping[str, float]:
    """Return the share of right choices of a document that has choices."""
    if task.OUTPUT_TYPE != "multiple_choice":
        return {}
    doc = instances[0].doc
    gold = task.doc_to_text(doc) if task.multiple_input else task.doc_to_target(doc)
    right = len(set(gold)) if isinstance(gold, list) else 1
    return {CHANCE: right / len(task.doc_to_choice(doc))}


def _tied(task: Task, instances: Sequence[Instance]) -> Mapping[str, float]:
    """Return, of a document that has choices, whether the likeliest two are equally likely."""
    if task.OUTPUT_TYPE != "multiple_choice":
        return {}
    choices = len(task.doc_to_choice(instances[0].doc))
    likelihoods = [instance.resps[0][0] for instance in instances[:choices]]
    return {TIED: float(likelihoods.count(max(likelihoods)) > 1)}


@contextlib.contextmanager
def _task_errors(task: str, kind: type[TilbenchError] = DataError) -> Iterator[None]:
    """Say what goes wrong inside the harness, or in a task's own Python, in one line with the task's name.

    kind: the error to raise; one that reads "not run" where Python of the task's own may want what is not here.
    """
    try:
        with quiet():
            yield
    except TilbenchError:
        raise
    except ImportError as error:
        raise Unsupported(f"lm-eval task {task!r} needs a package that is not installed: {one_line(error)}") from None
    except Exception as error:
        fix = "; it loads its documents itself: with a network run again" if kind is MissingDataset else ""
        raise kind(f"lm-eval task {task!r}: {type(error).__name__}: {one_line(error).rstrip('.')}{fix}") from None

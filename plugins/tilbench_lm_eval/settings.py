"""What decides the result of a task of lm-evaluation-harness, as plain data for a record."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, is_dataclass
from typing import TYPE_CHECKING, Any

from pydantic import Field

from tilbench.config.base import Schema
from tilbench_lm_eval.catalogue import Leaf

if TYPE_CHECKING:
    from lm_eval.api.task import Task

__all__ = ["FEWSHOT_SEED", "LmEvalSettings", "MetricUse", "decisive", "filter_names", "metric_names", "uses"]

FEWSHOT_SEED = 1234
"""lm-evaluation-harness's own default; examples are drawn from it, document by document."""
_LEFT_OUT = frozenset(
    {
        "task",
        "task_alias",
        "metadata",
        "num_fewshot",
        "dataset_kwargs",  # paths of this machine; the documents themselves are in the fingerprint
        "custom_dataset",
        "should_decontaminate",
        "doc_to_decontamination_query",
    }
)


class MetricUse(Schema):
    """How a metric of a task is read. aggregation: its registered name, "" for a function of the task's own."""

    aggregation: str
    higher_is_better: bool | None


class LmEvalSettings(Schema):
    """Filled in from the task itself; a suite names it under `lm_eval`."""

    task: str
    version: str = ""
    """The task's own."""
    lm_eval: str = ""
    """Version of lm-evaluation-harness."""
    fewshot_seed: int = FEWSHOT_SEED
    filters: list[str] = []
    metrics: dict[str, MetricUse] = {}
    config: dict[str, Any] = {}
    """The task's configuration; a function stands there as its source."""
    leaf: Leaf | None = Field(default=None, exclude=True, repr=False)
    """Where the task is defined on this machine; no part of a record."""


def decisive(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return what of a task's configuration decides its result, as JSON data."""
    return {key: _plain(value) for key, value in config.items() if key not in _LEFT_OUT}


def _plain(value: Any) -> Any:
    """Return a part of a configuration as JSON data, functions as their source."""
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [_plain(each) for each in value]
    if value is None or isinstance(value, str | int | float | bool):
        return value
    if is_dataclass(value) and not isinstance(value, type):
        return _plain({key: each for key, each in asdict(value).items() if each is not None})
    if callable(value):
        try:
            return inspect.getsource(value)
        except (TypeError, OSError):
            return getattr(value, "__qualname__", type(value).__qualname__)
    return str(value)


def filter_names(config: Mapping[str, Any]) -> list[str]:
    """Return the names of a configuration's filters."""
    return [str(each["name"]) for each in config.get("filter_list") or ()] or ["none"]


def metric_names(config: Mapping[str, Any]) -> list[str]:
    """Return the names of a configuration's metrics, in order; none where a class of Python decides.

    A metric that is a function goes by its name; where functions are not imported, by the end of their path.
    """
    if "class" in config:
        return []
    return [name for name, _ in _metrics(config)]


def uses(config: Mapping[str, Any], task: Task) -> dict[str, MetricUse]:
    """Return how a built task aggregates each of its metrics, by name."""
    from lm_eval.api.registry import AGGREGATION_REGISTRY

    names = {AGGREGATION_REGISTRY[name]: name for name in AGGREGATION_REGISTRY}
    better = task.higher_is_better()
    functions: Mapping[str, Callable[..., object]] = task.aggregation()
    declared = metric_names(config) or list(functions)
    return {
        name: MetricUse(aggregation=names.get(functions[name], ""), higher_is_better=better.get(name))
        for name in declared
        if name in functions
    }


def _metrics(config: Mapping[str, Any]) -> list[tuple[str, Mapping[str, object]]]:
    if config.get("metric_list") is None:
        from lm_eval.api.registry import DEFAULT_METRIC_REGISTRY

        return [(name, {}) for name in DEFAULT_METRIC_REGISTRY[config.get("output_type", "generate_until")]]
    return [(_name(each["metric"]), each) for each in config["metric_list"]]


def _name(metric: Any) -> str:
    name = metric if isinstance(metric, str) else getattr(metric, "__name__", str(metric))
    return str(name).rpartition(".")[2] if "/" in str(name) else str(name)

"""From the names that a suite lists to tasks, and from groups that aggregate to macros."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tilbench.config.suite import HarnessEntry, HarnessMacro, HarnessTask, Macro
from tilbench.errors import ConfigError
from tilbench_lm_eval.catalogue import Catalogue, Group, Leaf
from tilbench_lm_eval.settings import filter_names, metric_names
from tilbench_lm_eval.sources import dataset_name

__all__ = ["expand"]


def expand(entries: Sequence[HarnessEntry], catalogue: Catalogue) -> tuple[list[HarnessTask], list[Macro]]:
    """Return the tasks behind names, groups and tags, and a macro for what a group aggregates.

    A task that two entries stand for alike is there once. Raises UnknownName, and ConfigError for a `name` that would
    be of several tasks.
    """
    tasks: list[HarnessTask] = []
    macros: dict[str, Macro] = {}
    for entry in entries:
        found = catalogue.find(entry.task)
        if entry.name and len(found.leaves) != 1:
            raise ConfigError(f"lm_eval: {entry.task!r} stands for {len(found.leaves)} tasks; 'name' is for one")
        tasks += [task for leaf in found.leaves if (task := _task(leaf, entry)) not in tasks]
        macros |= {macro.name: macro for group in found.groups for macro in _macros(group)}
    return tasks, list(macros.values())


def _task(leaf: Leaf, entry: HarnessEntry) -> HarnessTask:
    fixed = leaf.outline.get("num_fewshot")
    shots = fixed or 0 if entry.shots is None or fixed == 0 else entry.shots  # a task that says 0 means it
    return HarnessTask(
        name=entry.name or _slug(leaf.name),
        metric="lm_eval",
        dataset=dataset_name(leaf.outline),
        settings={"task": leaf.name, "leaf": leaf},
        shots=shots,
        limit=entry.limit,
        language=entry.language,
        truncation=entry.truncation,
    )


def _macros(group: Group) -> Iterator[Macro]:
    """Yield a macro for each metric and filter that a group aggregates over two tasks or more."""
    keys = [
        (str(asked["metric"]), name, bool(asked.get("weight_by_size", True)))
        for asked in group.metrics
        for name in _filters(group, asked)
    ]
    for metric, name, weighted in keys:
        leaves = [leaf for leaf in group.leaves if _has(leaf, metric, name)]
        if len(leaves) > 1:
            yield HarnessMacro(
                name=_slug(group.name if len(keys) == 1 else f"{group.name}-{metric}-{name}"),
                tasks=list(dict.fromkeys(_slug(leaf.name) for leaf in leaves)),
                value=f"{metric},{name}",
                weight="row" if weighted else "task",
            )


def _filters(group: Group, asked: Mapping[str, Any]) -> list[str]:
    listed = asked.get("filter_list")
    if listed is not None:
        return [listed] if isinstance(listed, str) else list(listed)
    return sorted({name for leaf in group.leaves for name in filter_names(leaf.outline)})


def _has(leaf: Leaf, metric: str, name: str) -> bool:
    declared = metric_names(leaf.outline)
    return not declared or (metric in declared and name in filter_names(leaf.outline))


def _slug(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", name).lstrip("_.-")

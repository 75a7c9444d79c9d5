"""A task object of lm-evaluation-harness, with its prompts written."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

__all__ = ["build"]


def build(config: Mapping[str, Any], splits: Mapping[str, Any] | None, shots: int, seed: int, limit: int | None) -> Any:
    """Return the harness's task of a configuration, with an instance for every request about its first documents.

    splits: `datasets.Dataset` of each split; None lets the task load them itself. shots: examples before a document, as
    the harness draws them, one document after the other, from `seed`. limit: documents, None for all.
    """
    from lm_eval.api.task import ConfigurableTask

    metadata = config.get("metadata")
    filled = {**config, "metadata": metadata if isinstance(metadata, dict) else {}}
    if splits is not None:
        filled |= {"custom_dataset": lambda **_: splits, "dataset_kwargs": None}
    if (own := filled.get("class")) is not None:
        task: Any = own(config=filled) if "config" in inspect.signature(own.__init__).parameters else own()
    else:
        task = ConfigurableTask(config=filled)
    task.set_config("task", config["task"])
    task.set_config("num_fewshot", shots)
    task.set_fewshot_seed(seed)
    task.build_all_requests(limit=limit)
    return task

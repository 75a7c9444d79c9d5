"""A task object of lm-evaluation-harness, with its prompts written."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any

from tilbench.kinds.prompt import Prompt

if TYPE_CHECKING:
    from lm_eval.api.task import Task

__all__ = ["build"]


def build(
    config: Mapping[str, Any], splits: Mapping[str, Any] | None, shots: int, seed: int, limit: int | None
) -> tuple[Task, Mapping[str, Prompt]]:
    """Return the harness's task of a configuration, with an instance for every request about its first documents.

    Beside it, by its text, each prompt of which the harness says what is description and what are examples.
    splits: `datasets.Dataset` of each split; None lets the task load them itself. shots: examples before a document, as
    the harness draws them, one document after the other, from `seed`. limit: documents, None for all.
    """
    from lm_eval.api.task import ConfigurableTask

    metadata = config.get("metadata")
    filled = {**config, "metadata": metadata if isinstance(metadata, dict) else {}}
    if splits is not None:
        filled |= {"custom_dataset": lambda **_: splits, "dataset_kwargs": None}
    if (own := filled.get("class")) is not None:
        task: Task = own(config=filled) if "config" in inspect.signature(own.__init__).parameters else own()
    else:
        task = ConfigurableTask(config=filled)
    task.set_config("task", config["task"])
    task.set_config("num_fewshot", shots)
    task.set_fewshot_seed(seed)
    prompts = _noted(task) if isinstance(task, ConfigurableTask) and shots else {}
    task.build_all_requests(limit=limit)
    return task, prompts


def _noted(task: Task) -> Mapping[str, Prompt]:
    """Note the prompts that a task writes from now on, by their text, with the places of their examples.

    A prompt that is not the description and the turns of its examples, one after the other, is not noted.
    """
    prompts: dict[str, Prompt] = {}
    turns: list[str] = []
    write, write_turn = task.fewshot_context, task.build_qa_turn

    def turn(*args: Any, **options: Any) -> Any:
        messages = write_turn(*args, **options)
        turns.append("".join(message.to_text() for message in messages))
        return messages

    def context(*args: Any, **options: Any) -> Any:
        turns.clear()
        text = write(*args, **options)
        if isinstance(text, str) and text.endswith("".join(turns)):
            keep = len(text) - sum(map(len, turns))
            ends = list(accumulate(map(len, turns), initial=keep))
            prompts[text] = Prompt(text, tuple(pairwise(ends[:-1])), keep)
        return text

    task.build_qa_turn, task.fewshot_context = turn, context
    return prompts

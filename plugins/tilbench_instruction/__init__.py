"""Perplexity of answers to instructions, the prompt masked; and a few conversations to try it on."""

from __future__ import annotations

from tilbench import hookimpl
from tilbench.data.dataset import Dataset
from tilbench.hookspecs import Register


@hookimpl
def register_metrics(register: Register) -> None:
    """Register `instruction`."""
    register(
        "instruction",
        "tilbench_instruction.instruction:Instruction",
        summary="bits per byte and perplexity of the assistant's turns, all else masked",
    )


@hookimpl
def register_datasets(register: Register) -> None:
    """Register short conversations in Kazakh and English."""
    for tag in ("kk-Cyrl", "en-Latn"):
        subtag = tag.split("-")[0]
        dataset = Dataset(
            kind="conversations",
            language=tag,
            package="tilbench_instruction",
            file=f"data/{subtag}.jsonl",
            licence="Apache-2.0",
            summary="questions and instructions with their answers, some of several turns",
        )
        register(f"conversations/{subtag}", dataset, summary=dataset.summary)

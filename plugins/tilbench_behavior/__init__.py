"""Metrics of how a model writes, whatever it writes about."""

from __future__ import annotations

from tilbench import hookimpl
from tilbench.data.dataset import Dataset
from tilbench.hookspecs import Register


@hookimpl
def register_metrics(register: Register) -> None:
    """Loops, repetition, endings and the language of generated texts; and a verdict on a dozen of them."""
    register(
        "behavior",
        "tilbench_behavior.behavior:Behavior",
        summary="loops, repetition, endings and language of generated texts",
    )
    register(
        "verdict",
        "tilbench_behavior.verdict:Verdict",
        summary="OK, WEAK or FAIL for each of a few generated texts, and for all of them",
    )


@hookimpl
def register_datasets(register: Register) -> None:
    """Register the prompts of the verdict: three are printed on the card of auto-g-nano-1b, three are new."""
    dataset = Dataset(
        kind="prompts",
        language="en-Latn",
        package="tilbench_behavior",
        file="data/smoke.jsonl",
        licence="Apache-2.0",
        summary="beginnings of a story, an explanation, an answer, a list and of Python, for a smoke test",
    )
    register("prompts/english-python", dataset, summary=dataset.summary)

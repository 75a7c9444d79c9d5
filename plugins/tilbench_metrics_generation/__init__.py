"""Metrics that ask a model to write: how it writes, and whether it answers, corrects and translates."""

from __future__ import annotations

from tilbench import hookimpl
from tilbench.data.dataset import Dataset
from tilbench.hookspecs import Register


@hookimpl
def register_metrics(register: Register) -> None:
    """Register the metrics of generated text."""
    here = "tilbench_metrics_generation"
    register(
        "behavior", f"{here}.behavior:Behavior", summary="loops, repetition, endings and language of generated texts"
    )
    register(
        "verdict",
        f"{here}.verdict:Verdict",
        summary="OK, WEAK or FAIL for each of a few generated texts, and for all of them",
    )
    register(
        "reading", f"{here}.reading:Reading", summary="answers to questions on a text, by exact match and token F1"
    )
    register(
        "correction",
        f"{here}.correction:Correction",
        summary="corrections of faulty texts, by edit F0.5 and character error rate",
    )
    register(
        "translation",
        f"{here}.translation.metric:Translation",
        summary="translations, by chrF++ and BLEU of sacreBLEU with its signature",
    )


@hookimpl
def register_datasets(register: Register) -> None:
    """Register the prompts of `verdict` and the sentences of `correction`, both shipped here."""
    prompts = Dataset(
        kind="prompts",
        language="en-Latn",
        package="tilbench_metrics_generation",
        file="data/smoke.jsonl",
        licence="Apache-2.0",
        summary="beginnings of a story, an explanation, an answer, a list and of Python, for a smoke test",
    )
    register("prompts/english-python", prompts, summary=prompts.summary)
    for split, what in (("test", "two of them faultless"), ("dev", "for few-shot prompts")):
        pairs = Dataset(
            kind="pairs",
            language="kk-Cyrl",
            package="tilbench_metrics_generation",
            file=f"data/correction/kk/{split}.jsonl",
            licence="Apache-2.0",
            summary=f"Kazakh sentences as mistyped on a Russian keyboard, with their corrections, {what}",
        )
        register(f"correction/kk/{split}", pairs, summary=pairs.summary)


@hookimpl
def register_commands(register: Register) -> None:
    """Register `tilbench score-translation`."""
    register(
        "score-translation",
        "tilbench_metrics_generation.translation.command:score_translation",
        summary="Score translations in a file against references.",
    )

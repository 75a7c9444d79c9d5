"""Metrics that ask how probable a text is: running text, choices, pairs, labels, expected words, answers."""

from __future__ import annotations

from tilbench import hookimpl
from tilbench.data.dataset import Dataset
from tilbench.hookspecs import Register


@hookimpl
def register_metrics(register: Register) -> None:
    """Register the metrics of likelihood."""
    here = "tilbench_metrics_likelihood"
    register("bpb", f"{here}.bpb:BitsPerByte", summary="bits per UTF-8 byte, and perplexities")
    register(
        "choice",
        f"{here}.choice:Choice",
        summary="accuracy on multiple-choice questions beside its chance level",
    )
    register(
        "classification",
        f"{here}.classification:Classification",
        summary="macro F1 and accuracy of labels, by the likeliest label word",
    )
    register(
        "instruction",
        f"{here}.instruction:Instruction",
        summary="bits per byte and perplexity of the assistant's turns, all else masked",
    )
    register(
        "minimal_pairs",
        f"{here}.minimal_pairs:MinimalPairs",
        summary="how often the good one of two sentences is likelier",
    )
    register("probe", f"{here}.probe:ProbeMetric", summary="rank, probability and perplexity of an expected next word")


@hookimpl
def register_datasets(register: Register) -> None:
    """Register short conversations in Kazakh and English, for `instruction`."""
    for tag in ("kk-Cyrl", "en-Latn"):
        subtag = tag.split("-")[0]
        dataset = Dataset(
            kind="conversations",
            language=tag,
            package="tilbench_metrics_likelihood",
            file=f"data/conversations/{subtag}.jsonl",
            licence="Apache-2.0",
            summary="questions and instructions with their answers, some of several turns",
        )
        register(f"conversations/{subtag}", dataset, summary=dataset.summary)

"""Gemma-3 4B Kazakh QLoRA: a low-rank adapter on a frozen 4-bit base, and the data its report names."""

from __future__ import annotations

from tilbench import hookimpl
from tilbench.data.dataset import Dataset
from tilbench.hookspecs import Register

# The report names these corpora without a revision or a column, so they are data-directory ids and no Hub source.
_CORPORA = {
    "gemma-kazakh/muri-it-kk": "the Kazakh part of MURI-IT (instructions)",
    "gemma-kazakh/alpaca-kk": "the machine-translated Kazakh Alpaca (instructions)",
}


@hookimpl
def register_models(register: Register) -> None:
    """Register `gemma-3-kazakh-qlora`."""
    register(
        "gemma-3-kazakh-qlora",
        "tilbench_gemma_3_kazakh_qlora/gemma-3-kazakh-qlora.yaml",
        summary="LoRA adapter on 4-bit Gemma-3 4B, instruction-tuned on Kazakh",
    )


@hookimpl
def register_datasets(register: Register) -> None:
    """Register the two instruction sets that it was tuned on, and the parallel text that its BLEU names."""
    for name, what in _CORPORA.items():
        dataset = Dataset(
            kind="conversations",
            language="kk-Cyrl",
            summary=f"{what}: put it in the data directory with a column 'messages' of turns (role, content)",
        )
        register(name, dataset, summary=dataset.summary)
    kazparc = Dataset(
        kind="pairs",
        language="kk-Cyrl",
        hub="issai/kazparc",
        config="kazparc_raw",
        split="train",
        columns={"id": "id", "source": "en", "target": "kk"},
        citation="KazParC, Yeshpanov et al., 2024",
        summary="English to Kazakh, sentences of KazParC; gated on the Hub, and its columns were read off the report",
    )
    register("gemma-kazakh/kazparc-en-kk", kazparc, summary=kazparc.summary)

"""auto-g-nano-1b: English and Python on two workstation GPUs, and the public text it was made from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tilbench import hookimpl
from tilbench.data.dataset import Dataset
from tilbench.hookspecs import Register
from tilbench.text.chat import with_input


@hookimpl
def register_models(register: Register) -> None:
    """Register `auto-g-nano-1b`."""
    register(
        "auto-g-nano-1b",
        "tilbench_auto_g_nano_1b/auto-g-nano-1b.yaml",
        summary="1.05B Llama-style decoder on web, synthetic text and Python",
    )


@hookimpl
def register_datasets(register: Register) -> None:
    """Register the three sources of its training text, and the pairs that it was tuned on."""
    for config in ("fineweb-edu-dedup", "cosmopedia-v2"):
        web = Dataset(
            kind="documents",
            language="en-Latn",
            hub="HuggingFaceTB/smollm-corpus",
            config=config,
            split="train",
            streaming=True,
            columns={"text": "text"},
            summary="English training text of auto-g-nano-1b",
        )
        register(f"{web.hub}/{config}", web, summary=web.summary)
    # Gated, and read by folder (`data_dir="python"`), which `Dataset` cannot say: a data directory holds it.
    python = Dataset(
        kind="documents",
        language="code",
        columns={"text": "content"},
        summary=(
            "Python of auto-g-nano-1b: gated on the Hub as bigcode/starcoderdata, folder python; put its parquet "
            "in the data directory"
        ),
    )
    register("bigcode/starcoderdata/python", python, summary=python.summary)
    dolly = Dataset(
        kind="conversations",
        language="en-Latn",
        hub="databricks/databricks-dolly-15k",
        split="train",
        prepare=turns,
        licence="CC-BY-SA-3.0",
        summary="15,011 instructions with answers, some on a given text (Databricks, 2023)",
    )
    register(dolly.hub, dolly, summary=dolly.summary)


def turns(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return Dolly's rows as conversations; a context follows its instruction as Alpaca's input does."""
    return [
        {
            "id": row["id"],
            "messages": [
                {"role": "user", "content": with_input(row["instruction"].strip(), row["context"].strip())},
                {"role": "assistant", "content": row["response"].strip()},
            ],
        }
        for row in rows
    ]

"""auto-g-nano-1b: English and Python on two workstation GPUs, and the public text it was made from."""

from __future__ import annotations

from tilbench import hookimpl
from tilbench.data.dataset import Dataset
from tilbench.hookspecs import Register


@hookimpl
def register_models(register: Register) -> None:
    """Register `auto-g-nano-1b`."""
    register(
        "auto-g-nano-1b",
        "tilbench_auto_g_nano/auto-g-nano-1b.yaml",
        summary="1.05B Llama-style decoder on web, synthetic text and Python",
    )


@hookimpl
def register_datasets(register: Register) -> None:
    """Register the three sources of its training text."""
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

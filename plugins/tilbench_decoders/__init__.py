"""Four decoders assembled from one set of parts: GPT-2, Llama, ALiBi and multi-head latent attention."""

from __future__ import annotations

from tilbench import hookimpl
from tilbench.hookspecs import Register

__all__ = ["register_architectures"]


@hookimpl
def register_architectures(register: Register) -> None:
    """Register the four decoders; torch is imported when one of them is first used."""
    register("gpt2", "tilbench_decoders.gpt2:GPT2", summary="GPT-2: learned positions, LayerNorm, GELU")
    register("llama", "tilbench_decoders.llama:Llama", summary="Llama: rotary positions, grouped queries, SwiGLU")
    register(
        "alibi",
        "tilbench_decoders.alibi:Alibi",
        summary="ALiBi: linear distance penalty, grouped queries, SwiGLU",
    )
    register("mla", "tilbench_decoders.mla:MLA", summary="dense DeepSeek-V3: multi-head latent attention, SwiGLU")

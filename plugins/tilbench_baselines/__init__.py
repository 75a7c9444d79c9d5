"""Models that need no training to speak of: what any language model has to beat."""

from __future__ import annotations

from tilbench import hookimpl
from tilbench.hookspecs import Register


@hookimpl
def register_loaders(register: Register) -> None:
    """Uniform bytes, xz, and a character n-gram."""
    register("uniform-bytes", "tilbench_baselines.uniform:UniformBytesLoader", summary="8 bits for every byte")
    register("xz", "tilbench_baselines.xz:XzLoader", summary="the size of each document, compressed on its own")
    register(
        "ngram",
        "tilbench_baselines.ngram:NgramLoader",
        summary="character 6-gram of the suite's reference text (Witten-Bell), mixed with uniform bytes",
    )

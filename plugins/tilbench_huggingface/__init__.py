"""Models of the Hugging Face libraries: folders, peft adapters, `hf:org/name`, and any causal class."""

from __future__ import annotations

from tilbench import hookimpl
from tilbench.hookspecs import Register

__all__ = ["register_architectures", "register_loaders"]


@hookimpl
def register_loaders(register: Register) -> None:
    """Register the loader; transformers is imported when a model is described or opened."""
    register(
        "huggingface",
        "tilbench_huggingface.loader:HuggingFaceLoader",
        summary="a Transformers folder, a peft adapter's folder, or hf:org/name@revision",
    )


@hookimpl
def register_architectures(register: Register) -> None:
    """Register the architecture that stands for every causal class of Transformers."""
    register(
        "huggingface",
        "tilbench_huggingface.architecture:HuggingFaceArchitecture",
        summary="any causal language model of Transformers, by model_type",
    )

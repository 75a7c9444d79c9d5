"""Tokenizers by reference, through whichever registered family recognises it."""

from __future__ import annotations

from tilbench.errors import UnknownName
from tilbench.kinds.tokenizer import Tokenizer
from tilbench.registry import Registry

__all__ = ["load_tokenizer"]


def load_tokenizer(reference: str, registry: Registry) -> Tokenizer:
    """Load a folder, a file, `scheme:name`, or a family that needs no file. Raises UnknownName, CheckpointError."""
    for _, family in registry.tokenizers.all():
        if family.recognises(reference):
            tokenizer: Tokenizer = family.load(reference)
            return tokenizer
    fix = "name a folder with tokenizer.json, a .tiktoken or SentencePiece .model file, hf:org/name or mistral:NAME"
    raise UnknownName("tokenizer", reference, registry.tokenizers.names(), fix)

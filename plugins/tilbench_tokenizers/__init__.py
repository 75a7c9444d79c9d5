"""Tokenizer families: trained here (bpe, unigram, wordpiece, til), fixed (bytes), and read from elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tilbench import hookimpl

if TYPE_CHECKING:
    from tilbench.hookspecs import Register

__all__ = ["register_tokenizers"]


@hookimpl
def register_tokenizers(register: Register) -> None:
    """Register every family under the name that model specs use."""
    here = "tilbench_tokenizers"
    register("bpe", f"{here}.trained:ByteLevelBPE", summary="byte-level BPE, trained; never unknown")
    register("unigram", f"{here}.trained:Unigram", summary="byte-level unigram LM, trained; never unknown")
    register("wordpiece", f"{here}.trained:WordPiece", summary="WordPiece, trained; may lose text, and counts it")
    register("til", f"{here}.trained:Til", summary="Til-Tokenizer's layout: morpheme mark, single digits, BPE")
    register("bytes", f"{here}.raw:Bytes", summary="UTF-8 bytes; nothing to train")
    register("tiktoken", f"{here}.ranks:Tiktoken", summary="a .tiktoken rank file")
    register("sentencepiece", f"{here}.pieces:SentencePiece", summary="a SentencePiece .model file")
    register(
        "huggingface",
        f"{here}.huggingface:HuggingFace",
        summary="a Transformers folder, or hf:org/name[@rev]",
    )
    register("mistral", f"{here}.mistral:Mistral", summary="mistral:NAME, a tokenizer shipped in mistral-common")

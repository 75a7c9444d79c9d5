"""Says what is wrong with a model's folder before a library is asked to load it, and what to do."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import nn

from tilbench.checkpoints.stored import StoredWeights, weight_files
from tilbench.errors import CheckpointError, Unsupported
from tilbench_huggingface.source import CONFIG

__all__ = ["examine", "examine_kind", "examine_weights"]

_POINTER = b"version https://git-lfs"
"""How the file begins that Git LFS leaves in the place of a large one."""
_TOKENIZERS = ("tokenizer.json", "tokenizer.model", "tokenizer_config.json", "vocab.json", "vocab.txt", "spiece.model")
_TOKENIZERS_ALSO = ("*.tiktoken", "*.spm", "*.bpe.model", "tokenization_*.py")


def examine(base: Path, tokenizer: Path) -> None:
    """Raise CheckpointError where files that a model consists of are not there or not what their names say."""
    for folder in dict.fromkeys((base, tokenizer)):
        for file in sorted(folder.iterdir()):
            if file.is_file() and _begins(file, _POINTER):
                raise CheckpointError(
                    f"{file} is a Git LFS pointer and not the file itself; run 'git lfs pull' in {folder}, or copy the "
                    "file from where the model was published"
                )
    weight_files(base)
    named = any((tokenizer / name).is_file() for name in _TOKENIZERS)
    if not named and not any(next(tokenizer.glob(pattern), None) for pattern in _TOKENIZERS_ALSO):
        raise CheckpointError(
            f"{tokenizer} has no tokenizer; copy the tokenizer's files (tokenizer.json, tokenizer_config.json) of the "
            "model that it is, or was made from, beside its weights"
        )


def examine_kind(folder: Path, config: Mapping[str, object]) -> None:
    """Raise Unsupported where a config is of a model that does not continue texts."""
    from transformers import CONFIG_MAPPING
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    kind = config.get("model_type")
    if config.get("is_encoder_decoder"):
        raise Unsupported(
            f"{folder}: {kind} is an encoder–decoder: it reads one text and writes another. Scored are causal language "
            "models, which continue a text; name a decoder-only model"
        )
    if kind in CONFIG_MAPPING and kind not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES and not config.get("auto_map"):
        raise Unsupported(
            f"{folder}: Transformers has no causal language model of type {kind}, and only such models are scored; "
            "name a decoder-only model"
        )


def _begins(file: Path, with_: bytes) -> bool:
    with file.open("rb") as stream:
        return stream.read(len(with_)) == with_


def examine_weights(folder: Path, model: nn.Module) -> None:
    """Raise CheckpointError where a parameter is stored as integers, which a library would convert without a word."""
    if any(file.suffix != ".safetensors" for file in weight_files(folder)):
        return
    prefix = f"{getattr(model, 'base_model_prefix', '')}."
    names = {name for name, _ in model.named_parameters()}
    for name, dtype in StoredWeights(folder).dtypes.items():
        if not dtype.is_floating_point and (name in names or prefix + name in names):
            raise CheckpointError(
                f"{folder}: {name} is stored as integers; save it as fp32, bf16 or fp16, or with the "
                f"quantization_config in {CONFIG} that says how to read it"
            )

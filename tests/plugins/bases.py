"""Small published models to start from: folders of Transformers with tokenizers of their own."""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from tilbench.data.resolve import load_rows
from tilbench.data.rows import Conversation
from tilbench.kinds.language_model import LanguageModel, OpenOptions
from tilbench.kinds.requests import Answer, Continuation, Document, Request
from tilbench.loader import load_plugins
from tilbench.resolve.models import find_model
from tilbench.resolve.tokenizers import load_tokenizer
from tilbench.training.fit import train
from tilbench.training.resolve import resolve_training

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # imports warn of other people's deprecations
    from tokenizers.processors import TemplateProcessing
    from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

REGISTRY = load_plugins().registry
MARKS = ("<|im_start|>", "<|im_end|>", "<start_of_turn>", "<end_of_turn>")
SIZES = {
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 256},
    "llama": {
        **{"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4},
        **{"num_key_value_heads": 2, "max_position_embeddings": 256},
    },
}
ROWS = [
    row
    for row in load_rows("chat", REGISTRY.datasets.get("conversations/en"), None).rows
    if isinstance(row, Conversation)
]
QUESTIONS: Sequence[Request] = (
    Document("The sky is blue, and the sea is deep."),
    Document("Жақсы."),
    Continuation("The sky is", " blue"),
    Continuation("", "Why?"),
)


def published(folder: Path, model_type: str = "gpt2", *, begun: bool = False, seed: int = 0, **sizes: Any) -> Path:
    """Write a random model with a byte-level BPE. begun: its tokenizer puts bos before every text."""
    family = REGISTRY.tokenizers.get("bpe")
    options = {"vocab_size": 500, "special_tokens": MARKS}
    tokenizer = family.train([text for row in ROWS for _, text in row.messages], options)
    folder.mkdir(parents=True)
    tokenizer.save(folder)
    (folder / "tokenizer_family.json").unlink(missing_ok=True)
    wrap: Any = PreTrainedTokenizerFast
    named = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}
    fast = wrap(tokenizer_file=str(folder / "tokenizer.json"), additional_special_tokens=list(MARKS), **named)
    if begun:
        add: Any = TemplateProcessing
        fast.backend_tokenizer.post_processor = add(single="<s> $A", special_tokens=[("<s>", 1)])
    fast.save_pretrained(folder)
    torch.manual_seed(seed)
    ids = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    fields = {"initializer_range": 0.4, **SIZES[model_type], **sizes}
    config = AutoConfig.for_model(model_type, vocab_size=tokenizer.size, **ids, **fields)
    make: Any = AutoModelForCausalLM.from_config
    make(config).save_pretrained(folder)
    return folder


def tuned(base: Path, out: Path, *overrides: str, adapter: bool = True) -> Path:
    """Fine-tune a published model on conversations, on the processor in fp32; return the last checkpoint."""
    fields = json.loads((base / "config.json").read_text(encoding="utf-8"))
    sizes = {name: fields[name] for name in SIZES[fields["model_type"]] if name != "max_position_embeddings"}
    config = {
        "model_type": fields["model_type"],
        "vocab_size": fields["vocab_size"],
        "max_length": 256,
        "config": sizes,
    }
    lora = "{rank: 4, alpha: 8, targets: all-linear}"
    given = [
        f"base={base}",
        f"architecture.config={json.dumps(config)}",
        *("tokenizer.family=huggingface", "tokenizer.options={}", "data=[{dataset: conversations/en}]"),
        *("recipe.steps=2", "recipe.schedule.warmup=0", "recipe.sequence_length=128", "recipe.batch_size=2"),
        *("recipe.chat={template: chatml}", f"recipe.adapter={lora if adapter else 'null'}"),
        *overrides,
    ]
    spec = resolve_training("gemma-3-kazakh-qlora:tiny-sft", REGISTRY, None, given, "cpu")
    return train(spec, REGISTRY, out, progress=False)


def opened(reference: Path | str) -> LanguageModel:
    """Open whatever has answers."""
    options = OpenOptions(load_tokenizer=lambda name: load_tokenizer(name, REGISTRY))
    return find_model(str(reference), REGISTRY, Path("runs")).open(options)


def answers(reference: Path | str, questions: Sequence[Request] = QUESTIONS) -> list[Answer]:
    """Return what a model answers, in the order of the questions."""
    found = {request: answer for batch in opened(reference).answer(questions) for request, answer in batch}
    return [found[request] for request in questions]

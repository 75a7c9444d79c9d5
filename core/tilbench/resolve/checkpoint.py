"""Opens tilbench's own checkpoints: any registered architecture, any registered tokenizer family."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tilbench.checkpoints.folder import (
    INFO,
    RUN,
    CheckpointInfo,
    changed_base,
    checkpoint_fingerprint,
    is_checkpoint,
    read_info,
)
from tilbench.checkpoints.generation import end_tokens, generation_config
from tilbench.config.model import ModelSpec
from tilbench.config.references import parse_spec
from tilbench.errors import CheckpointError, TilbenchError
from tilbench.kinds.language_model import LanguageModel, ModelCard, OpenOptions, WritingDefaults
from tilbench.kinds.requests import RequestKind
from tilbench.kinds.tokenizer import Tokenizer
from tilbench.registry import Registry
from tilbench.resolve.specs import checkpoint_architecture, load_spec, run_spec

if TYPE_CHECKING:
    from tilbench.scoring.encode.reader import Reader

__all__ = ["CheckpointLoader"]


class CheckpointLoader:
    """Opens a checkpoint folder by what its `tilbench.json` names."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def recognises(self, reference: str) -> bool:
        """Say whether `reference` is a checkpoint folder."""
        return is_checkpoint(Path(reference))

    def card(self, reference: str, options: OpenOptions) -> ModelCard:
        """Describe the checkpoint from its files, without reading weights."""
        folder = Path(reference)
        info = read_info(folder)
        tokenizer = self._tokenizer(folder, info)
        prefix = self._prefix(info, options, tokenizer)
        _, config = checkpoint_architecture(info, folder, self._registry)
        return ModelCard(
            name=info.model,
            fingerprint=checkpoint_fingerprint(folder, prefix=str(prefix), dtype=options.dtype),
            supports=frozenset(RequestKind),
            parameters=info.parameters,
            step=info.step,
            prefix=str(prefix),
            tokenizer=tokenizer.fingerprint,
            max_length=config.max_length,
            lineage=info.lineage,
            details={
                "spec": info.model,
                "architecture": info.architecture.name,
                "trained_tokens": info.tokens,
                **({"base": why} if (why := changed_base(folder)) else {}),
                **({"decoder": why} if (why := getattr(tokenizer, "undecodable", "")) else {}),
            },
        )

    def open(self, reference: str, options: OpenOptions) -> LanguageModel:
        """Load weights and tokenizer. Raises CheckpointError where they do not fit together."""
        import torch

        from tilbench.scoring.engine import TorchLanguageModel

        folder = Path(reference)
        info = read_info(folder)
        if why := changed_base(folder):
            warnings.warn(why, stacklevel=2)
        architecture, config = checkpoint_architecture(info, folder, self._registry)
        tokenizer = self._tokenizer(folder, info)
        module = architecture.load(config, folder, dtype=getattr(torch, options.dtype))
        module.to(options.device).eval()
        prefix = self._prefix(info, options, tokenizer)
        return TorchLanguageModel(self.card(reference, options), module, tokenizer, prefix, options, end_tokens(folder))

    def reader(self, reference: str, options: OpenOptions) -> Reader:
        """Return how the checkpoint reads text, from its files and without its weights."""
        from tilbench.scoring.encode.reader import Reader

        folder = Path(reference)
        info = read_info(folder)
        tokenizer = self._tokenizer(folder, info)
        _, config = checkpoint_architecture(info, folder, self._registry)
        return Reader(tokenizer, self._prefix(info, options, tokenizer), config.max_length, config.vocab_size)

    def defaults(self, reference: str) -> WritingDefaults:
        """Return what the spec says of writing; where it says nothing, what generation_config.json does."""
        folder = Path(reference)
        recorded = generation_config(folder)
        spec, origin = self._spec(folder)
        chat = spec.recipe.chat if spec and spec.recipe else None
        said = read_info(folder).chat
        if said and not (chat and chat.template == said):  # a spec that it was tuned from with changes, or none
            recorded = replace(recorded, template=said, template_origin=str(folder / INFO))
        if spec is None:
            return recorded
        known = WritingDefaults(
            generation=spec.generation,
            origin=f"the generation settings of {origin}",
            template=recorded.template or (chat.template if chat else ""),
            template_origin=recorded.template_origin or (f"the recipe of {origin}" if chat else ""),
        )
        return known if spec.generation else replace(known, generation=recorded.generation, origin=recorded.origin)

    def _spec(self, folder: Path) -> tuple[ModelSpec | None, str]:
        """Return the spec that a checkpoint was trained from, as its run or the registry has it, and which that is."""
        run, label = folder.parent / RUN, read_info(folder).model
        if run.is_file():
            return run_spec(folder.parent), str(run)
        try:
            return load_spec(parse_spec(label), self._registry), f"the spec {label}"
        except TilbenchError:  # a name that nobody registered here
            return None, ""

    def _tokenizer(self, folder: Path, info: CheckpointInfo) -> Tokenizer:
        tokenizer: Tokenizer = self._registry.tokenizers.get(info.tokenizer).load(str(folder))
        return tokenizer

    def _prefix(self, info: CheckpointInfo, options: OpenOptions, tokenizer: Tokenizer) -> Any:
        from tilbench.scoring.encode.prefix import Prefix

        choices = {"bos": tokenizer.special.bos, "eos": tokenizer.special.eos, "none": None, "": info.prefix}
        if options.prefix not in choices:
            raise TilbenchError(f"prefix {options.prefix!r}: choose bos, eos or none")
        token = choices[options.prefix]
        if options.prefix in ("bos", "eos") and token is None:
            raise CheckpointError(f"{info.model} at step {info.step}: the tokenizer has no {options.prefix} token")
        contexts = token is not None and (info.prefix_contexts or bool(options.prefix))
        return Prefix(token, contexts=contexts, label="none" if token is None else f"id {token}")

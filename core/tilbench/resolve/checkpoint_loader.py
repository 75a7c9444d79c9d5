"""The loader of our own checkpoints: any registered architecture, any registered tokenizer family."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from tilbench.checkpoints.folder import INFO, RUN, changed_base, checkpoint_fingerprint, is_checkpoint
from tilbench.checkpoints.generation import end_tokens, read_generation_config
from tilbench.config.model import ModelSpec
from tilbench.config.references import parse_spec
from tilbench.errors import CheckpointError, PluginError, TilbenchError
from tilbench.kinds.architecture import Decoder
from tilbench.kinds.capabilities.tokenizer import MayNotDecode
from tilbench.kinds.language_model import LanguageModel, ModelCard, OpenOptions, WritingDefaults
from tilbench.kinds.requests import RequestKind
from tilbench.kinds.tokenizer import Tokenizer
from tilbench.registry import Registry
from tilbench.resolve.checkpoint import Checkpoint
from tilbench.resolve.specs import load_spec

if TYPE_CHECKING:
    from tilbench.scoring.encode.prefix import Prefix
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
        return _card(Checkpoint.open(Path(reference), self._registry), options)

    def open(self, reference: str, options: OpenOptions) -> LanguageModel:
        """Load weights and tokenizer. Raises CheckpointError where they do not fit together."""
        import torch

        from tilbench.scoring.engine import TorchLanguageModel

        checkpoint = Checkpoint.open(Path(reference), self._registry)
        if why := changed_base(checkpoint.folder):
            warnings.warn(why, stacklevel=2)
        dtype = getattr(torch, options.dtype)
        module = checkpoint.architecture.load(checkpoint.config, checkpoint.folder, dtype=dtype)
        if not isinstance(module, Decoder):
            made = f"architecture {checkpoint.info.architecture.name!r} makes a {type(module).__name__}"
            raise PluginError(f"{made}, which is no decoder (tilbench.kinds.architecture.Decoder)")
        module.to(options.device).eval()
        ends = end_tokens(checkpoint.folder)
        prefix = _prefix(checkpoint, options)
        return TorchLanguageModel(_card(checkpoint, options), module, checkpoint.tokenizer, prefix, options, ends)

    def reader(self, reference: str, options: OpenOptions) -> Reader:
        """Return how the checkpoint reads text, from its files and without its weights."""
        from tilbench.scoring.encode.reader import Reader

        checkpoint = Checkpoint.open(Path(reference), self._registry)
        config = checkpoint.config
        return Reader(checkpoint.tokenizer, _prefix(checkpoint, options), config.max_length, config.vocab_size)

    def defaults(self, reference: str) -> WritingDefaults:
        """Return the decoding settings and the chat template that the model comes with.

        Settings are those of the folder's generation_config.json, else of the spec. A merged or imported checkpoint may
        have others than the spec that it is called by, and somebody may have put a file beside the weights of a run.
        """
        checkpoint = Checkpoint.open(Path(reference), self._registry)
        recorded = read_generation_config(checkpoint.folder)
        spec, origin = self._spec(checkpoint)
        chat = spec.recipe.chat if spec and spec.recipe else None
        said = checkpoint.info.chat
        if said and not (chat and chat.template == said):  # a spec that it was tuned from with changes, or none
            recorded = replace(recorded, template=said, template_origin=str(checkpoint.folder / INFO))
        if spec is None:
            return recorded
        known = WritingDefaults(
            generation=spec.generation,
            origin=f"the generation settings of {origin}",
            template=recorded.template or (chat.template if chat else ""),
            template_origin=recorded.template_origin or (f"the recipe of {origin}" if chat else ""),
        )
        if recorded.generation:
            return replace(known, generation=recorded.generation, origin=recorded.origin)
        return known

    def _spec(self, checkpoint: Checkpoint) -> tuple[ModelSpec | None, str]:
        """Return the spec that a checkpoint was trained from, as its run or the registry has it, and which that is."""
        if checkpoint.run_spec is not None:
            return checkpoint.run_spec, str(checkpoint.folder.parent / RUN)
        label = checkpoint.info.model
        try:
            return load_spec(parse_spec(label), self._registry), f"the spec {label}"
        except TilbenchError:  # a name that nobody registered here
            return None, ""


def _card(checkpoint: Checkpoint, options: OpenOptions) -> ModelCard:
    info, folder = checkpoint.info, checkpoint.folder
    prefix = _prefix(checkpoint, options)
    return ModelCard(
        name=info.model,
        fingerprint=checkpoint_fingerprint(folder, prefix=str(prefix), dtype=options.dtype),
        supports=frozenset(RequestKind),
        parameters=info.parameters,
        step=info.step,
        prefix=str(prefix),
        tokenizer=checkpoint.tokenizer.fingerprint,
        max_length=checkpoint.config.max_length,
        lineage=info.lineage,
        details={
            "spec": info.model,
            "architecture": info.architecture.name,
            "trained_tokens": info.tokens,
            **({"base": why} if (why := changed_base(folder)) else {}),
            **({"decoder": why} if (why := _undecodable(checkpoint.tokenizer)) else {}),
        },
    )


def _prefix(checkpoint: Checkpoint, options: OpenOptions) -> Prefix:
    """Return the prefix that documents begin with. Raises CheckpointError for a token that the tokenizer lacks."""
    from tilbench.scoring.encode.prefix import Prefix

    info, special = checkpoint.info, checkpoint.tokenizer.special
    choices = {"bos": special.bos, "eos": special.eos, "none": None, "": info.prefix}
    if options.prefix not in choices:
        raise TilbenchError(f"prefix {options.prefix!r}: choose bos, eos or none")
    token = choices[options.prefix]
    if options.prefix in ("bos", "eos") and token is None:
        raise CheckpointError(f"{info.model} at step {info.step}: the tokenizer has no {options.prefix} token")
    contexts = token is not None and (info.prefix_contexts or bool(options.prefix))
    return Prefix(token, contexts=contexts, label="none" if token is None else f"id {token}")


def _undecodable(tokenizer: Tokenizer) -> str:
    return tokenizer.undecodable if isinstance(tokenizer, MayNotDecode) else ""

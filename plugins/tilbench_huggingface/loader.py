"""Opens Transformers folders, peft adapters and models of the Hub."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from tilbench.checkpoints.generation import chat_template, end_tokens, read_generation_config
from tilbench.errors import CheckpointError, Unsupported
from tilbench.kinds.language_model import LanguageModel, ModelCard, OpenOptions, Published, WritingDefaults
from tilbench_huggingface.source import Source, recognises, resolve

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from tilbench.scoring.encode.prefix import Prefix
    from tilbench.scoring.encode.reader import Reader

__all__ = ["HuggingFaceLoader"]


class HuggingFaceLoader:
    """The loader of everything that Transformers and peft write."""

    def recognises(self, reference: str) -> bool:
        """Say whether a reference is a Transformers or peft folder, or `hf:org/name[@revision]`."""
        return recognises(reference)

    def card(self, reference: str, options: OpenOptions) -> ModelCard:
        """Describe the model; one on the Hub is downloaded."""
        source = _source(reference, options)
        return _card(source, _prefix(source, options), options)

    def published(self, reference: str, options: OpenOptions) -> Published:
        """Return the files of the model; one on the Hub is downloaded, and no Python of it is run.

        Raises Unsupported for an adapter.
        """
        from tilbench_huggingface.library import require

        require("transformers", reference)
        source = resolve(reference)
        if source.adapter is not None:
            raise Unsupported(f"{reference} is an adapter, which is no model of its own; merge it with peft first")
        prefix = _prefix(source, options)
        return Published(
            name=source.name,
            folder=source.base,
            tokenizer=source.tokenizer,
            fields=source.config,
            prefix=prefix.id,
            contexts=prefix.contexts,
            fingerprint=source.fingerprint(),
        )

    def open(self, reference: str, options: OpenOptions) -> LanguageModel:
        """Load the model. Raises CheckpointError where its parts do not fit together."""
        import torch

        from tilbench.scoring.engine import TorchLanguageModel
        from tilbench_huggingface.decoder import HuggingFaceDecoder
        from tilbench_huggingface.weights import load_adapter, load_model

        source = _source(reference, options)
        prefix = _prefix(source, options)
        card = _card(source, prefix, options)
        base = load_model(
            source.base,
            dtype=getattr(torch, options.dtype),
            device=options.device,
            trust_remote_code=options.trust_remote_code,
        )
        model = load_adapter(base, source.adapter) if source.adapter else base
        try:
            decoder = HuggingFaceDecoder(model).eval()
        except Unsupported as error:
            raise Unsupported(f"{source.base}: {error}") from error
        tokenizer = options.load_tokenizer(str(source.tokenizer))
        return TorchLanguageModel(card, decoder, tokenizer, prefix, options, end_tokens(source.base))

    def reader(self, reference: str, options: OpenOptions) -> Reader:
        """Return how the model reads text, from its files and without its weights."""
        from tilbench.scoring.encode.reader import Reader
        from tilbench_huggingface.decoder import context_length
        from tilbench_huggingface.weights import meta_model

        source = _source(reference, options)
        config = meta_model(source.base, trust_remote_code=options.trust_remote_code).config
        tokenizer = options.load_tokenizer(str(source.tokenizer))
        return Reader(tokenizer, _prefix(source, options), context_length(config), config.get_text_config().vocab_size)

    def defaults(self, reference: str) -> WritingDefaults:
        """Return what generation_config.json and the tokenizer's chat template say; the template is not run."""
        source = resolve(reference)
        template, origin = chat_template(source.tokenizer)
        return replace(read_generation_config(source.base), template=template, template_origin=origin)


def _source(reference: str, options: OpenOptions) -> Source:
    from tilbench_huggingface.library import require

    require("transformers", reference)
    from tilbench_huggingface.examine import examine, examine_kind

    source = resolve(reference, code=options.trust_remote_code)
    examine_kind(source.base, source.config)
    examine(source.base, source.tokenizer)
    if source.config.get("auto_map") and not options.trust_remote_code and not _known(source):
        raise CheckpointError(f"{reference} runs Python of its own; read it, then allow it with --trust-remote-code")
    return source


def _known(source: Source) -> bool:
    """Say whether Transformers itself has the class."""
    from transformers import CONFIG_MAPPING

    return source.config.get("model_type") in CONFIG_MAPPING


def _prefix(source: Source, options: OpenOptions) -> Prefix:
    from tilbench_huggingface.prefix import read_prefix

    return read_prefix(source.tokenizer, source.config, options.prefix, trust_remote_code=options.trust_remote_code)


def _card(source: Source, prefix: Prefix, options: OpenOptions) -> ModelCard:
    from tilbench.scoring.engine import SUPPORTED
    from tilbench_huggingface.decoder import context_length
    from tilbench_huggingface.weights import adapter_shapes, count, meta_model

    model = meta_model(source.base, trust_remote_code=options.trust_remote_code)
    parameters = count(model)
    lineage: tuple[str, ...] = ()
    if source.adapter:
        for shape in adapter_shapes(source.adapter).values():
            size = 1
            for side in shape:
                size *= side
            parameters += size
        lineage = (Source("", source.base).fingerprint(),)
    return ModelCard(
        name=source.name,
        fingerprint=source.fingerprint(prefix=[prefix.id, prefix.contexts], dtype=options.dtype),
        supports=SUPPORTED,
        parameters=parameters,
        prefix=str(prefix),
        tokenizer=options.load_tokenizer(str(source.tokenizer)).fingerprint,
        max_length=context_length(model.config),
        lineage=lineage,
        details=_details(source, model, options),
    )


def _details(source: Source, model: PreTrainedModel, options: OpenOptions) -> dict[str, str]:
    """Return what a record says of the libraries' part: the class, and where they read the tokenizer differently."""
    from tilbench_huggingface.auto_tokenizer import differences, open_auto

    tokenizer = open_auto(source.tokenizer, trust_remote_code=options.trust_remote_code)
    said = differences(tokenizer, source.tokenizer)
    undecodable: str = getattr(options.load_tokenizer(str(source.tokenizer)), "undecodable", "")
    details = {"class": type(model).__name__, "tokenizer": said or "", "decoder": undecodable}
    return {name: text for name, text in details.items() if text}

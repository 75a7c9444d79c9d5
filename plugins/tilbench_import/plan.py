"""Importing: published weights → a checkpoint of ours that every command takes.

A Transformers folder (or `hf:org/name@revision`) says by its `config.json` what it is. A file of weights alone is read
for a model spec, or by a sidecar with the fields of `tilbench.json`: `NAME.json` or `metadata.json` beside it.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pydantic
import torch
from torch import Tensor

from tilbench.checkpoints.folder import INFO, CheckpointInfo, is_checkpoint, is_run, write_info
from tilbench.checkpoints.generation import GENERATION
from tilbench.checkpoints.stored import SUFFIXES, StoredWeights
from tilbench.config.base import first_fault
from tilbench.config.model import ArchitectureRef, TokenizerRef
from tilbench.config.references import parse_spec
from tilbench.errors import CheckpointError, ConfigError, Unsupported
from tilbench.kinds.architecture import Architecture, DecoderConfig
from tilbench.kinds.capabilities.architecture import ReadsTransformers
from tilbench.kinds.capabilities.loader import ReadsPublished
from tilbench.kinds.language_model import OpenOptions, Published
from tilbench.kinds.tokenizer import Tokenizer, ids_beyond
from tilbench.paths import atomic_folder, file_digest, refuse_existing
from tilbench.registry import Registry
from tilbench.resolve.specs import load_spec
from tilbench.resolve.tokenizers import load_tokenizer
from tilbench_import.match import Options
from tilbench_import.state import Row, StateMap, left_over, map_state, native_shapes

__all__ = ["Asked", "Import", "plan_import", "write_import"]

_STEP = re.compile(r"step[_-]?(\d+)")


@dataclass(frozen=True, slots=True)
class Asked:
    """What a user says of the source; all but `prefix` and `step` are for files of weights alone.

    model: spec that the weights are of, with `overrides`. tokenizer: reference. prefix: bos, eos or none; empty reads
    it from the source. step: of the training; None takes the number after `step` in the file's name, else 0.
    """

    model: str = ""
    overrides: Sequence[str] = ()
    tokenizer: str = ""
    prefix: str = ""
    step: int | None = None
    options: Options = field(default_factory=Options)


@dataclass(frozen=True, slots=True, kw_only=True)
class Import:
    """A planned import. weights: reads our state dict. rows, set_aside, notes: how it is made from theirs.

    writing: the generation_config.json that it comes with, if any, which goes with it. rotary: whether the weights
    depend on which rows rotary positions turn together, and neighbours: whether those are taken to be 2i and 2i + 1.
    """

    info: CheckpointInfo
    architecture: Architecture
    config: DecoderConfig
    tokenizer: Tokenizer
    weights: Callable[[], dict[str, Tensor]]
    rows: Sequence[Row]
    set_aside: Sequence[str]
    notes: Sequence[str]
    writing: Path | None = None
    rotary: bool = False
    neighbours: bool = False


def plan_import(source: str, registry: Registry, asked: Asked) -> Import:
    """Return how `source` becomes a checkpoint; nothing is written.

    Raises CheckpointError where weights, config and tokenizer do not fit or leave a choice, Unsupported where no
    architecture of ours is meant.
    """
    path = Path(source).expanduser()
    if path.is_file():
        return _file(path, registry, asked)
    if is_checkpoint(path) or is_run(path):
        raise CheckpointError(f"{source} is a checkpoint of ours already; name it as it is")
    options = OpenOptions(prefix=asked.prefix, load_tokenizer=partial(load_tokenizer, registry=registry))
    for _, loader in registry.loaders.all():
        if isinstance(loader, ReadsPublished) and loader.recognises(source):
            return _published(source, loader.published(source, options), registry, asked)
    if not path.exists():
        raise CheckpointError(f"{source}: no such file or folder; the Hub's models are hf:org/name")
    files = sorted(each.name for each in path.iterdir() if each.suffix in SUFFIXES)
    fix = f"name one of its files: {', '.join(files[:4])}" if files else "no file of weights is in it either"
    raise CheckpointError(f"{source} has no config.json of Transformers; {fix}")


def write_import(plan: Import, out: Path) -> Path:
    """Read the weights, check them, write the checkpoint into `out`, and return it.

    Raises DataError for an `out` that exists, CheckpointError for weights that are not finite or do not make up the
    model.
    """
    refuse_existing(out)
    with torch.device("meta"):
        module = plan.architecture.build(plan.config)
    module.load_state_dict(plan.weights(), assign=True)
    count = sum(parameter.numel() for parameter in module.parameters())
    if count != plan.info.parameters:
        raise CheckpointError(f"the weights have {count:,} parameters, and the model {plan.info.parameters:,}")
    with atomic_folder(out) as aside:
        plan.architecture.save(module, aside)
        plan.tokenizer.save(aside)
        write_info(aside, plan.info)
        if plan.writing:
            shutil.copyfile(plan.writing, aside / GENERATION)
    return out


def _published(source: str, found: Published, registry: Registry, asked: Asked) -> Import:
    if asked.model or asked.overrides or asked.tokenizer or asked.options != Options():
        raise ConfigError(
            f"{source} has a config.json, which says what it is; --model, --set, --tokenizer, --map, --rotary and "
            "--transposed are for files of weights alone"
        )
    kind = found.fields.get("model_type")
    known = {
        each.transformers_type: (name, each)
        for name, each in registry.architectures.all()
        if isinstance(each, ReadsTransformers)
    }
    if kind not in known:
        there = ", ".join(sorted(known))
        raise Unsupported(
            f"{source}: no architecture of ours reads model_type {kind!r} (known: {there}); every command takes the "
            "folder as it is, so leave out the import"
        )
    name, architecture = known[kind]
    stored = StoredWeights(found.folder)
    config, state = _checked(partial(architecture.read_transformers, found.fields, stored), source)
    aside = left_over(stored)
    for ours, shape in native_shapes(architecture, config).items():
        if tuple(state[ours].shape) != shape:
            raise CheckpointError(
                f"{source}: its weights make {ours} {list(state[ours].shape)}, and by config.json it is {list(shape)}"
            )
    tokenizer = load_tokenizer(str(found.tokenizer), registry)
    info = CheckpointInfo(
        model=found.name,
        architecture=ArchitectureRef(name=name, config=config.model_dump()),
        tokenizer=tokenizer.family,
        prefix=found.prefix,
        prefix_contexts=found.contexts,
        parameters=architecture.parameters(config),
        step=asked.step or 0,
        lineage=(found.fingerprint,),
    )
    writing = found.folder / GENERATION
    plan = Import(
        info=info,
        architecture=architecture,
        config=config,
        tokenizer=tokenizer,
        weights=lambda: state,
        rows=(),
        set_aside=aside,
        notes=(f"names and shapes are those of Transformers' {kind}",),
        writing=writing if writing.is_file() else None,
    )
    return _fitted(plan, source)


def _file(path: Path, registry: Registry, asked: Asked) -> Import:
    stored = StoredWeights(path)
    sidecar = None if asked.model else _sidecar(path)
    if sidecar is not None:
        label, ref, reference = sidecar.model, sidecar.architecture, None
        if asked.overrides:
            raise ConfigError(f"the file beside {path} says what the weights are; --set needs --model")
    else:
        spec = load_spec(parse_spec(asked.model), registry, asked.overrides)
        label, ref, reference = parse_spec(asked.model).label, spec.architecture, spec.tokenizer
    architecture = registry.architectures.get(ref.name)
    config = _checked(lambda: architecture.Config(**ref.config), label)
    found = map_state(stored, architecture, config, asked.options)
    config, notes = _activation(config, found, asked)
    tokenizer = _tokenizer(path, registry, asked.tokenizer, reference, sidecar)
    prefix, contexts = _prefix(tokenizer, asked.prefix, sidecar)
    named = _STEP.search(path.stem)
    step = sidecar.step if sidecar else int(named[1]) if named else 0
    info = CheckpointInfo(
        model=label,
        architecture=ArchitectureRef(name=ref.name, config=config.model_dump()),
        tokenizer=tokenizer.family,
        prefix=prefix,
        prefix_contexts=contexts,
        parameters=architecture.parameters(config),
        step=step if asked.step is None else asked.step,
        tokens=sidecar.tokens if sidecar else 0,
        lineage=(*(sidecar.lineage if sidecar else ()), file_digest(path)),
    )
    plan = Import(
        info=info,
        architecture=architecture,
        config=config,
        tokenizer=tokenizer,
        weights=found.weights,
        rows=found.rows,
        set_aside=found.set_aside,
        notes=found.notes + notes,
        rotary=found.rotary,
        neighbours=found.neighbours,
    )
    return _fitted(plan, str(path))


def _activation(config: Any, found: StateMap, asked: Asked) -> tuple[Any, tuple[str, ...]]:
    """Return the config with the activation that the file's names mean, unless the user says one, and a note of it."""
    activation, why = found.activation
    said = any(each.startswith("architecture.config.activation=") for each in asked.overrides)
    if not activation or said or not hasattr(config, "activation"):
        return config, ()
    return config.model_copy(update={"activation": activation}), (why,)


def _fitted(plan: Import, source: str) -> Import:
    """Return the plan. Raises CheckpointError for a tokenizer that the embedding has too few rows for."""
    if reason := ids_beyond(plan.tokenizer, plan.config.vocab_size):
        raise CheckpointError(f"{source}: {reason}; it is not the one that the model was trained with")
    return plan


def _checked(make: Callable[[], Any], source: str) -> Any:
    """Return what `make` does, a fault of a config said in one line."""
    try:
        return make()
    except pydantic.ValidationError as error:
        raise CheckpointError(f"{source}: config: {first_fault(error)}") from None
    except (RuntimeError, IndexError) as error:  # what torch makes of shapes that do not go together
        raise CheckpointError(f"{source}: weights and config.json do not fit together: {error}") from None


def _sidecar(path: Path) -> CheckpointInfo:
    """Return what the file beside the weights says of them. Raises CheckpointError where there is none that does."""
    own = path.with_suffix(".json")
    beside = own if own.is_file() else path.with_name("metadata.json")
    fix = "say which model it is with --model NAME[:VARIANT], whose sizes --set can change"
    if not beside.is_file():
        raise CheckpointError(f"{path} holds weights alone; {fix}")
    try:
        content = json.loads(beside.read_text(encoding="utf-8"))
        return CheckpointInfo(**{name: content[name] for name in CheckpointInfo.model_fields if name in content})
    except (OSError, ValueError, TypeError) as error:  # pydantic's is a ValueError
        why = error.errors()[0]["msg"] if isinstance(error, pydantic.ValidationError) else str(error)
        raise CheckpointError(f"{beside} does not have the fields of {INFO} ({why}); {fix}") from None


def _tokenizer(
    path: Path, registry: Registry, reference: str, spec: TokenizerRef | None, sidecar: CheckpointInfo | None
) -> Tokenizer:
    """Return the tokenizer: the one named, one beside the weights, or the one that the spec names."""
    if reference:
        return load_tokenizer(reference, registry)
    beside = str(path.parent)
    families = dict(registry.tokenizers.all())
    wanted = [sidecar.tokenizer] if sidecar else list(families)
    for name in (name for name in wanted if name in families):
        if families[name].recognises(beside):
            tokenizer: Tokenizer = families[name].load(beside)
            return tokenizer
    if spec is not None and (spec.reference or not registry.tokenizers.get(spec.family).trainable):
        try:
            own: Tokenizer = registry.tokenizers.get(spec.family).load(spec.reference or spec.family)
        except CheckpointError as error:
            raise CheckpointError(f"{error}; or name the tokenizer with --tokenizer") from None
        return own
    raise CheckpointError(
        f"{path}: name the tokenizer that the model was trained with, with --tokenizer: a folder, a .tiktoken or "
        "SentencePiece .model file, hf:org/name or mistral:NAME"
    )


def _prefix(tokenizer: Tokenizer, asked: str, sidecar: CheckpointInfo | None) -> tuple[int | None, bool]:
    """Return the id that stands before texts, and whether before contexts too.

    Weights alone do not say what their texts began with: then it conditions whole documents only, bos or, where there
    is none, eos, as a Transformers folder is read whose tokenizer adds nothing.
    """
    known = {"bos": tokenizer.special.bos, "eos": tokenizer.special.eos}
    if asked == "none":
        return None, False
    if asked:
        if known[asked] is None:
            raise CheckpointError(f"the tokenizer has no {asked} token; choose another --prefix")
        return known[asked], True
    if sidecar is not None:
        return sidecar.prefix, sidecar.prefix_contexts
    for token in known.values():
        if token is not None:
            return token, False
    raise CheckpointError(
        "the tokenizer has neither bos nor eos; choose --prefix none, with which the first token of a text costs "
        "log2(vocabulary size) bits"
    )

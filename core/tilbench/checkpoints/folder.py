"""The files of a checkpoint folder, and how a run's folder is searched for one.

runs/a/                    a run
    run.json               what was asked for (spec, recipe, data)
    log.jsonl              telemetry, one step a line
    records/               of the suite that the recipe evaluates while it trains
    tensorboard/           the log as event files, where the recipe asks for them
    step-00000060/         a checkpoint
        tilbench.json      `CheckpointInfo`
        model.safetensors  weights (an adapter's folder has peft's files instead)
        tokenizer …        whatever the tokenizer's family writes
        training/          optimizer, random state and position, for going on
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pydantic

from tilbench.checkpoints.referenced import adapter_base, outside, weights_digest
from tilbench.config.base import Schema
from tilbench.config.model import ArchitectureRef
from tilbench.config.references import split_step, without_step
from tilbench.errors import CheckpointError
from tilbench.paths import file_digest
from tilbench.version import __version__

__all__ = [
    "INFO",
    "CheckpointInfo",
    "changed_base",
    "checkpoint_fingerprint",
    "checkpoints",
    "find_checkpoint",
    "is_checkpoint",
    "is_run",
    "model_folder",
    "read_info",
    "read_json",
    "step_folder",
    "write_info",
]

INFO = "tilbench.json"
RUN = "run.json"
_STEP = re.compile(r"step-(\d{8})")


class CheckpointInfo(Schema):
    """What `tilbench.json` says of a checkpoint."""

    format: int = 1
    model: str
    """Label of the spec, such as `til-mini-1b:tiny`."""
    architecture: ArchitectureRef
    tokenizer: str
    """Family that loads the tokenizer from this folder."""
    prefix: int | None
    """Id of the token that every document began with in training; None where there was none."""
    prefix_contexts: bool = True
    """Whether it stands before the context of a continuation too; otherwise before whole documents only."""
    parameters: int
    step: int
    tokens: int = 0
    """Training tokens seen."""
    run: str = ""
    """Digest of the resolved spec and data that this checkpoint was trained from."""
    lineage: tuple[str, ...] = ()
    """Fingerprints of earlier checkpoints that training started from."""
    chat: str = ""
    """Chat template (`tilbench.text.chat`) of the conversations that it was tuned on; empty where it was not."""
    base_weights: str = ""
    """Digest of the weights that the adapter in this folder was trained on, where they lie elsewhere."""
    tilbench: str = __version__


def step_folder(run: Path, step: int) -> Path:
    """Return the folder of a run's checkpoint at `step`."""
    return run / f"step-{step:08d}"


def is_checkpoint(folder: Path) -> bool:
    """Say whether `folder` is a checkpoint of ours."""
    return (folder / INFO).is_file()


def is_run(folder: Path) -> bool:
    """Say whether `folder` is the folder of a run."""
    return (folder / RUN).is_file() or bool(checkpoints(folder))


def checkpoints(run: Path) -> list[Path]:
    """Return the checkpoints of a run, oldest first."""
    if not run.is_dir():
        return []
    return sorted(path for path in run.iterdir() if _STEP.fullmatch(path.name) and is_checkpoint(path))


def model_folder(reference: str) -> tuple[Path, int | None] | None:
    """Return the run or checkpoint of ours that `FOLDER` or `FOLDER@STEP` names, and the step; None where it is none.

    Raises ConfigError where the folder is one of ours and the step is no number.
    """
    for name in dict.fromkeys((reference, without_step(reference))):
        folder = Path(name).expanduser()
        if name and (is_run(folder) or is_checkpoint(folder)):
            return folder, None if name == reference else split_step(reference)[1]
    return None


def find_checkpoint(folder: Path, step: int | None = None) -> Path:
    """Return the checkpoint that `folder` is, or the last (or `step`'s) one of the run that it is.

    Raises CheckpointError that says what is there.
    """
    if not folder.exists():
        raise CheckpointError(f"{folder}: no such folder; train one with 'tilbench train SPEC --out {folder}'")
    if is_checkpoint(folder):
        if step is not None and read_info(folder).step != step:
            raise CheckpointError(f"{folder} is the checkpoint of step {read_info(folder).step}, not of step {step}")
        return folder
    found = checkpoints(folder)
    if not found:
        raise CheckpointError(
            f"{folder} holds no checkpoint of ours: neither {INFO} nor a step-… folder is in it; a model of other "
            f"tools is imported first: 'tilbench import {folder} --out FOLDER'"
        )
    if step is None:
        return found[-1]
    steps = [int(path.name.removeprefix("step-")) for path in found]
    if step not in steps:
        raise CheckpointError(f"{folder} has no checkpoint of step {step}; it has {', '.join(map(str, steps))}")
    return found[steps.index(step)]


def write_info(folder: Path, info: CheckpointInfo) -> None:
    """Write `tilbench.json` into a folder that is being made."""
    (folder / INFO).write_text(info.model_dump_json(indent=2) + "\n", encoding="utf-8")


def read_info(folder: Path) -> CheckpointInfo:
    """Read `tilbench.json`. Raises CheckpointError in one line."""
    path = folder / INFO
    try:
        return CheckpointInfo.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from None
    except pydantic.ValidationError as error:
        fault = error.errors()[0]
        where = ".".join(map(str, fault["loc"]))
        raise CheckpointError(
            f"{path}: {where or 'the file'}: {fault['msg']}; it was not written by tilbench"
        ) from None


def changed_base(folder: Path) -> str:
    """Say in one line that the adapter in `folder` was trained on other weights than its base has now; empty if not."""
    wanted, base = read_info(folder).base_weights, adapter_base(folder)
    if not wanted or base is None or weights_digest(base) == wanted:
        return ""
    return (
        f"{folder}: the base {base} has other weights than those that the adapter was trained on; put those back, or "
        "train an adapter on the new ones"
    )


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object. Raises CheckpointError in one line."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise CheckpointError(f"{path} is not JSON ({' '.join(str(error).split())}); copy it again") from None
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} holds no JSON object")
    return content


def checkpoint_fingerprint(folder: Path, **extra: object) -> str:
    """Return a digest of everything that decides the answers of the model in `folder`, and of `extra`.

    What its files refer to elsewhere (`tilbench.checkpoints.referenced`) is in it: an adapter on other weights is
    another model. Training state and logs are left out, and so is any file that no loader reads.
    """
    return _fingerprint(folder, extra, frozenset())


def _fingerprint(folder: Path, extra: Mapping[str, object], above: frozenset[Path]) -> str:
    digest = hashlib.sha256(json.dumps(extra, sort_keys=True, default=str).encode())
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder)
        if path.is_file() and relative.parts[0] != "training" and path.suffix in _DECISIVE:
            digest.update(f"{relative.as_posix()}\0{file_digest(path)}\0".encode())
    above |= {folder.resolve()}
    for name, place in outside(folder):
        if place.resolve() not in above:
            found = file_digest(place) if place.is_file() else _fingerprint(place, {}, above)
            digest.update(f"{name}\0{found}\0".encode())
    return digest.hexdigest()


_DECISIVE = frozenset({".json", ".safetensors", ".bin", ".pt", ".model", ".tiktoken", ".txt", ".jinja", ".py"})

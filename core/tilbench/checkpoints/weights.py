"""Weights on disk: one safetensors file per checkpoint, read strictly and without a second copy in memory.

Names on disk are those of the plain module: what wrappers add (`torch.compile`, data parallelism, activation
checkpointing) is never written, and is stripped from files that have it.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from tilbench.errors import CheckpointError
from tilbench.paths import atomic_path

__all__ = [
    "WEIGHTS_FILE",
    "damaged",
    "load_torch_weights",
    "load_weights",
    "plain_names",
    "refuse_not_finite",
    "save_weights",
    "torch_weights",
]

WEIGHTS_FILE = "model.safetensors"

_WRAPPERS = frozenset({"_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"})


def plain_names(names: Iterable[str]) -> dict[str, str]:
    """Map each name of a state dict to its name without wrappers.

    `_orig_mod.` and its kin go wherever they stand (a block may be compiled alone). `module.`, which can be a
    part's honest name, goes only from the front and only where every name has it.
    Raises CheckpointError where two names become one.
    """
    plain = {name: ".".join(part for part in name.split(".") if part not in _WRAPPERS) for name in names}
    while plain and all(name.startswith("module.") for name in plain.values()):
        plain = {name: short.removeprefix("module.") for name, short in plain.items()}
    if len(set(plain.values())) < len(plain):
        seen: set[str] = set()
        twice = next(short for short in plain.values() if short in seen or seen.add(short))  # type: ignore[func-returns-value]
        raise CheckpointError(f"weight {twice!r} is there twice, with and without a wrapper's prefix")
    return plain


def save_weights(module: nn.Module, path: Path) -> None:
    """Write the parameters and persistent buffers of `module` to `path`, atomically, as safetensors.

    path: the file, or a folder to put `model.safetensors` in. Tied weights are stored once, under the first
    of their names. Raises CheckpointError for a module on the meta device.
    """
    state = module.state_dict()
    plain = plain_names(state)
    stored: dict[tuple[object, ...], Tensor] = {}
    names: dict[str, Tensor] = {}
    for name, tensor in state.items():
        if tensor.is_meta:
            raise CheckpointError(f"weight {plain[name]!r} is on the meta device and has no values to save")
        where = (
            tensor.device,
            tensor.untyped_storage().data_ptr(),
            tensor.storage_offset(),
            tensor.shape,
            tensor.stride(),
        )
        if tensor.numel() and where in stored:
            continue
        stored[where] = tensor
        own = tensor.detach().contiguous()
        # safetensors refuses tensors that are parts of one storage.
        names[plain[name]] = own if own.untyped_storage().nbytes() == own.nbytes else own.clone()
    with atomic_path(_file(path)) as aside:
        save_file(names, aside, metadata={"format": "pt"})


def load_weights(module: nn.Module, path: Path, *, dtype: torch.dtype | None = None) -> None:
    """Load every parameter and persistent buffer of `module` from a safetensors file, strictly.

    path: the file, or the folder with `model.safetensors`. dtype: of the floating-point weights afterwards;
    None keeps the module's, or the file's where the module is on the meta device. Meta weights become CPU
    weights one at a time; parameters that were one object stay one, and need to be in the file once.

    Raises CheckpointError, in one line, for a file that is absent or not safetensors, for weights that are
    missing, extra or misshapen (three of each named), for tied weights that differ in the file, and for values that are
    not finite.
    """
    file = _file(path)
    if not file.is_file():
        raise CheckpointError(f"no weights at {file}")
    try:
        with safe_open(file, framework="pt", device="cpu") as handle:
            shapes = {name: tuple(handle.get_slice(name).get_shape()) for name in handle.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise CheckpointError(damaged(file, error)) from None

    def read(name: str) -> Tensor:
        # A mapping per weight, so that pages already copied do not stay resident; a copy, because the tensor
        # is otherwise backed by the file and changes (or faults) if someone writes into it.
        with safe_open(file, framework="pt", device="cpu") as handle:
            tensor: Tensor = handle.get_tensor(name)
            return tensor.clone()

    _fill(module, shapes, read, str(file), dtype)


def load_torch_weights(module: nn.Module, path: Path, *, dtype: torch.dtype | None = None) -> None:
    """Load `module` from a `.pt` or `.bin` file of tensors, as `load_weights` does.

    Raises CheckpointError for a file that needs more than tensors unpickled.
    """
    state = torch_weights(path)
    _fill(
        module,
        {name: tuple(t.shape) for name, t in state.items()},
        lambda name: state[name].clone(),
        str(path),
        dtype,
    )


def torch_weights(path: Path) -> Mapping[str, Tensor]:
    """Return the tensors of a `.pt` or `.bin` file by name, read from disk as they are used where that can be.

    Only tensors are unpickled (`weights_only`), so nothing of the file is run. A dictionary under the key `model`,
    `state_dict` or `model_state_dict` is taken from inside a training checkpoint. Raises CheckpointError for anything
    else.
    """
    if not path.is_file():
        raise CheckpointError(f"no weights at {path}")
    with path.open("rb") as file:
        begins = file.read(4)
    if not begins:
        raise CheckpointError(f"{path} is empty; copy or save it again")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's are about its own pickles
            zipped = begins == b"PK\x03\x04"  # torch before 1.6 wrote a plain pickle, which cannot be mapped
            state = torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    except Exception:  # of a damaged pickle anything; torch's advice is to run it, which is not ours
        raise CheckpointError(
            f"{path} is not a file of tensors alone: it holds more, or is damaged, and nothing in it was run; save the "
            "weights with safetensors, or with torch.save(model.state_dict(), FILE)"
        ) from None
    for key in ("model", "state_dict", "model_state_dict"):
        if isinstance(state, Mapping) and isinstance(state.get(key), Mapping):
            state = state[key]
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise CheckpointError(f"{path} does not hold a dictionary of tensors")
    return state


def damaged(file: Path, error: Exception) -> str:
    """Return what to say of a file that the safetensors library refuses with `error`."""
    return f"{file} is incomplete or damaged, or not a safetensors file ({error}); copy it again"


def refuse_not_finite(folder: Path, model: nn.Module) -> None:
    """Raise CheckpointError where a parameter that was read from `folder` holds NaN or infinity."""
    for name, parameter in model.named_parameters():
        _refuse_not_finite(str(folder), name, parameter.detach())


def _refuse_not_finite(source: str, name: str, tensor: Tensor) -> None:
    if not tensor.is_floating_point() or not tensor.numel():
        return
    low, high = tensor.aminmax()  # one pass, and no tensor of answers
    if not (torch.isfinite(low) and torch.isfinite(high)):
        count = int((~torch.isfinite(tensor)).sum())
        raise CheckpointError(
            f"{source}: {count:,} of the {tensor.numel():,} values of {name} are not finite (NaN or infinity): "
            "the training diverged, or the file is damaged"
        )


def _file(path: Path) -> Path:
    return path / WEIGHTS_FILE if path.is_dir() else path


def _fill(
    module: nn.Module,
    shapes: Mapping[str, tuple[int, ...]],
    read: Callable[[str], Tensor],
    source: str,
    dtype: torch.dtype | None,
) -> None:
    state = module.state_dict(keep_vars=True)
    groups: dict[int, list[str]] = {}  # names of one parameter, by identity
    for name, tensor in state.items():
        groups.setdefault(id(tensor), []).append(name)
    ours = plain_names(state)
    theirs = {plain: name for name, plain in plain_names(shapes).items()}
    _check(state, groups, ours, {plain: shapes[name] for plain, name in theirs.items()}, source)
    for names in groups.values():
        found = [theirs[ours[name]] for name in names if ours[name] in theirs]
        tensor = read(found[0])
        for other in found[1:]:
            if not torch.equal(tensor, read(other)):
                raise CheckpointError(f"{source}: {found[0]} and {other} are one weight in the model and differ here")
        _refuse_not_finite(source, found[0], tensor)
        if dtype is not None and tensor.is_floating_point():
            tensor = tensor.to(dtype)
        _assign(module, names, state[names[0]], tensor, dtype)
    if left := [name for name, buffer in module.named_buffers() if buffer.is_meta]:
        raise CheckpointError(
            f"{len(left)} computed buffers have no values after loading ({_some(left)}): weights do "
            "not hold them, so build the model on a real device, or let its architecture compute them"
        )


def _check(
    state: Mapping[str, Tensor],
    groups: Mapping[int, list[str]],
    ours: Mapping[str, str],
    shapes: Mapping[str, tuple[int, ...]],
    source: str,
) -> None:
    missing = [ours[names[0]] for names in groups.values() if not any(ours[name] in shapes for name in names)]
    known = set(ours.values())
    extra = [name for name in shapes if name not in known]
    misshapen = [
        f"{plain} is {list(shapes[plain])} and should be {list(state[name].shape)}"
        for name, plain in ours.items()
        if plain in shapes and shapes[plain] != tuple(state[name].shape)
    ]
    faults = {"missing": missing, "extra": extra, "misshapen": misshapen}
    if any(faults.values()):
        said = "; ".join(f"{len(names)} {what} ({_some(names)})" for what, names in faults.items() if names)
        raise CheckpointError(f"{source} does not fit the model: {said}")


def _assign(module: nn.Module, names: list[str], old: Tensor, new: Tensor, dtype: torch.dtype | None) -> None:
    if not old.is_meta:
        if dtype is None or old.dtype == dtype or not old.is_floating_point():
            with torch.no_grad():
                old.copy_(new)
        else:
            old.data = new.to(old.device)
        return
    value = nn.Parameter(new, requires_grad=old.requires_grad) if isinstance(old, nn.Parameter) else new
    for name in names:
        owner, _, attribute = name.rpartition(".")
        setattr(module.get_submodule(owner), attribute, value)


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (", …" if len(names) > 3 else "")

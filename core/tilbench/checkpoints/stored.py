"""Published weights as a mapping from names to tensors, whatever files they are in; read one at a time."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from tilbench.checkpoints.weights import damaged, plain_names, torch_weights
from tilbench.errors import CheckpointError

__all__ = ["SUFFIXES", "StoredWeights", "stored_parameters", "weight_files"]

SUFFIXES = (".safetensors", ".pt", ".pth", ".bin")
"""How the names of files end that can be read."""

_FOLDER = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
"""Where Transformers keeps weights, in the order in which it looks."""

_FLOATS = frozenset({torch.float32, torch.bfloat16, torch.float16})


class StoredWeights(Mapping[str, Tensor]):
    """The tensors of a file, or of the files of a Transformers folder, by their names without wrappers' prefixes.

    shapes: of each, known without reading it. used: names of those that were read.
    Raises CheckpointError for what is no such file, and, as it is read, for a weight that is not finite.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.files = weight_files(path)
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.dtypes: dict[str, torch.dtype] = {}
        self.used: set[str] = set()
        self._where: dict[str, tuple[Path, str]] = {}
        self._pickled: dict[Path, Mapping[str, Tensor]] = {}
        for file in self.files:
            self._open(file)

    def _open(self, file: Path) -> None:
        if file.suffix == ".safetensors":
            shapes, dtypes = _header(file)
        else:
            state = self._pickled[file] = torch_weights(file)
            shapes = {name: tuple(tensor.shape) for name, tensor in state.items()}
            dtypes = {name: tensor.dtype for name, tensor in state.items()}
        for name, plain in plain_names(shapes).items():
            if plain in self._where:
                raise CheckpointError(
                    f"{self.path}: weight {plain!r} is in {self._where[plain][0].name} and {file.name}"
                )
            self._where[plain] = (file, name)
            self.shapes[plain], self.dtypes[plain] = shapes[name], dtypes[name]

    def __getitem__(self, name: str) -> Tensor:
        """Return a weight. Raises CheckpointError where it is in 8 bits or fewer, or not finite."""
        file, stored = self._where[name]
        if file in self._pickled:
            tensor = self._pickled[file][stored]
        else:
            with safe_open(file, framework="pt", device="cpu") as handle:
                tensor = handle.get_tensor(stored)
        self.used.add(name)
        if tensor.dtype not in _FLOATS:
            kind = str(tensor.dtype).removeprefix("torch.")
            raise CheckpointError(f"{self.path}: {name} is {kind}; save it as fp32, bf16 or fp16")
        if not bool(torch.isfinite(tensor).all()):
            count = int((~torch.isfinite(tensor)).sum())
            raise CheckpointError(f"{self.path}: {count} of the {tensor.numel():,} values of {name} are not finite")
        return tensor

    def __contains__(self, name: object) -> bool:
        """Say whether there is such a weight, without reading it."""
        return name in self.shapes

    def __iter__(self) -> Iterator[str]:
        """Yield the names."""
        return iter(self.shapes)

    def __len__(self) -> int:
        """Return how many tensors there are."""
        return len(self.shapes)


def stored_parameters(path: Path) -> int:
    """Return how many parameters a file or folder of weights holds, tied ones once. Raises CheckpointError."""
    stored = StoredWeights(path)
    return sum(math.prod(shape) for name, shape in stored.shapes.items() if stored.dtypes[name].is_floating_point)


def weight_files(path: Path) -> list[Path]:
    """Return the files of weights of a path: itself, or those of a Transformers folder.

    Raises CheckpointError where there are none, and for an index that names files which are not beside it.
    """
    if path.is_file():
        if path.suffix not in SUFFIXES:
            raise CheckpointError(f"{path}: weights are read from files that end in {', '.join(SUFFIXES)}")
        return [path]
    for name in _FOLDER:
        file = path / name
        if not file.is_file():
            continue
        return _shards(file) if file.suffix == ".json" else [file]
    raise CheckpointError(f"{path} has no weights: neither {' nor '.join(_FOLDER)} is in it")


def _shards(index: Path) -> list[Path]:
    with suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        # Files beside the index, never elsewhere.
        files = [index.parent / Path(name).name for name in names]
        if missing := [file.name for file in files if not file.is_file()]:
            raise CheckpointError(f"{index} names {missing[0]}, which is not beside it; fetch the folder again")
        if files:
            return files
    raise CheckpointError(f"{index} names no files of weights; fetch the folder again")


def _header(file: Path) -> tuple[dict[str, tuple[int, ...]], dict[str, torch.dtype]]:
    try:
        with safe_open(file, framework="pt", device="cpu") as handle:
            slices = {name: handle.get_slice(name) for name in handle.keys()}  # noqa: SIM118 it is no dict
            shapes = {name: tuple(each.get_shape()) for name, each in slices.items()}
            dtypes = {name: _DTYPES.get(each.get_dtype(), torch.uint8) for name, each in slices.items()}
    except (SafetensorError, OSError) as error:
        raise CheckpointError(damaged(file, error)) from None
    return shapes, dtypes


_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "BF16": torch.bfloat16,
    "F16": torch.float16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
}
"""Floating-point kinds of safetensors; of the others no weight is made."""

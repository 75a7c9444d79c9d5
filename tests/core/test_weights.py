"""Weights on disk: names, ties, strictness, meta modules."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from tilbench.checkpoints.weights import load_torch_weights, load_weights, plain_names, save_weights
from tilbench.errors import CheckpointError


class Tied(nn.Module):
    """An embedding, a linear layer with a counter, and a head that is the embedding."""

    steps: Tensor

    def __init__(self, width: int = 3) -> None:
        super().__init__()
        self.embed = nn.Embedding(5, width)
        self.inner = nn.Linear(width, width)
        self.head = nn.Linear(width, 5, bias=False)
        self.head.weight = self.embed.weight
        self.register_buffer("steps", torch.zeros(1, dtype=torch.int64))


class Wrapper(nn.Module):
    """Holds another module the way data parallelism does."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module


def meta() -> Tied:
    with torch.device("meta"):
        return Tied()


def same(a: nn.Module, b: nn.Module) -> bool:
    one, two = a.state_dict(), b.state_dict()
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def test_tied_weights_are_stored_once_and_stay_tied(tmp_path: Path) -> None:
    module = Tied()
    module.steps.fill_(7)
    save_weights(module, tmp_path)
    assert set(load_file(tmp_path / "model.safetensors")) == {
        "embed.weight",
        "inner.weight",
        "inner.bias",
        "steps",
    }
    for again in (Tied(), meta()):
        load_weights(again, tmp_path / "model.safetensors")
        assert same(again, module)
        assert again.head.weight is again.embed.weight
        assert all(parameter.requires_grad for parameter in again.parameters())
    assert [path.name for path in tmp_path.iterdir()] == ["model.safetensors"]


@pytest.mark.parametrize("order", ["compiled", "parallel", "both", "reversed", "part"])
def test_wrappers_leave_no_trace_and_can_be_loaded_into(order: str, tmp_path: Path) -> None:
    def compiled(module: nn.Module) -> Any:
        return torch.compile(module, backend="eager")

    def wrap(module: Tied) -> nn.Module:
        if order == "part":
            module.inner = compiled(module.inner)
            return module
        wrapped: nn.Module = Wrapper(module) if order in {"parallel", "reversed"} else module
        if order != "parallel":
            wrapped = compiled(wrapped)
        return Wrapper(wrapped) if order == "both" else wrapped

    plain, other = Tied(), Tied()
    expected = {name: tensor.clone() for name, tensor in plain.state_dict().items()}
    save_weights(wrap(plain), tmp_path)
    assert set(load_file(tmp_path / "model.safetensors")) == expected.keys() - {"head.weight"}
    load_weights(wrap(other), tmp_path)
    assert torch.equal(other.embed.weight, expected["embed.weight"])
    again = meta()
    load_weights(again, tmp_path)
    assert torch.equal(again.inner.weight, expected["inner.weight"])


@pytest.mark.parametrize("prefix", ["_orig_mod.", "module.", "module._orig_mod.", "_orig_mod.module."])
def test_prefixes_in_a_file_are_stripped(prefix: str, tmp_path: Path) -> None:
    module = Tied()
    state = {f"{prefix}{name}": tensor for name, tensor in module.state_dict().items() if name != "head.weight"}
    save_file(state, tmp_path / "w.safetensors")
    again = meta()
    load_weights(again, tmp_path / "w.safetensors")
    assert same(again, module)


@given(st.lists(st.sampled_from(["a", "b", "module", "c"]), min_size=1, max_size=4).map(".".join))
def test_plain_names_ignore_compilation(name: str) -> None:
    wrapped = "_orig_mod." + name.replace(".", "._orig_mod.")
    assert plain_names([wrapped, "x"])[wrapped] == name


def test_an_honest_module_is_kept() -> None:
    assert plain_names(["module.a", "b.module.c"]) == {"module.a": "module.a", "b.module.c": "b.module.c"}
    with pytest.raises(CheckpointError, match="'a' is there twice"):
        plain_names(["a", "_orig_mod.a"])


def test_one_line_names_what_does_not_fit(tmp_path: Path) -> None:
    many = {f"extra.{index}": torch.zeros(1) for index in range(5)}
    save_file({"embed.weight": torch.zeros(5, 4), "steps": torch.zeros(1), **many}, tmp_path / "w.safetensors")
    with pytest.raises(CheckpointError) as caught:
        load_weights(Tied(), tmp_path / "w.safetensors")
    message = str(caught.value)
    assert "\n" not in message
    assert "2 missing (inner.weight, inner.bias)" in message
    assert "5 extra (extra.0, extra.1, extra.2, …)" in message
    assert "1 misshapen (embed.weight is [5, 4] and should be [5, 3])" in message


def test_a_bad_file_changes_nothing(tmp_path: Path) -> None:
    module = Tied()
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    save_file({"embed.weight": torch.zeros(5, 3)}, tmp_path / "w.safetensors")
    with pytest.raises(CheckpointError):
        load_weights(module, tmp_path / "w.safetensors")
    assert all(torch.equal(module.state_dict()[name], tensor) for name, tensor in before.items())


@pytest.mark.parametrize("content", [b"", b"not weights", b"\x80\x02}q\x00."])
def test_other_files_are_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="is incomplete or damaged, or not a safetensors file"):
        load_weights(Tied(), path)
    with pytest.raises(CheckpointError, match="no weights at"):
        load_weights(Tied(), tmp_path / "absent")


def test_tied_weights_that_differ_are_refused(tmp_path: Path) -> None:
    state = {name: tensor.clone() for name, tensor in Tied().state_dict().items()}
    state["head.weight"] += 1
    save_file(state, tmp_path / "w.safetensors")
    with pytest.raises(CheckpointError, match=r"embed\.weight and head\.weight are one weight"):
        load_weights(Tied(), tmp_path / "w.safetensors")


def test_dtype_converts_floats_only(tmp_path: Path) -> None:
    module = Tied()
    save_weights(module, tmp_path)
    for again in (Tied(), meta()):
        load_weights(again, tmp_path, dtype=torch.bfloat16)
        assert again.embed.weight.dtype == again.inner.bias.dtype == torch.bfloat16
        assert again.steps.dtype == torch.int64
        assert again.head.weight is again.embed.weight
    half = Tied().to(torch.bfloat16)
    load_weights(half, tmp_path)
    assert half.embed.weight.dtype == torch.bfloat16  # a real module keeps its own


def test_parts_of_one_storage_are_saved(tmp_path: Path) -> None:
    module = nn.Module()
    whole = torch.arange(6.0).view(2, 3)
    module.register_buffer("row", whole[1])
    module.register_buffer("column", whole[:, 0])
    save_weights(module, tmp_path)
    stored = load_file(tmp_path / "model.safetensors")
    assert torch.equal(stored["row"], whole[1])
    assert torch.equal(stored["column"], whole[:, 0])


def test_meta_modules_cannot_be_saved(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="meta device"):
        save_weights(meta(), tmp_path)
    assert not list(tmp_path.iterdir())


def test_computed_buffers_left_on_meta_are_an_error(tmp_path: Path) -> None:
    save_weights(Tied(), tmp_path)
    module = meta()
    module.register_buffer("table", torch.zeros(2, device="meta"), persistent=False)
    with pytest.raises(CheckpointError, match=r"1 computed buffers .*\(table\)"):
        load_weights(module, tmp_path)


def test_loaded_weights_do_not_change_with_the_file(tmp_path: Path) -> None:
    module = meta()
    save_weights(Tied(), tmp_path)
    load_weights(module, tmp_path)
    before = module.embed.weight.detach().clone()
    path = tmp_path / "model.safetensors"
    with path.open("r+b") as file:
        file.seek(-path.stat().st_size // 2, 2)
        file.write(b"\x7f" * (path.stat().st_size // 2))
    assert torch.equal(module.embed.weight, before)


def test_torch_files_of_tensors_are_read(tmp_path: Path) -> None:
    module = Tied()
    torch.save({"model": {f"_orig_mod.{k}": v for k, v in module.state_dict().items()}, "step": 3}, tmp_path / "w.pt")
    again = meta()
    load_torch_weights(again, tmp_path / "w.pt")
    assert same(again, module)


def test_torch_files_that_would_run_code_are_refused(tmp_path: Path) -> None:
    torch.save(Tied(), tmp_path / "w.pt")
    with pytest.raises(CheckpointError, match="is not a file of tensors alone"):
        load_torch_weights(Tied(), tmp_path / "w.pt")
    torch.save([1], tmp_path / "list.pt")
    with pytest.raises(CheckpointError, match="dictionary of tensors"):
        load_torch_weights(Tied(), tmp_path / "list.pt")


MEMORY = """
import resource, sys, torch
from pathlib import Path
from typing import Any
from torch import nn
from tilbench.checkpoints.weights import load_weights
with torch.device("meta"):
    module = nn.Sequential(*(nn.Linear(2048, 2048, bias=False) for _ in range(16)))  # 256 MiB
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
load_weights(module, Path(sys.argv[1]))
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def test_loading_into_meta_holds_one_copy(tmp_path: Path) -> None:
    save_weights(nn.Sequential(*(nn.Linear(2048, 2048, bias=False) for _ in range(16))), tmp_path)
    run = subprocess.run(
        [sys.executable, "-c", MEMORY, str(tmp_path)],
        check=True,
        capture_output=True,
        text=True,
        env={"PYTHONPATH": ":".join(sys.path)},
    )
    assert int(run.stdout) < 256 * 1.25

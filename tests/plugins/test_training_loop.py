"""The loop on real decoders: optimizers, tails, averages, compilation, recomputation, retention, sudden death."""

from __future__ import annotations

import json
import math
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tilbench.checkpoints.folder import checkpoints, find_checkpoint, read_info
from tilbench.checkpoints.weights import load_weights
from tilbench.config.model import ModelSpec, Optimizer, Recipe, Schedule
from tilbench.data.rows import Document
from tilbench.errors import CheckpointError, ConfigError, Unsupported
from tilbench.kinds.hardware import HardwareProfile
from tilbench.kinds.trainer import Source, TrainingJob
from tilbench.kinds.weight_layout import Slot, WeightSlice
from tilbench.loader import load_plugins
from tilbench.testing.toys import ToyTokenizer, toy_texts
from tilbench_decoders.llama import Llama
from tilbench_trainers.data.batch import IGNORED, Batch
from tilbench_trainers.loop.forward import Forward
from tilbench_trainers.loop.pretrain import Pretrain
from tilbench_trainers.optim.average import Average
from tilbench_trainers.optim.muon import PartedMuon, cuts
from tilbench_trainers.optim.optimizer import make_optimizer, muon
from tilbench_trainers.optim.schedule import learning_rate

CPU = HardwareProfile(name="toy", device="cpu", memory_gib=1, peak_tflops={"fp32": 0.1})
SIZES = {
    "vocab_size": ToyTokenizer.size,
    "max_length": 32,
    "hidden_size": 16,
    "num_layers": 2,
    "num_heads": 2,
    "intermediate_size": 32,
}

REGISTRY = load_plugins().registry
_LATENT = {"kv_lora_rank": 8, "qk_rope_head_dim": 4, "qk_nope_head_dim": 8, "v_head_dim": 8}
DECODERS: list[tuple[str, dict[str, Any]]] = [
    ("llama", SIZES | {"num_kv_heads": 1}),
    ("gpt2", SIZES),
    ("alibi", SIZES),
    ("mla", SIZES | _LATENT),
    ("mla", SIZES | _LATENT | {"q_lora_rank": 6}),
]


def make_module(seed: int = 0, **changes: Any) -> nn.Module:
    torch.manual_seed(seed)
    return Llama().build(Llama.Config(**(SIZES | changes)))


def make_job(out: Path, *, seed: int = 0, dropout: float = 0.0, **recipe: Any) -> TrainingJob:
    """Twelve steps of 2 × 2 sequences of 16 tokens, all defaults overridable."""
    defaults: dict[str, Any] = {
        "steps": 12,
        "sequence_length": 16,
        "batch_size": 2,
        "accumulation": 2,
        "optimizer": {"learning_rate": 1e-2},
        "schedule": {"name": "wsd", "warmup": 3},
        "checkpoint_every": 3,
        "validate_every": 3,
    }
    config = SIZES | {"dropout": dropout}
    spec = ModelSpec.model_validate(
        {
            "name": "toy",
            "title": "Toy",
            "architecture": {"name": "llama", "config": config},
            "tokenizer": {"family": "toy"},
            "recipe": defaults | recipe,
        }
    )
    rows = [Document(str(number), text) for number, text in enumerate(toy_texts(30))]
    return TrainingJob(
        spec=spec,
        architecture=Llama(),
        build=cache(partial(make_module, seed, dropout=dropout)),
        tokenizer=ToyTokenizer(),
        sources=[Source("toy", 1.0, rows[:24], rows[24:])],
        hardware=CPU,
        out=out,
        progress=False,
    )


def fit(job: TrainingJob) -> Path:
    return Pretrain().fit(job)


def weights(folder: Path) -> dict[str, Tensor]:
    module = make_module()
    load_weights(module, folder)
    return {name: value.clone() for name, value in module.state_dict().items()}


def log(out: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "timing"} for line in lines]


def losses(out: Path) -> list[float]:
    return [line["loss"] for line in log(out) if "loss" in line]


def same(a: Any, b: Any) -> bool:
    """Equal to the bit, tensors inside included."""
    if isinstance(a, Tensor):
        return torch.equal(a, b) and a.dtype == b.dtype
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return bool(a == b)


def assert_same_run(a: Path, b: Path) -> None:
    last_a, last_b = checkpoints(a)[-1], checkpoints(b)[-1]
    assert last_a.name == last_b.name
    assert (last_a / "model.safetensors").read_bytes() == (last_b / "model.safetensors").read_bytes()
    states = [torch.load(folder / "training" / "state.pt", weights_only=True) for folder in (last_a, last_b)]
    assert same(*states)
    assert log(a) == log(b)


# Schedules


@pytest.mark.parametrize(
    ("tail", "halfway"), [("linear", 0.5), ("cosine", 0.5), ("sqrt", 1 - math.sqrt(0.5))], ids=lambda each: str(each)
)
def test_tails_of_a_wsd_schedule(tail: Any, halfway: float) -> None:
    schedule = Schedule(name="wsd", warmup=10, decay=0.2, tail=tail, final=0.1)
    rates = {step: learning_rate(step, 1000, 2.0, schedule) for step in range(1, 1001)}
    assert rates[800] == 2.0
    assert rates[900] == pytest.approx(2.0 * (0.1 + 0.9 * halfway))
    assert rates[1000] == pytest.approx(0.2)
    assert all(rates[step] >= rates[step + 1] for step in range(800, 1000))


def test_the_sqrt_tail_is_one_minus_the_root() -> None:
    schedule = Schedule(name="wsd", decay=0.5, tail="sqrt")
    for step in (50, 51, 60, 75, 100):
        assert learning_rate(step, 100, 1.0, schedule) == pytest.approx(1 - math.sqrt((step - 50) / 50), abs=1e-12)


# Optimizers


def torch_muon(parameters: Iterable[nn.Parameter], **settings_: Any) -> Any:
    make: Any = torch.optim.Muon
    return make(parameters, adjust_lr_fn="match_rms_adamw", **settings_)


def test_muon_has_the_hidden_matrices_and_adamw_the_rest() -> None:
    module = make_module(tie_embeddings=False)
    joint = muon(module, Optimizer(name="muon", learning_rate=1e-3, weight_decay=0.1))
    names = {id(parameter): name for name, parameter in module.named_parameters()}
    hidden, matrices, others = ({names[id(each)] for each in group["params"]} for group in joint.param_groups)
    assert hidden == {name for name in names.values() if name.endswith("proj.weight")}
    assert matrices == {"embedding.weight", "lm_head.weight"}
    assert all("norm" in name for name in others)
    assert [group["weight_decay"] for group in joint.param_groups] == [0.1, 0.1, 0.0]


def test_a_step_of_muon_is_orthogonal_and_as_large_as_adamws() -> None:
    module = make_module()
    joint = muon(module, Optimizer(name="muon", learning_rate=1e-2, weight_decay=0.0))
    matrix = module.get_parameter("blocks.0.attention.o_proj.weight")
    before = matrix.detach().clone()
    for parameter in module.parameters():
        parameter.grad = torch.randn_like(parameter)
    joint.step()
    step = (before - matrix.detach()) / (0.2 * 1e-2)  # 0.2 is the root mean square that AdamW's updates have
    assert step.square().mean().sqrt() == pytest.approx(1.0, abs=0.2)
    values = torch.linalg.svdvals(step) / math.sqrt(len(matrix))
    assert 0.6 < values.min() <= values.max() < 1.3


def test_a_whole_matrix_is_updated_as_torch_updates_it() -> None:
    torch.manual_seed(0)
    ours = nn.Parameter(torch.randn(12, 7))
    theirs = nn.Parameter(ours.detach().clone())
    settings_: dict[str, Any] = {"lr": 0.02, "weight_decay": 0.1, "momentum": 0.9}
    one = PartedMuon([ours], {}, **settings_)
    other = torch_muon([theirs], **settings_)
    for _ in range(4):
        ours.grad = torch.randn_like(ours)
        theirs.grad = ours.grad.clone()
        one.step()
        other.step()
    assert torch.equal(ours, theirs)


def test_a_fused_model_is_updated_as_the_equal_unfused_one() -> None:
    """The one of Transformers holds q, k, v, gate and up as matrices of their own."""
    config = Llama.Config.model_validate(SIZES | {"num_kv_heads": 1, "tie_embeddings": False})
    ours = Llama().build(config)
    state = Llama().to_transformers(config, ours.state_dict())
    names = [name for name in state if name.endswith("proj.weight")]
    theirs = {name: nn.Parameter(state[name].clone()) for name in names}
    assert len(theirs) == 7 * SIZES["num_layers"]
    settings_ = Optimizer(name="muon", learning_rate=1e-2, weight_decay=0.1)
    one = make_optimizer(ours, settings_, Llama().parts(config))
    other = torch_muon(theirs.values(), lr=1e-2, weight_decay=0.1, momentum=0.95)
    for _ in range(3):
        for parameter in ours.parameters():
            parameter.grad = torch.randn_like(parameter)
        gradients_ = {name: each.grad for name, each in ours.named_parameters() if each.grad is not None}
        moved = Llama().to_transformers(config, gradients_)
        for name, parameter in theirs.items():
            parameter.grad = moved[name].clone()
        one.step()
        other.step()
    after = Llama().to_transformers(config, ours.state_dict())
    for name, parameter in theirs.items():
        # In bf16, a row that stands elsewhere in a matrix moves the last digits of its update.
        torch.testing.assert_close(after[name], parameter.detach(), rtol=0, atol=2e-4, msg=name)


@pytest.mark.parametrize(("name", "config"), DECODERS, ids=lambda each: each if isinstance(each, str) else "")
def test_every_part_of_every_decoder_is_a_matrix_of_its_own(name: str, config: dict[str, Any]) -> None:
    architecture: Any = REGISTRY.architectures.get(name)
    settings_ = architecture.Config(**config)
    module = architecture.build(settings_)
    named = dict(module.named_parameters())
    found = {each: cut.parts for each, cut in cuts(architecture.parts(settings_), named).items()}
    assert any("attention" in each for each in found)
    for weight, parts in found.items():
        assert len(parts) > 1
        assert torch.equal(torch.cat(list(parts)).sort().values, torch.arange(len(named[weight]))), weight
    optimizer = make_optimizer(module, Optimizer(name="muon", learning_rate=1e-2), architecture.parts(settings_))
    before = {each: parameter.detach().clone() for each, parameter in named.items()}
    for parameter in named.values():
        parameter.grad = torch.randn_like(parameter)
    optimizer.step()
    for weight, parts in found.items():
        for rows in parts:
            part = nn.Parameter(before[weight][rows])
            gradient = named[weight].grad
            assert gradient is not None
            part.grad = gradient[rows]
            torch_muon([part], lr=1e-2, weight_decay=0.1).step()
            torch.testing.assert_close(named[weight].detach()[rows], part.detach(), msg=weight)


def test_a_part_of_every_head_is_taken_from_every_head() -> None:
    slot = Slot("a.*.weight", (WeightSlice("k_b", 4, 2), WeightSlice("v_b", 6, 2)), 3, by_head=True)
    found = cuts([slot], ["a.0.weight", "a.11.weight", "b.0.weight"])
    assert sorted(found) == ["a.0.weight", "a.11.weight"]
    assert all([each.tolist() for each in cut.parts] == [[0, 1, 5, 6], [2, 3, 4, 7, 8, 9]] for cut in found.values())


@pytest.mark.parametrize("tied", [True, False])
def test_a_matrix_is_what_it_is_used_for_and_not_what_its_size_is(tied: bool) -> None:
    """The feed-forward layer has as many rows as there are tokens, and is no output layer for that."""
    module = make_module(intermediate_size=SIZES["vocab_size"], tie_embeddings=tied)
    names = {id(parameter): name for name, parameter in module.named_parameters()}
    for slots in ((), Llama().parts(Llama.Config.model_validate(SIZES | {"tie_embeddings": tied}))):
        joint = muon(module, Optimizer(name="muon", learning_rate=1e-3), slots)
        hidden, matrices = ({names[id(each)] for each in group["params"]} for group in joint.param_groups[:2])
        assert hidden == {name for name in names.values() if name.endswith("proj.weight")}
        assert matrices == {"embedding.weight"} | (set() if tied else {"lm_head.weight"})


def test_muon_without_a_hidden_matrix_is_refused() -> None:
    with pytest.raises(ConfigError, match="use 'adamw'"):
        muon(nn.Embedding(3, 2), Optimizer(name="muon", learning_rate=1e-3))


@pytest.mark.parametrize(
    "recipe",
    [
        {"optimizer": {"name": "muon", "learning_rate": 1e-2}},
        {"ema": 0.9},
        {"activation_checkpointing": True},
        {"precision": "bf16"},
    ],
    ids=lambda each: next(iter(each)),
)
def test_every_kind_of_run_resumes_to_the_bit(tmp_path: Path, recipe: dict[str, Any]) -> None:
    fit(make_job(tmp_path / "whole", dropout=0.1, **recipe))
    stopped = make_job(tmp_path / "parts", dropout=0.1, **recipe)
    forward = stopped.module.hidden
    left = iter(range(13))  # passes in training: step 7 has begun

    def hidden(ids: Tensor, **given: Any) -> Tensor:
        if stopped.module.training and next(left, None) is None:
            raise SystemExit
        return forward(ids, **given)  # type: ignore[no-any-return, operator]

    stopped.module.hidden = hidden  # type: ignore[assignment]
    with pytest.raises(SystemExit):
        fit(stopped)
    fit(make_job(tmp_path / "parts", seed=5, dropout=0.1, **recipe))
    assert_same_run(tmp_path / "whole", tmp_path / "parts")
    assert losses(tmp_path / "whole")[-1] < losses(tmp_path / "whole")[0]


# The average of the weights


def test_an_average_is_the_geometric_sum() -> None:
    parameter = nn.Parameter(torch.tensor([1.0, 2.0]))
    average = Average([parameter], 0.75)
    for step, value in ((1001, 3.0), (1002, 5.0)):  # long after the warm-up of the decay
        parameter.data.fill_(value)
        average.update(step)
    with average.in_place():
        start = torch.tensor([1.0, 2.0])
        torch.testing.assert_close(parameter.detach(), 0.75 * (0.75 * start + 0.25 * 3.0) + 0.25 * 5.0)
    assert parameter.tolist() == [5.0, 5.0]


def test_the_decay_of_an_average_is_warmed_up() -> None:
    parameter = nn.Parameter(torch.tensor([7.0]))
    average, by_hand = Average([parameter], 0.999), 7.0
    for step in range(1, 61):
        value = math.sin(step)
        parameter.data.fill_(value)
        average.update(step)
        decay = min(0.999, (1 + step) / (10 + step))
        by_hand = decay * by_hand + (1 - decay) * value
    with average.in_place():
        assert parameter.tolist() == pytest.approx([by_hand], abs=1e-6)
    # Of the weights that it began with, nothing is left: the product of the 60 decays.
    assert math.prod((1 + step) / (10 + step) for step in range(1, 61)) < 1e-9


def test_a_slow_average_of_a_short_run_is_a_trained_model(tmp_path: Path) -> None:
    """With the decay alone, 94% of it would be the random weights: about as bad as before the first step."""

    def measured(name: str, **recipe: Any) -> float:
        often = {"steps": 60, "checkpoint_every": 0, "validate_every": 60}
        fit(make_job(tmp_path / name, **often, **recipe))
        validations = [line["validation"]["toy"]["loss"] for line in log(tmp_path / name) if "validation" in line]
        return float(validations[-1])

    trained, averaged = measured("plain"), measured("averaged", ema=0.999)
    untrained = math.log(SIZES["vocab_size"])
    assert averaged - trained < 0.2 * (untrained - trained)


def test_what_is_saved_and_validated_is_the_average(tmp_path: Path) -> None:
    """Training itself does not see it: the losses are those of a run without."""
    plain, averaged = make_job(tmp_path / "plain"), make_job(tmp_path / "averaged", ema=0.9)
    last = fit(averaged)
    fit(plain)
    assert losses(tmp_path / "plain") == losses(tmp_path / "averaged")
    saved = weights(last)
    assert any(not torch.equal(saved[name], value) for name, value in averaged.module.state_dict().items())
    assert all(torch.equal(a, b) for a, b in zip(averaged.module.parameters(), plain.module.parameters(), strict=True))
    validations = [
        [line["validation"] for line in log(tmp_path / name) if "validation" in line] for name in ("plain", "averaged")
    ]
    assert validations[0] != validations[1]


# Compilation and recomputation


def gradients(module: nn.Module, passes: int = 2, **recipe: Any) -> list[Tensor]:
    """Return the gradients of some passes, accumulated."""
    settings = Recipe(steps=1, sequence_length=16, batch_size=2, optimizer=Optimizer(learning_rate=1e-3), **recipe)
    forward = Forward(module.train(), settings, torch.device("cpu"))
    torch.manual_seed(7)
    ids = torch.randint(SIZES["vocab_size"], (2 * passes, 17))
    batch = Batch(ids[:, :-1].contiguous(), ids[:, 1:].contiguous(), ids[:, 1:].numel())
    forward.accumulate(batch, 2, torch.amp.GradScaler("cpu", enabled=False))
    found = [each.grad.clone() for each in module.parameters() if each.grad is not None]
    assert len(found) == len(list(module.parameters()))
    return found


def test_recomputed_activations_give_the_same_bits_with_dropout() -> None:
    plain = gradients(make_module(dropout=0.2))
    again = gradients(make_module(dropout=0.2), activation_checkpointing=True)
    assert all(torch.equal(a, b) for a, b in zip(plain, again, strict=True))


def test_recomputation_needs_blocks() -> None:
    class Bare(nn.Module):
        def hidden(self, ids: Tensor) -> Tensor:
            return ids

    with pytest.raises(Unsupported, match=r"nn\.ModuleList"):
        gradients(Bare(), activation_checkpointing=True)


def test_autocast_accumulates_as_one_large_batch_does() -> None:
    """Weights are cast once a step, and each pass adds to the gradient of the cast."""
    one, many = (gradients(make_module(), passes, precision="bf16") for passes in (1, 2))
    assert all(a.dtype == torch.float32 for a in many)
    twice = gradients(make_module(), 2)
    for a, b in zip(many, twice, strict=True):
        assert (a - b).norm() < 0.05 * b.norm()
    assert any(not torch.equal(a, b) for a, b in zip(one, many, strict=True))


def test_passes_of_unequal_masks_accumulate_to_the_mean_over_tokens() -> None:
    """Of conversations a pass may learn one token and the next forty: each token counts the same."""
    settings_ = Recipe(steps=1, sequence_length=16, batch_size=4, optimizer=Optimizer(learning_rate=1e-3))
    torch.manual_seed(7)
    ids = torch.randint(SIZES["vocab_size"], (4, 17))
    targets = ids[:, 1:].clone()
    targets[:2, 1:] = IGNORED
    batch = Batch(ids[:, :-1].contiguous(), targets, int((targets != IGNORED).sum()))
    module = make_module()
    loss = nn.functional.cross_entropy(module(batch.ids).flatten(0, 1), targets.flatten(), ignore_index=IGNORED)
    loss.backward()  # type: ignore[no-untyped-call]
    wanted = {name: each.grad.clone() for name, each in module.named_parameters() if each.grad is not None}
    for rows in (4, 2, 1):
        module.zero_grad()
        forward = Forward(module.train(), settings_, torch.device("cpu"))
        total = forward.accumulate(batch, rows, torch.amp.GradScaler("cpu", enabled=False))
        assert float(total) == pytest.approx(loss.item(), rel=1e-5)
        for name, parameter in module.named_parameters():
            torch.testing.assert_close(parameter.grad, wanted[name], rtol=1e-4, atol=1e-6)


def test_a_scaled_loss_trains_as_an_unscaled_one_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What fp16 does on CUDA, with a power of two in fp32: gradients are unscaled before they are clipped."""
    recipe: dict[str, Any] = {
        "optimizer": {"learning_rate": 1e-2, "clip": 0.1},
        "validate_every": 0,
        "checkpoint_every": 0,
    }
    fit(make_job(tmp_path / "plain", **recipe))
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**12)
    monkeypatch.setattr(torch.amp, "GradScaler", lambda *_, **__: scaler)
    fit(make_job(tmp_path / "scaled", **recipe))
    plain, scaled = ([line for line in log(tmp_path / name) if "loss" in line] for name in ("plain", "scaled"))
    for field in ("grad_norm", "loss"):
        assert [line[field] for line in scaled] == pytest.approx([line[field] for line in plain], rel=1e-6)
    assert min(line["grad_norm"] for line in plain) > 0.1  # so that clipping has something to do


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")  # torch's compiler, of torch itself
def test_a_compiled_run_is_the_same_run_with_the_same_names(tmp_path: Path) -> None:
    fit(make_job(tmp_path / "plain"))
    last = fit(make_job(tmp_path / "compiled", compile=True))
    assert losses(tmp_path / "compiled") == pytest.approx(losses(tmp_path / "plain"), rel=1e-4)
    assert weights(last).keys() == make_module().state_dict().keys()


def test_compilation_is_refused_where_it_cannot_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = make_job(tmp_path, compile=True)
    with pytest.raises(Unsupported, match="'toy' does not compile"):
        fit(replace(job, hardware=replace(CPU, compiles=False)))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(Unsupported, match="C\\+\\+ compiler"):
        fit(job)


@pytest.mark.parametrize("prefix", ["_orig_mod.", "module.", "module._orig_mod."])
def test_prefixes_of_wrappers_are_accepted(tmp_path: Path, prefix: str) -> None:
    from safetensors.torch import save_file

    module = make_module(1)
    save_file({prefix + name: value for name, value in module.state_dict().items()}, tmp_path / "model.safetensors")
    assert all(torch.equal(value, module.state_dict()[name]) for name, value in weights(tmp_path).items())


# Retention


def steps_of(out: Path) -> list[int]:
    return [int(path.name[5:]) for path in checkpoints(out)]


def test_every_nth_checkpoint_is_kept_and_can_be_gone_on_from(tmp_path: Path) -> None:
    fit(make_job(tmp_path, checkpoint_every=1, keep=1, keep_every=4))
    assert steps_of(tmp_path) == [0, 4, 8, 11, 12]
    assert [(path / "training").is_dir() for path in checkpoints(tmp_path)] == [True, True, True, True, True]


def test_the_best_checkpoint_is_kept(tmp_path: Path) -> None:
    """A learning rate that soon is far too high: the best is in the middle, and outlives the newest."""
    rising: dict[str, Any] = {"checkpoint_every": 1, "validate_every": 1, "keep": 1, "keep_best": "bpb"}
    fit(make_job(tmp_path, optimizer={"learning_rate": 4.0}, schedule={"name": "constant", "warmup": 11}, **rising))
    by_step = {line["step"]: line["validation"]["toy"]["bpb"] for line in log(tmp_path) if "validation" in line}
    best = min(by_step, key=lambda step: by_step[step])
    assert best < 11
    assert steps_of(tmp_path) == sorted({0, best, 11, 12})


@pytest.mark.parametrize(("validate", "checkpoint"), [(3, 2), (3, 5), (5, 0), (2, 3), (4, 4)])
def test_the_best_is_kept_where_validations_and_checkpoints_do_not_meet(
    tmp_path: Path, validate: int, checkpoint: int
) -> None:
    often: dict[str, Any] = {"checkpoint_every": checkpoint, "validate_every": validate, "keep": 1, "keep_best": "bpb"}
    worse: dict[str, Any] = {"optimizer": {"learning_rate": 4.0}, "schedule": {"name": "constant", "warmup": 11}}
    fit(make_job(tmp_path / "whole", **worse, **often))
    by_step = {
        line["step"]: line["validation"]["toy"]["bpb"] for line in log(tmp_path / "whole") if "validation" in line
    }
    best = min(by_step, key=lambda step: by_step[step])
    assert best < 12
    due = [step for step in range(1, 12) if checkpoint and step % checkpoint == 0]
    assert steps_of(tmp_path / "whole") == sorted({0, best, *due[-1:], 12})


def test_the_best_of_one_validation_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"with validate_every 0 only the last step has one; set recipe\.validate_every"
    ):
        fit(make_job(tmp_path, keep_best="bpb", validate_every=0))


def test_validating_nothing_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    job = make_job(tmp_path, validate_every=3)
    fit(replace(job, progress=True))
    assert "so nothing is validated" not in capsys.readouterr().err
    fit(replace(job, progress=True, out=tmp_path / "b", sources=[replace(job.sources[0], validation=())]))
    said = " ".join(capsys.readouterr().err.split())
    assert "validate_every is 3, and no source has held-out text, so nothing is validated" in said


def test_the_best_of_nothing_is_refused(tmp_path: Path) -> None:
    job = make_job(tmp_path, keep_best="bpb")
    with pytest.raises(ConfigError, match="needs held-out text"):
        fit(replace(job, sources=[replace(job.sources[0], validation=())]))


def test_a_recipe_of_an_older_version_is_the_same_recipe(tmp_path: Path) -> None:
    fit(make_job(tmp_path))
    path = tmp_path / "run.json"
    record = json.loads(path.read_text())
    del record["recipe"]["compile"], record["recipe"]["ema"], record["recipe"]["schedule"]["tail"]
    path.write_text(json.dumps(record))
    fit(make_job(tmp_path))
    with pytest.raises(CheckpointError, match=r"recipe\.ema was 0\.0 and is now 0\.9"):
        fit(make_job(tmp_path, ema=0.9))


# Sudden death

RUN = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
import torch
torch.set_num_threads(1)
from test_training_loop import fit, make_job
fit(make_job(Path(sys.argv[1]), dropout=0.1, steps=200, checkpoint_every=7, validate_every=50))
"""


@pytest.mark.long
def test_ten_kills_at_random_moments_change_nothing(tmp_path: Path) -> None:
    def start(out: Path) -> subprocess.Popen[bytes]:
        code = RUN.format(tests=str(Path(__file__).parent))
        return subprocess.Popen([sys.executable, "-c", code, str(out)], env=os.environ | {"OMP_NUM_THREADS": "1"})

    def lines(out: Path) -> int:
        path = out / "log.jsonl"
        return len(path.read_bytes().splitlines()) if path.is_file() else 0

    assert start(tmp_path / "whole").wait() == 0
    chance = random.Random(0)
    for number in range(10):
        process = start(tmp_path / "parts")
        before, more = lines(tmp_path / "parts"), 8 + chance.randrange(12)
        while process.poll() is None and not before + more <= lines(tmp_path / "parts") + 7:
            time.sleep(0.001)
        time.sleep(chance.random() * 0.05)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL, f"kill {number} came after the end"
    assert start(tmp_path / "parts").wait() == 0
    assert_same_run(tmp_path / "whole", tmp_path / "parts")
    assert len(losses(tmp_path / "whole")) == 200


# Branches and choices, from the command line


SETTINGS = [
    *("--set", "recipe.steps=40"),
    *("--set", "recipe.checkpoint_every=10"),
    *("--set", "recipe.keep_every=10"),
    *("--set", "recipe.schedule={name: wsd, warmup: 5, decay: 0.25}"),
]
Command = Callable[..., Any]


@pytest.fixture
def stable_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tilbench: Command) -> Path:
    """Run the shipped tiny Turkish model for forty steps, the last ten of which decay to 0."""
    monkeypatch.chdir(tmp_path)
    assert tilbench("train", "turkish-v1:tiny", "--out", "a", *SETTINGS).status == 0
    return tmp_path / "a"


def refusal(outcome: Any) -> str:
    """Return the one line that a command ended with."""
    assert outcome.status != 0
    (line,) = [line for line in outcome.err.strip().splitlines() if line.startswith("error: ")]
    return str(line)


@pytest.mark.slow
def test_a_branch_of_the_same_decay_is_the_run_itself(stable_run: Path, tilbench: Command) -> None:
    same_decay = ("branch", "a@30", "--decay", "10", "--to", "0", "--out", "b")
    assert tilbench(*same_decay).status == 0
    ours, theirs = (find_checkpoint(path, 40) for path in (Path("b"), stable_run))
    assert (ours / "model.safetensors").read_bytes() == (theirs / "model.safetensors").read_bytes()
    assert steps_of(Path("b")) == [30, 40]
    assert log(Path("b")) == [line for line in log(stable_run) if line["step"] > 30]
    info = read_info(ours)
    assert len(info.lineage) == 1
    assert not read_info(theirs).lineage
    start = json.loads(Path("b/run.json").read_text())["start"]
    assert start == {"reference": "a@30", "lineage": list(info.lineage)}
    # The same command finds it done; another tail is another run.
    assert tilbench(*same_decay).status == 0
    said = refusal(tilbench(*same_decay, "--tail", "sqrt"))
    assert 'recipe.schedule.tail was "linear" and is now "sqrt"' in said
    assert tilbench("branch", "a@20", "--decay", "5", "--to", "1e-4", "--tail", "sqrt").status == 0
    assert steps_of(Path("a-20-decay-5")) == [20, 25]
    assert log(Path("a-20-decay-5"))[-2]["lr"] == pytest.approx(1e-4)


@pytest.mark.slow
def test_branches_that_cannot_be(stable_run: Path, tilbench: Command) -> None:
    def said(*arguments: str) -> str:
        return refusal(tilbench("branch", *arguments, "--decay", "5"))

    assert "step 40 is not in the stable part of the run's schedule (wsd: 5 … 30)" in said("a@40", "--to", "0")
    assert "no checkpoint of step 33; it has 0, 10, 20" in said("a@33", "--to", "0")
    assert "between 0 and the stable learning rate 0.003, and --to is 1" in said("a@30", "--to", "1")
    shutil.rmtree(stable_run / "step-00000010" / "training")
    assert "no optimizer state any more; branch from step 0, 20, 30, 40" in said("a@10", "--to", "0")
    assert "no such folder" in said("nowhere@10", "--to", "0")


@pytest.mark.slow
@pytest.mark.usefixtures("stable_run")
def test_the_better_checkpoint_is_chosen_with_its_evidence(tilbench: Command) -> None:
    assert tilbench("branch", "a@30", "--decay", "2", "--to", "0", "--out", "b").status == 0
    task = ("--suite", "quickstart", "--task", "bpb-tr")
    assert tilbench("select", "a@0", "a@30", "b", *task, "--limit", "4").status == 0
    folder = Path("select-quickstart-bpb-tr")
    found = json.loads((folder / "selection.json").read_text())
    values = [each["value"] for each in found["candidates"]]
    assert values == sorted(values)
    assert found["chosen"] == found["candidates"][0]["model"]
    assert {each["model"] for each in found["candidates"]} == {"a@0", "a@30", "b@30", "b@32"}
    assert (found["value"], found["direction"]) == ("bpb", "lower")
    assert "| b@32 | 32 |" in (folder / "selection.md").read_text()
    assert list((folder / "records").rglob("*.json"))
    said = refusal(tilbench("select", "a@0", "b", *task, "--limit", "4", "--value", "acc"))
    assert "known: bits_per_character, bpb" in said
    assert "nothing to choose from" in refusal(tilbench("select", "a@0", *task))


def test_make_optimizer_follows_the_name() -> None:
    assert isinstance(make_optimizer(make_module(), Optimizer(learning_rate=1e-3)), torch.optim.AdamW)
    assert len(make_optimizer(make_module(), Optimizer(name="muon", learning_rate=1e-3)).param_groups) == 3

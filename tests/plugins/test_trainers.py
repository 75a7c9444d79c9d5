"""The pretraining loop: schedules, optimizer, exact resumption, checkpoints, refusals."""

from __future__ import annotations

import json
import math
import os
import signal
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from tilbench.checkpoints.folder import checkpoints, read_info
from tilbench.checkpoints.weights import load_weights, save_weights
from tilbench.config.model import ArchitectureRef, ModelSpec, Optimizer, Schedule
from tilbench.data.rows import Document
from tilbench.errors import CheckpointError, ConfigError, DataError, TilbenchError, Unsupported
from tilbench.kinds.hardware import HardwareProfile
from tilbench.kinds.tokenizer import SpecialTokens
from tilbench.kinds.trainer import Source, Trainer, TrainingJob
from tilbench.memory import peak_memory
from tilbench.ranks import Ranks
from tilbench.scoring.encode.prefix import Prefix
from tilbench_trainers.data.packing import Stream
from tilbench_trainers.data.rows import documents_of
from tilbench_trainers.data.tokens import Encoding, token_file, token_path
from tilbench_trainers.loop.checks import slower_precision
from tilbench_trainers.loop.interrupts import StopRequests
from tilbench_trainers.loop.pretrain import Pretrain
from tilbench_trainers.optim.optimizer import adamw, clip
from tilbench_trainers.optim.schedule import learning_rate
from tilbench_trainers.validation.validator import Validator, heldout_texts

EOS = 256


class ToyTokenizer:
    """UTF-8 bytes and one end of document."""

    family = "toy-bytes"
    size = 257
    special = SpecialTokens(eos=EOS)
    fingerprint = "toy-1"

    def encode(self, text: str) -> list[int]:
        return list(text.encode())

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        return [self.encode(text) for text in texts]

    def decode(self, ids: Sequence[int]) -> str:
        return bytes(each for each in ids if each < EOS).decode(errors="replace")

    def unknown(self, ids: Sequence[int]) -> int:
        return 0

    def byte_fallback(self, ids: Sequence[int]) -> int:
        return 0

    def save(self, folder: Path) -> None:
        (folder / "tokenizer.json").write_text("{}")


class ToyConfig(BaseModel):
    """Sizes of the toy decoder."""

    model_config = ConfigDict(extra="forbid")
    vocab_size: int
    max_length: int = 64
    width: int = 16
    dropout: float = 0.1


class ToyCache:
    """The embeddings of the tokens so far."""

    def __init__(self, held: Tensor) -> None:
        self.held = held

    @property
    def length(self) -> int:
        return self.held.shape[1]

    def keep(self, slots: Tensor) -> None:
        self.held = self.held[:, slots]


class ToyDecoder(nn.Module):
    """Token and running mean → norm → tied projection. `before` is called at each forward pass in training."""

    def __init__(self, config: ToyConfig) -> None:
        super().__init__()
        self.vocab_size, self.max_length = config.vocab_size, config.max_length
        self.embedding = nn.Embedding(config.vocab_size, config.width)
        self.inner = nn.Linear(2 * config.width, config.width)
        self.norm = nn.LayerNorm(config.width)
        self.dropout = nn.Dropout(config.dropout)
        self.before: Callable[[Tensor], None] | None = None

    def hidden(self, ids: Tensor, mask: Tensor | None = None, cache: ToyCache | None = None, **_: Any) -> Tensor:
        if self.before is not None and self.training:
            self.before(ids)
        x = self.embedding(ids)
        seen = x if cache is None else torch.cat([cache.held, x], 1)
        if cache is not None:
            cache.held = seen
        if mask is None:
            mask = torch.ones(x.shape[1], seen.shape[1], dtype=torch.bool).tril(seen.shape[1] - x.shape[1])
        share = mask / mask.sum(-1, keepdim=True)
        past = (share[:, 0] if mask.ndim == 4 else share) @ seen
        out: Tensor = self.norm(x + self.dropout(self.inner(torch.cat([x, past], -1)).tanh()))
        return out

    def project(self, hidden: Tensor) -> Tensor:
        return hidden @ self.embedding.weight.T

    def new_cache(self, batch: int, length: int) -> ToyCache:
        return ToyCache(torch.zeros(batch, 0, self.embedding.embedding_dim))

    def forward(self, ids: Tensor) -> Tensor:
        return self.project(self.hidden(ids))


class Toy:
    """The toy's architecture. `broken`: saving fails after the weights are written."""

    Config = ToyConfig
    broken = False

    def parameters(self, config: ToyConfig) -> int:
        return config.vocab_size * config.width + 2 * config.width**2 + 3 * config.width

    def build(self, config: ToyConfig) -> nn.Module:
        return ToyDecoder(config)

    def save(self, module: nn.Module, folder: Path) -> None:
        save_weights(module, folder)
        if self.broken:
            raise OSError("no space left on device")

    def load(self, config: ToyConfig, folder: Path, *, dtype: torch.dtype | None = None) -> nn.Module:
        module = ToyDecoder(config)
        load_weights(module, folder, dtype=dtype)
        return module


CPU = HardwareProfile(name="toy", device="cpu", memory_gib=1, peak_tflops={"fp32": 0.1})
WORDS = ["тіл", "bir", "lingua", "two", "üç", "quattro", "бес", "six", "sette", "сегіз"]


def documents(count: int, start: int = 0) -> list[Document]:
    return [Document(str(n), " ".join(WORDS[(n * k) % 10] for k in range(1, 9))) for n in range(start, start + count)]


def make_job(
    out: Path, *, seed: int = 0, module: nn.Module | None = None, architecture: Any = None, **recipe: Any
) -> TrainingJob:
    """Twelve steps of 2 × 2 sequences of 16 tokens on two sources, with all defaults overridable."""
    defaults: dict[str, Any] = {
        "steps": 12,
        "sequence_length": 16,
        "batch_size": 2,
        "accumulation": 2,
        "optimizer": {"learning_rate": 1e-2},
        "schedule": {"name": "wsd", "warmup": 3},
        "checkpoint_every": 3,
        "validate_every": 4,
    }
    spec = ModelSpec.model_validate(
        {
            "name": "toy",
            "title": "Toy",
            "architecture": {"name": "toy", "config": {"width": 16}},
            "tokenizer": {"family": "toy-bytes"},
            "recipe": defaults | recipe,
        }
    )
    architecture = architecture or Toy()
    if module is None:
        torch.manual_seed(seed)
        module = ToyDecoder(ToyConfig(vocab_size=257))
    built = module
    return TrainingJob(
        spec=spec,
        architecture=architecture,
        build=lambda: built,
        tokenizer=ToyTokenizer(),
        sources=[
            Source("kk", 2.0, documents(20), documents(3, 90)),
            Source("tr", 1.0, documents(20, 40), documents(3, 95)),
        ],
        hardware=CPU,
        out=out,
        reference="toy:tiny",
        progress=False,
    )


def fit(job: TrainingJob) -> Path:
    return Pretrain().fit(job)


def log(out: Path) -> list[dict[str, Any]]:
    """Return the lines of the log without their timing."""
    lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "timing"} for line in lines]


def training_state(folder: Path) -> dict[str, Any]:
    state: dict[str, Any] = torch.load(folder / "training" / "state.pt", weights_only=True)
    return state


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
    assert same(training_state(last_a), training_state(last_b))
    assert log(a) == log(b)
    assert [path.name for path in checkpoints(a)] == [path.name for path in checkpoints(b)]


# Schedules


def test_til_mini_schedule() -> None:
    """89,690 steps at 6e-4: 1000 of warm-up, then stable, then the last 30% in a line to 0."""
    schedule = Schedule(name="wsd", warmup=1000, decay=0.3, final=0.0)
    decay = round(0.3 * 89_690)
    start = 89_690 - decay
    expected = {
        1: 6e-7,
        500: 3e-4,
        1000: 6e-4,
        1001: 6e-4,
        start: 6e-4,
        start + 1: 6e-4 * (1 - 1 / decay),
        89_690 - 9: 6e-4 * 9 / decay,
        89_690: 0.0,
    }
    for step, rate in expected.items():
        assert learning_rate(step, 89_690, 6e-4, schedule) == pytest.approx(rate, rel=1e-12, abs=1e-18)


def test_small_english_italian_schedule() -> None:
    """The 1gpu model's WSD goes from 2e-4 to 2e-5."""
    schedule = Schedule(name="wsd", warmup=100, decay=0.1, final=0.1)
    assert learning_rate(900, 1000, 2e-4, schedule) == 2e-4
    assert learning_rate(950, 1000, 2e-4, schedule) == pytest.approx(1.1e-4)
    assert learning_rate(1000, 1000, 2e-4, schedule) == pytest.approx(2e-5, rel=1e-12)


def test_turkish_schedule() -> None:
    """Cosine from 3e-4 to 3e-5 over 50K steps, the first 500 of warm-up."""
    schedule = Schedule(name="cosine", warmup=500, final=0.1)

    def closed_form(step: int) -> float:
        return 3e-5 + 0.5 * (3e-4 - 3e-5) * (1 + math.cos(math.pi * (step - 500) / 49_500))

    assert learning_rate(250, 50_000, 3e-4, schedule) == pytest.approx(1.5e-4)
    for step in (500, 501, 12_875, 25_250, 49_999, 50_000):
        assert learning_rate(step, 50_000, 3e-4, schedule) == pytest.approx(closed_form(step), rel=1e-12)


def test_linear_and_constant_schedules() -> None:
    linear = Schedule(name="linear", warmup=10, final=0.0)
    assert [learning_rate(step, 110, 1.0, linear) for step in (5, 10, 60, 110)] == [0.5, 1.0, 0.5, 0.0]
    constant = Schedule(name="constant", warmup=10)
    assert [learning_rate(step, 110, 1.0, constant) for step in (5, 10, 110)] == [0.5, 1.0, 1.0]


@pytest.mark.parametrize("name", ["wsd", "cosine", "linear", "constant"])
@pytest.mark.parametrize("steps", [1, 2, 7])
def test_short_schedules_are_finite_and_bounded(name: Any, steps: int) -> None:
    for decay in (0.0, 0.3, 1.0):
        schedule = Schedule(name=name, decay=decay, warmup=min(1, steps - 1))
        rates = [learning_rate(step, steps, 1e-3, schedule) for step in range(1, steps + 1)]
        assert all(0 <= rate <= 1e-3 for rate in rates)


# Optimizer


def test_decay_goes_to_matrices_only() -> None:
    module = ToyDecoder(ToyConfig(vocab_size=257))
    optimizer = adamw(module, Optimizer(learning_rate=1e-3, weight_decay=0.1))
    decayed, plain = optimizer.param_groups
    assert {id(each) for each in decayed["params"]} == {id(module.embedding.weight), id(module.inner.weight)}
    assert decayed["weight_decay"] == 0.1
    assert {each.ndim for each in plain["params"]} == {1}
    assert plain["weight_decay"] == 0.0
    assert optimizer.defaults["fused"] is True


def test_only_trainable_parameters_are_optimised(tmp_path: Path) -> None:
    job = make_job(tmp_path, steps=2, schedule={})
    assert isinstance(job.module, ToyDecoder)
    job.module.embedding.requires_grad_(False)
    before = {name: value.clone() for name, value in job.module.state_dict().items()}
    fit(job)
    changed = {name for name, value in job.module.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {"inner.weight", "inner.bias", "norm.weight", "norm.bias"}
    assert training_state(checkpoints(tmp_path)[-1])["names"] == sorted(changed, key=list(before).index)


def test_nothing_to_train_is_refused(tmp_path: Path) -> None:
    job = make_job(tmp_path)
    job.module.requires_grad_(False)
    with pytest.raises(ConfigError, match="nothing to train"):
        fit(job)


def test_clip_returns_the_norm_from_before() -> None:
    parameter = nn.Parameter(torch.zeros(2))
    parameter.grad = torch.tensor([3.0, 4.0])
    assert clip([parameter], 0.0).item() == 5.0
    assert parameter.grad.tolist() == [3.0, 4.0]
    assert clip([parameter], 1.0).item() == 5.0
    assert parameter.grad.norm().item() == pytest.approx(1.0, rel=1e-5)


@pytest.mark.parametrize("split", [(1, 4, 1), (2, 2, 1), (2, 1, 2)])
def test_accumulation_equals_the_large_batch(tmp_path: Path, split: tuple[int, int, int]) -> None:
    def weights(out: Path, batch_size: int, accumulation: int, devices: int) -> Tensor:
        torch.manual_seed(5)
        module = ToyDecoder(ToyConfig(vocab_size=257, dropout=0.0))
        # A large eps, so that AdamW does not turn a rounding difference in a tiny gradient into a whole step.
        optimizer = {"learning_rate": 1e-2, "eps": 1e-3}
        sizes = {"batch_size": batch_size, "accumulation": accumulation, "devices": devices}
        fit(make_job(out, module=module, optimizer=optimizer, **sizes))
        return nn.utils.parameters_to_vector(module.parameters()).detach()

    large = weights(tmp_path / "large", 4, 1, 1)
    small = weights(tmp_path / "small", *split)
    assert (large - small).abs().max() < 1e-6
    losses = [[line["loss"] for line in log(tmp_path / name) if "loss" in line] for name in ("large", "small")]
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)


# The loop


def test_loss_begins_near_uniform_and_falls(tmp_path: Path) -> None:
    module = ToyDecoder(ToyConfig(vocab_size=257))
    nn.init.normal_(module.embedding.weight, std=0.02)
    fit(make_job(tmp_path, module=module, steps=120, checkpoint_every=0, optimizer={"learning_rate": 3e-2}))
    losses = [line["loss"] for line in log(tmp_path) if "loss" in line]
    assert losses[0] == pytest.approx(math.log(257), abs=0.2)
    assert sum(losses[-10:]) / 10 < 0.6 * losses[0]


def test_each_token_is_predicted_from_those_before_it(tmp_path: Path) -> None:
    """The loss that is logged for step 1 is the untrained module's on the next token of the first documents."""
    module = ToyDecoder(ToyConfig(vocab_size=257, dropout=0.0))
    untrained = ToyDecoder(ToyConfig(vocab_size=257))
    untrained.load_state_dict(module.state_dict())
    text = "abcdefghijklmnop"
    job = make_job(tmp_path, module=module, steps=1, schedule={}, batch_size=1, accumulation=1, sequence_length=17)
    fit(replace(job, sources=[Source("a", 1.0, [Document("1", text), Document("2", text)])]))
    ids = torch.tensor([[EOS, *text.encode(), EOS]])
    logits = untrained.eval()(ids[:, :-1])[0]
    expected = nn.functional.cross_entropy(logits, ids[0, 1:]).item()
    assert log(tmp_path)[0]["loss"] == pytest.approx(expected, rel=1e-6)


def test_it_equals_a_loop_written_out(tmp_path: Path) -> None:
    """The same rows through plain torch: all logits at once, unfused AdamW, a schedule and clipping by hand."""
    torch.manual_seed(3)
    module = ToyDecoder(ToyConfig(vocab_size=257, dropout=0.0))
    plain = ToyDecoder(ToyConfig(vocab_size=257, dropout=0.0))
    plain.load_state_dict(module.state_dict())
    optimizer = {"learning_rate": 1e-2, "clip": 0.5, "weight_decay": 0.2, "betas": (0.8, 0.9), "eps": 1e-4}
    job = make_job(tmp_path, module=module, optimizer=optimizer)
    fit(job)
    kinds = [[each for each in plain.parameters() if (each.ndim >= 2) is matrix] for matrix in (True, False)]
    groups = [{"params": kinds[0], "weight_decay": 0.2}, {"params": kinds[1], "weight_decay": 0.0}]
    adam = torch.optim.AdamW(groups, lr=1.0, betas=(0.8, 0.9), eps=1e-4, fused=False)
    files = {}
    for source in job.sources:
        ids = [token for document in documents_of(source) for token in [*document.text.encode(), EOS]]
        files[source.name] = (source.weight, np.array(ids))
    stream = Stream(files, sequence_length=16, rows=4)
    rates = [1 / 3, 2 / 3, 1, 1, 1, 1, 1, 1, 0.75, 0.5, 0.25, 0]
    norms = []
    for step, rate in enumerate(rates):
        batch = stream.batch(step)
        loss = nn.functional.cross_entropy(plain(batch.ids).flatten(0, 1), batch.targets.flatten())
        loss.backward()  # type: ignore[no-untyped-call]
        norms.append(nn.utils.clip_grad_norm_(plain.parameters(), 0.5).item())
        for group in adam.param_groups:
            group["lr"] = 1e-2 * rate
        adam.step()
        adam.zero_grad()
    for name, value in plain.state_dict().items():
        torch.testing.assert_close(module.state_dict()[name], value, atol=1e-6, rtol=1e-5)
    assert [line["grad_norm"] for line in log(tmp_path) if "loss" in line] == pytest.approx(norms, rel=1e-5)
    assert max(norms) > 0.5


def test_log_has_every_step_and_validations(tmp_path: Path) -> None:
    fit(make_job(tmp_path))
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    steps = [line for line in lines if "loss" in line]
    assert [line["step"] for line in steps] == list(range(1, 13))
    assert [line["tokens"] for line in steps] == [64 * step for step in range(1, 13)]
    assert [line["step"] for line in lines if "validation" in line] == [4, 8, 12]
    assert set(steps[0]) == {"step", "loss", "lr", "grad_norm", "tokens", "timing"}
    assert set(steps[0]["timing"]) == {"seconds", "tokens_per_second", "mfu", "peak_memory_bytes"}
    parameters = Toy().parameters(ToyConfig(vocab_size=257))
    timing = steps[0]["timing"]
    assert timing["mfu"] == pytest.approx(6 * parameters * timing["tokens_per_second"] / 0.1e12)
    assert timing["peak_memory_bytes"] > 1e7


def test_validation_is_bits_per_byte_of_the_texts(tmp_path: Path) -> None:
    job = make_job(tmp_path, steps=2, schedule={})
    fit(job)
    last = log(tmp_path)[-1]["validation"]
    module = job.module.eval()
    nats, size, tokens = 0.0, 0, 0
    for document in documents_of(job.sources[0], heldout=True):
        ids = torch.tensor([[EOS, *document.text.encode()]])[:, : 64 + 1]
        rest = torch.tensor([[*document.text.encode()]])[:, 64:]
        assert not rest.numel()  # one window holds the whole document
        logprobs = module(ids[:, :-1])[0].log_softmax(-1)
        nats -= logprobs.gather(1, ids[0, 1:, None]).double().sum().item()
        size, tokens = size + len(document.text.encode()), tokens + ids.shape[1] - 1
    assert set(last) == {"kk", "tr"}
    assert last["kk"]["bpb"] == pytest.approx(nats / math.log(2) / size, rel=1e-6)
    assert last["kk"]["loss"] == pytest.approx(nats / tokens, rel=1e-6)


class Folding(ToyTokenizer):
    """Reads capital letters as small ones."""

    def encode(self, text: str) -> list[int]:
        return super().encode(text.lower())

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        return [self.encode(text) for text in texts]


@pytest.mark.parametrize(("text", "lost"), [("БІР", 6), ("бір " * 200 + "Үш", 2), ("бір", 0)])
def test_validation_charges_and_shows_what_the_tokenizer_loses(tmp_path: Path, text: str, lost: int) -> None:
    sources = [Source("kk", 1.0, documents(20), [Document("held out", text)])]
    job = replace(make_job(tmp_path, steps=2, schedule={}), tokenizer=Folding(), sources=sources)
    fit(job)
    measured = log(tmp_path)[-1]["validation"]["kk"]
    small = replace(
        job, tokenizer=ToyTokenizer(), sources=[replace(sources[0], validation=[Document("", text.lower())])]
    )
    plain = Validator(small, torch.device("cpu"), Prefix(EOS, False, "eos")).measure()["kk"]
    size = len(text.encode())
    assert measured.get("lost", 0) == lost / size
    assert ("bpb" in measured) == (lost <= 0.01 * size)
    if "bpb" in measured:
        assert measured["bpb"] == pytest.approx(plain["bpb"] + 8 * lost / size, rel=1e-6)


def test_the_best_by_bits_per_byte_needs_a_tokenizer_that_keeps_the_text(tmp_path: Path) -> None:
    job = make_job(tmp_path, keep_best="bpb", checkpoint_every=4)
    sources = [Source("kk", 1.0, documents(20), [Document("held out", "БІР")])]
    with pytest.raises(ConfigError, match=r"source 'kk' has none: the model's tokens do not reproduce 100\.0%"):
        fit(replace(job, tokenizer=Folding(), sources=sources))


def test_validation_does_not_touch_training(tmp_path: Path) -> None:
    fit(make_job(tmp_path / "often", validate_every=1))
    fit(make_job(tmp_path / "once", validate_every=0))
    often, once = ([line for line in log(tmp_path / name) if "loss" in line] for name in ("often", "once"))
    assert often == once


def test_a_module_in_eval_mode_is_trained_with_dropout(tmp_path: Path) -> None:
    job = make_job(tmp_path / "eval")
    job.module.eval()
    fit(job)
    fit(make_job(tmp_path / "train"))
    assert log(tmp_path / "eval") == log(tmp_path / "train")


def test_the_callers_generator_is_left_alone(tmp_path: Path) -> None:
    job = make_job(tmp_path, steps=2, schedule={})
    before = torch.get_rng_state()
    fit(job)
    assert torch.equal(before, torch.get_rng_state())


def test_bf16_trains_in_fp32_weights(tmp_path: Path) -> None:
    job = make_job(tmp_path, precision="bf16", steps=20)
    fit(job)
    losses = [line["loss"] for line in log(tmp_path) if "loss" in line]
    assert losses[-1] < losses[0]
    assert {each.dtype for each in job.module.parameters()} == {torch.float32}


def test_a_profile_of_another_machine_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match=r"has a xla device and this machine has none; .*--hardware cpu"):
        fit(replace(make_job(tmp_path, steps=1, schedule={}), hardware=replace(CPU, device="xla")))


def test_a_precision_that_is_slower_than_fp32_is_said_before_waiting(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    slow = replace(CPU, peak_tflops={"fp32": 0.1, "bf16": 0.02})
    job = replace(make_job(tmp_path, precision="bf16", steps=1, schedule={}), hardware=slow, progress=True)
    fit(job)
    assert "bf16 is 5.0 times as slow as fp32 on toy" in capsys.readouterr().err
    for recipe, hardware in (("bf16", replace(slow, peak_tflops={"fp32": 0.1, "bf16": 0.2})), ("fp32", slow)):
        settings = make_job(tmp_path, precision=recipe).spec.recipe
        assert settings is not None
        assert slower_precision(settings, hardware) == ""


# Checkpoints


def test_checkpoints_say_what_they_are(tmp_path: Path) -> None:
    last = fit(make_job(tmp_path))
    info = read_info(last)
    assert last.name == "step-00000012"
    assert (info.model, info.step, info.tokens, info.prefix) == ("toy:tiny", 12, 12 * 64, EOS)
    assert info.architecture.config == {"vocab_size": 257, "max_length": 64, "width": 16, "dropout": 0.1}
    assert info.parameters == Toy().parameters(ToyConfig(vocab_size=257))
    assert info.run == json.loads((tmp_path / "run.json").read_text())["digest"]
    assert (last / "tokenizer.json").is_file()


def test_first_checkpoint_is_the_untrained_module(tmp_path: Path) -> None:
    job = make_job(tmp_path)
    before = {name: value.clone() for name, value in job.module.state_dict().items()}
    fit(job)
    first = Toy().load(ToyConfig(vocab_size=257), tmp_path / "step-00000000")
    assert same(dict(first.state_dict()), before)


def test_retention(tmp_path: Path) -> None:
    fit(make_job(tmp_path, checkpoint_every=1, keep=3))
    assert [int(path.name[5:]) for path in checkpoints(tmp_path)] == [0, 9, 10, 11, 12]
    assert [(path / "training").is_dir() for path in checkpoints(tmp_path)] == [False, False, False, True, True]


def test_checkpoint_every_zero_keeps_first_and_last(tmp_path: Path) -> None:
    fit(make_job(tmp_path, checkpoint_every=0))
    assert [path.name for path in checkpoints(tmp_path)] == ["step-00000000", "step-00000012"]


# Going on


class Killed(BaseException):
    """Stands for kill -9: nothing in the loop catches it."""


def killed_after(job: TrainingJob, passes: int) -> None:
    """Train until forward pass `passes` + 1, which never happens."""
    seen = 0

    def before(_: Tensor) -> None:
        nonlocal seen
        seen += 1
        if seen > passes:
            raise Killed

    job.module.before = before  # type: ignore[assignment]
    with pytest.raises(Killed):
        fit(job)


@pytest.mark.parametrize("mixing", ["weighted", "interleaved"])
@pytest.mark.parametrize("steps_done", [0, 1, 6, 7, 11])
def test_resume_is_bit_exact(tmp_path: Path, steps_done: int, mixing: str) -> None:
    fit(make_job(tmp_path / "whole", mixing=mixing))
    killed_after(make_job(tmp_path / "parts", mixing=mixing), 2 * steps_done + 1)
    # The second sitting is given differently initialised weights, which must not matter.
    fit(make_job(tmp_path / "parts", mixing=mixing, seed=99))
    assert_same_run(tmp_path / "whole", tmp_path / "parts")


@pytest.mark.parametrize("passes", [5, 9, 15, 21])
def test_the_best_step_is_the_same_after_a_death(tmp_path: Path, passes: int) -> None:
    recipe: dict[str, Any] = {"validate_every": 3, "checkpoint_every": 2, "keep": 1, "keep_best": "bpb"}
    recipe |= {"optimizer": {"learning_rate": 0.5}, "schedule": {"name": "constant", "warmup": 11}}
    fit(make_job(tmp_path / "whole", **recipe))
    killed_after(make_job(tmp_path / "parts", **recipe), passes)
    fit(make_job(tmp_path / "parts", **recipe))
    assert_same_run(tmp_path / "whole", tmp_path / "parts")


def test_resume_after_many_deaths(tmp_path: Path) -> None:
    fit(make_job(tmp_path / "whole"))
    for _ in range(3):
        killed_after(make_job(tmp_path / "parts"), 2 * 3 + 1)
    fit(make_job(tmp_path / "parts"))
    assert_same_run(tmp_path / "whole", tmp_path / "parts")


def test_what_a_killed_save_leaves_is_ignored_and_removed(tmp_path: Path) -> None:
    fit(make_job(tmp_path / "whole"))
    killed_after(make_job(tmp_path / "parts"), 2 * 8 + 1)
    half = tmp_path / "parts" / ".step-00000009.x1y2"
    (half / "training").mkdir(parents=True)
    (half / "model.safetensors").write_bytes(b"half")
    bare = tmp_path / "parts" / "step-00000099"
    bare.mkdir()
    left = tmp_path / "parts" / "data" / ".kk.bin.abc"
    left.write_bytes(b"\0")
    with (tmp_path / "parts" / "log.jsonl").open("a") as file:
        file.write('{"step": 9, "lo')
    fit(make_job(tmp_path / "parts"))
    assert not half.exists()
    assert not left.exists()
    assert_same_run(tmp_path / "whole", tmp_path / "parts")


def test_a_save_that_fails_leaves_the_checkpoint_before(tmp_path: Path) -> None:
    architecture = Toy()
    job = make_job(tmp_path / "parts", architecture=architecture)
    job.module.before = lambda _: setattr(architecture, "broken", True)  # type: ignore[assignment]
    with pytest.raises(OSError, match="no space"):
        fit(job)
    assert [path.name for path in (tmp_path / "parts").glob("*step-*")] == ["step-00000000"]
    fit(make_job(tmp_path / "parts"))
    fit(make_job(tmp_path / "whole"))
    assert_same_run(tmp_path / "whole", tmp_path / "parts")


def test_a_finished_run_returns_at_once(tmp_path: Path) -> None:
    last = fit(make_job(tmp_path))
    before = (tmp_path / "log.jsonl").read_bytes()
    job = make_job(tmp_path)
    job.module.hidden = None  # type: ignore[assignment]
    assert fit(job) == last
    assert (tmp_path / "log.jsonl").read_bytes() == before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_finishes_the_step_and_saves(tmp_path: Path, number: signal.Signals) -> None:
    fit(make_job(tmp_path / "whole"))
    job = make_job(tmp_path / "parts")
    seen = 0

    def before(_: Tensor) -> None:
        nonlocal seen
        seen += 1
        if seen == 2 * 4 + 1:  # in the first pass of step 5
            os.kill(os.getpid(), number)

    job.module.before = before  # type: ignore[assignment]
    handlers = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt, match=f"{number.name}: .*step-00000005 is saved"):
        fit(job)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == handlers
    assert checkpoints(tmp_path / "parts")[-1].name == "step-00000005"
    fit(make_job(tmp_path / "parts"))
    assert_same_run(tmp_path / "whole", tmp_path / "parts")


def test_a_second_signal_is_not_held_back() -> None:
    with StopRequests() as stop:
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.name == "SIGINT"
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


# Refusals


def test_another_recipe_is_refused_by_field(tmp_path: Path) -> None:
    killed_after(make_job(tmp_path), 9)
    changed = make_job(tmp_path, optimizer={"learning_rate": 2e-2}, seed=0, mixing="interleaved")
    with pytest.raises(CheckpointError) as error:
        fit(changed)
    message = str(error.value)
    assert 'recipe.mixing was "weighted" and is now "interleaved"' in message
    assert "recipe.optimizer.learning_rate was 0.01 and is now 0.02" in message
    assert "another folder" in message
    assert "\n" not in message


def test_other_data_and_another_tokenizer_are_refused(tmp_path: Path) -> None:
    killed_after(make_job(tmp_path), 9)
    job = make_job(tmp_path)
    with pytest.raises(CheckpointError, match=r"data\.kk\.fingerprint was"):
        fit(replace(job, sources=[Source("kk", 2.0, documents(19)), job.sources[1]]))
    other = ToyTokenizer()
    other.fingerprint = "toy-2"
    with pytest.raises(CheckpointError, match=r'tokenizer\.fingerprint was "toy-1" and is now "toy-2"'):
        fit(replace(job, tokenizer=other))


def test_what_does_not_touch_the_weights_may_change(tmp_path: Path) -> None:
    killed_after(make_job(tmp_path), 9)
    fit(make_job(tmp_path, keep=1, checkpoint_every=4, validate_every=0))
    assert [path.name[-2:] for path in checkpoints(tmp_path)] == ["00", "08", "12"]


def test_a_run_that_never_began_binds_nobody(tmp_path: Path) -> None:
    job = make_job(tmp_path)
    with pytest.raises(DataError):
        fit(replace(job, sources=[Source("kk", 1.0, [Document("1", "abc")])]))
    assert fit(make_job(tmp_path, steps=4)).name == "step-00000004"


def test_checkpoints_of_nobody_are_refused(tmp_path: Path) -> None:
    fit(make_job(tmp_path))
    (tmp_path / "run.json").unlink()
    with pytest.raises(CheckpointError, match=r"no run\.json"):
        fit(make_job(tmp_path))


def test_a_run_without_training_state_is_refused(tmp_path: Path) -> None:
    killed_after(make_job(tmp_path), 9)
    for path in tmp_path.rglob("state.pt"):
        path.unlink()
    with pytest.raises(CheckpointError, match="none with training/state"):
        fit(make_job(tmp_path))


def test_a_damaged_training_state_is_one_line(tmp_path: Path) -> None:
    killed_after(make_job(tmp_path), 9)
    path = checkpoints(tmp_path)[-1] / "training" / "state.pt"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(CheckpointError, match=r"remove .*step-00000003 to go on"):
        fit(make_job(tmp_path))


def test_a_loss_that_is_no_number_stops_with_the_rows(tmp_path: Path) -> None:
    job = make_job(tmp_path)
    seen = 0

    def before(_: Tensor) -> None:
        nonlocal seen
        seen += 1
        if seen == 2 * 4 + 2:  # in the second pass of step 5
            with torch.no_grad():
                job.module.inner.bias.fill_(math.nan)  # type: ignore[union-attr, operator]

    job.module.before = before  # type: ignore[assignment]
    with pytest.raises(TilbenchError, match=r"^step 5: the loss is nan") as error:
        fit(job)
    assert str(tmp_path / "step-00000003") in str(error.value)
    assert str(error.value).count("(epoch 0)") == 4
    assert [line["step"] for line in log(tmp_path) if "loss" in line] == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("recipe", "error", "message"),
    [
        ({"sequence_length": 65}, ConfigError, "65 is more than the model's 64"),
        ({"precision": "fp16"}, Unsupported, "CUDA only"),
        ({"adapter": {"rank": 2, "alpha": 4}}, ConfigError, "adds none"),
    ],
)
def test_recipes_that_cannot_be_run(
    tmp_path: Path, recipe: dict[str, Any], error: type[TilbenchError], message: str
) -> None:
    with pytest.raises(error, match=message):
        fit(make_job(tmp_path, **recipe))
    assert not list(tmp_path.iterdir())


def test_a_finished_run_builds_no_module(tmp_path: Path) -> None:
    def job(steps: int) -> TrainingJob:
        made = make_job(tmp_path, steps=steps)
        sizes = ArchitectureRef(name="toy", config={"width": 16, "vocab_size": 257})
        return replace(made, spec=made.spec.model_copy(update={"architecture": sizes}))

    def refuse() -> ToyDecoder:
        raise AssertionError("the module was built")

    last = fit(job(4))
    written = (tmp_path / "run.json").stat().st_mtime_ns
    assert fit(replace(job(4), build=refuse)) == last
    assert (tmp_path / "run.json").stat().st_mtime_ns == written
    with pytest.raises(AssertionError, match="the module was built"):
        fit(replace(job(5), build=refuse))


def test_jobs_that_cannot_be_run(tmp_path: Path) -> None:
    job = make_job(tmp_path)
    with pytest.raises(ConfigError, match="has no recipe"):
        fit(replace(job, spec=job.spec.model_copy(update={"recipe": None})))
    with pytest.raises(ConfigError, match="two sources are called 'kk'"):
        fit(replace(job, sources=[job.sources[0]] * 2))
    with pytest.raises(ConfigError, match="257 ids and the embedding 200 rows"):
        fit(replace(job, build=lambda: ToyDecoder(ToyConfig(vocab_size=200))))
    with pytest.raises(DataError, match="'kk' has 9 tokens, and one sequence needs 17"):
        fit(replace(job, sources=[Source("kk", 1.0, [Document("1", "abcdefgh")])]))
    with pytest.raises(ConfigError, match="4 sequences .* which 3 processes cannot share equally"):
        fit(replace(job, ranks=Ranks(world=3)))


# Token files


def encode(texts: Sequence[str]) -> list[list[int]]:
    return ToyTokenizer().encode_batch(texts)


def test_token_file_is_documents_end_to_end(tmp_path: Path) -> None:
    made = token_file(
        tmp_path / "a.bin",
        [Document("1", "ab"), Document("2", ""), Document("3", "ü")],
        Encoding(encode=encode, separator=EOS, vocabulary=257, fingerprint="x"),
    )
    assert made.ids.dtype == np.dtype("<u2")
    assert made.ids.tolist() == [97, 98, EOS, 0xC3, 0xBC, EOS]
    assert (made.documents, made.bytes) == (2, 4)
    assert (tmp_path / "a.bin").read_bytes() == np.array(made.ids.tolist(), dtype="<u2").tobytes()


def test_token_file_is_made_once(tmp_path: Path) -> None:
    calls: list[int] = []

    def counted(texts: Sequence[str]) -> list[list[int]]:
        calls.append(len(texts))
        return encode(texts)

    def ids(fingerprint: str, vocabulary: int = 257) -> Any:
        encoding = Encoding(encode=counted, separator=None, vocabulary=vocabulary, fingerprint=fingerprint)
        return token_file(tmp_path / "a.bin", documents(3), encoding).ids

    first = ids("x").tolist()
    assert ids("x").tolist() == first
    assert calls == [3]
    ids("y")
    assert len(calls) == 2
    assert ids("y", vocabulary=70_000).dtype == np.dtype("<u4")
    (tmp_path / "a.bin").write_bytes(b"\0\0")
    assert ids("y", vocabulary=70_000).tolist() == first
    assert len(calls) == 4


def test_token_file_refuses_ids_outside_the_vocabulary(tmp_path: Path) -> None:
    def build(vocabulary: int) -> None:
        encoding = Encoding(encode=encode, separator=None, vocabulary=vocabulary, fingerprint="x")
        token_file(tmp_path / "a.bin", [Document("1", "a"), Document("two", "az")], encoding)

    with pytest.raises(DataError, match=r"document 'two' has the token 122, and the vocabulary ends at 121"):
        build(122)
    assert not list(tmp_path.iterdir())
    build(123)


def test_token_file_of_nothing_is_refused(tmp_path: Path) -> None:
    encoding = Encoding(encode=encode, separator=EOS, vocabulary=257, fingerprint="x")
    with pytest.raises(DataError, match="none of its 1 documents has"):
        token_file(tmp_path / "a.bin", [Document("1", "")], encoding)


def test_token_path_fits_any_name(tmp_path: Path) -> None:
    assert token_path(tmp_path, "kk").name == "kk.bin"
    odd = {token_path(tmp_path, name) for name in ("../a/b", ".._a_b", "../a_b", "қазақ тілі", "..")}
    assert len(odd) == 5
    assert {path.parent for path in odd} == {tmp_path}


# Telemetry


def test_heldout_texts_stop_at_the_budget() -> None:
    rows = [Document("1", "abc"), Document("2", "üüü"), Document("3", "d")]
    assert heldout_texts(rows, 100) == ["abc", "üüü", "d"]
    assert heldout_texts(rows, 6) == ["abc", "ü"]
    assert heldout_texts(rows, 3) == ["abc"]


def test_peak_memory_is_that_of_the_process() -> None:
    assert 1e8 < peak_memory() < 1e12


# With the real parts


def test_it_is_a_trainer() -> None:
    assert isinstance(Pretrain(), Trainer)


@pytest.mark.parametrize("name", ["gpt2", "llama", "alibi", "mla"])
def test_a_real_architecture_resumes(tmp_path: Path, name: str) -> None:
    import importlib

    classes = {"gpt2": "GPT2", "llama": "Llama", "alibi": "Alibi", "mla": "MLA"}
    family = getattr(importlib.import_module(f"tilbench_decoders.{name}"), classes[name])()
    sizes = {"vocab_size": 257, "max_length": 64, "hidden_size": 16, "num_layers": 2, "num_heads": 2}
    latent = {"q_lora_rank": 8, "kv_lora_rank": 8, "qk_rope_head_dim": 4, "qk_nope_head_dim": 4, "v_head_dim": 4}
    config = sizes | {"intermediate_size": 32, "dropout": 0.1} | (latent if name == "mla" else {})

    def real_job(out: Path) -> TrainingJob:
        torch.manual_seed(1)
        module = family.build(family.Config.model_validate(config))
        job = make_job(out, module=module, architecture=family, steps=6, schedule={"warmup": 2})
        reference = job.spec.architecture.model_copy(update={"name": name, "config": config})
        return replace(job, spec=job.spec.model_copy(update={"architecture": reference}))

    fit(real_job(tmp_path / "whole"))
    stopped = real_job(tmp_path / "parts")
    forward, seen = stopped.module.hidden, iter(range(8))

    def hidden(ids: Tensor, **options: Any) -> Tensor:
        if stopped.module.training and next(seen, None) is None:
            raise Killed
        return forward(ids, **options)  # type: ignore[no-any-return, operator]

    stopped.module.hidden = hidden  # type: ignore[assignment]
    with pytest.raises(Killed):
        fit(stopped)
    fit(real_job(tmp_path / "parts"))
    assert_same_run(tmp_path / "whole", tmp_path / "parts")

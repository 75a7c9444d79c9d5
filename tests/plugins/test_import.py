"""Weights of other implementations: written here in plain torch under other names, imported, and run side by side."""

from __future__ import annotations

import functools
import json
import math
import pickle
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor, nn

from tilbench.config.references import parse_spec
from tilbench.errors import CheckpointError, Unsupported
from tilbench.loader import Host
from tilbench.resolve.specs import load_spec
from tilbench_import.check import try_rotary
from tilbench_import.match import Options, match
from tilbench_import.plan import Asked, plan_import, write_import
from tilbench_import.state import native_shapes
from tilbench_import.templates import templates
from tilbench_import.words import Guess

V, T, D, H, K, INNER, LAYERS = 259, 32, 32, 4, 2, 40, 3
"""Sizes of everything here; 259 is the byte tokenizer's."""
W = D // H

SIZES = f"vocab_size={V} max_length={T} hidden_size={D} num_layers={LAYERS} num_heads={H}".split()
GROUPED = [*SIZES, f"num_kv_heads={K}", f"intermediate_size={INNER}", f"head_dim={W}"]
LATENT = ["kv_lora_rank=12", "qk_rope_head_dim=4", "qk_nope_head_dim=8", "v_head_dim=6", "q_lora_rank=16"]
SPECS = {
    "gpt2": ("1gpu-small-en-it:tiny", [*SIZES, "intermediate_size=64"]),
    "llama": ("auto-g-nano-1b:tiny", [*GROUPED, "rope_theta=5000.0"]),
    "alibi": ("turkish-v1:tiny", GROUPED),
    "mla": ("til-mini-1b:tiny", [*SIZES, *LATENT, f"intermediate_size={INNER}", "rope_theta=5000.0"]),
}


def asked(name: str, *more: str, **options: Any) -> Asked:
    spec, sizes = SPECS[name]
    overrides = [f"architecture.config.{each}" for each in (*sizes, *more)]
    return Asked(spec, overrides, "bytes", options=Options(**options))


# Another implementation of each architecture. All are pre-norm decoders; their names and layouts differ.


def causal(scores: Tensor) -> Tensor:
    """Attention weights [.., T, T] of scores, the future left out."""
    hidden = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)
    return scores.masked_fill(hidden, -math.inf).softmax(-1)


class Rms(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Any:
        return x * (x.pow(2).mean(-1, keepdim=True) + 1e-6).rsqrt() * self.weight


class Conv1D(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.zeros(inputs, outputs)), nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Tensor) -> Any:
        return x @ self.weight + self.bias


def tables(theta: float, width: int) -> tuple[Tensor, Tensor]:
    angles = torch.outer(torch.arange(T).float(), theta ** (-torch.arange(0, width, 2).float() / width))
    return angles.cos(), angles.sin()


def turn_neighbours(x: Tensor, theta: float) -> Tensor:
    """Rotary as in Meta's Llama: [B, H, T, W], complex numbers of neighbours."""
    cos, sin = tables(theta, x.shape[-1])
    pairs = torch.view_as_complex(x.float().reshape(*x.shape[:-1], -1, 2))
    return torch.view_as_real(pairs * torch.complex(cos, sin)[: x.shape[-2]]).flatten(-2)


def turn_halves(x: Tensor, theta: float) -> Tensor:
    """Rotary as in Transformers."""
    cos, sin = (torch.cat((each, each), -1)[: x.shape[-2]] for each in tables(theta, x.shape[-1]))
    a, b = x.chunk(2, -1)
    return x * cos + torch.cat((-b, a), -1) * sin


def heads(x: Tensor, count: int) -> Tensor:
    return x.view(*x.shape[:-1], count, -1).transpose(1, 2)


def grouped(q: Tensor, k: Tensor, v: Tensor, penalty: Tensor | float = 0.0) -> Tensor:
    """Attention of q [B, H, T, W] over k and v [B, K, T, W] → [B, T, H W]."""
    k, v = (each.repeat_interleave(q.shape[1] // each.shape[1], 1) for each in (k, v))
    return (causal(q @ k.mT / math.sqrt(q.shape[-1]) + penalty) @ v).transpose(1, 2).flatten(2)


class Stack(nn.Module):
    """x + attention(norm(x)), x + feed_forward(norm(x)), under the names of `Block`."""

    names: tuple[str, str, str, str]
    """Embedding, layers, final norm and output layer."""

    def __init__(self, block: Callable[[], nn.Module], norm: nn.Module, *, tied: bool) -> None:
        super().__init__()
        embedding, layers, last, head = self.names
        setattr(self, embedding, nn.Embedding(V, D))
        setattr(self, layers, nn.ModuleList(block() for _ in range(LAYERS)))
        setattr(self, last, norm)
        if not tied:
            setattr(self, head, nn.Linear(D, V, bias=False))

    def embedded(self, ids: Tensor) -> Any:
        return getattr(self, self.names[0])(ids)

    def forward(self, ids: Tensor) -> Any:
        embedding, layers, last, head = (getattr(self, name, None) for name in self.names)
        assert embedding is not None
        assert layers is not None
        x = self.embedded(ids)
        for block in layers:
            x = block(x)
        x = last(x) if last else x
        return head(x) if head else x @ embedding.weight.T


class Conv1DBlock(nn.Module):
    """GPT-2 as OpenAI wrote it: fused queries, keys and values, [in, out] matrices, a mask kept as a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(D), nn.LayerNorm(D)
        self.attn: Any = nn.Module()
        self.mlp: Any = nn.Module()
        self.attn.c_attn, self.attn.c_proj = Conv1D(D, 3 * D), Conv1D(D, D)
        self.attn.register_buffer("bias", torch.ones(T, T).tril().view(1, 1, T, T))
        self.mlp.c_fc, self.mlp.c_proj = Conv1D(D, 64), Conv1D(64, D)

    def forward(self, x: Tensor) -> Any:
        q, k, v = (heads(each, H) for each in self.attn.c_attn(self.ln_1(x)).split(D, -1))
        x = x + self.attn.c_proj(grouped(q, k, v))
        return x + self.mlp.c_proj(F.gelu(self.mlp.c_fc(self.ln_2(x)), approximate="tanh"))


class NanoBlock(nn.Module):
    """GPT-2's names as nanoGPT has them: torch's linear layers, and GELU itself."""

    def __init__(self) -> None:
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(D), nn.LayerNorm(D)
        self.attn, self.mlp = nn.Module(), nn.Module()
        self.attn.c_attn, self.attn.c_proj = nn.Linear(D, 3 * D), nn.Linear(D, D)
        self.mlp.c_fc, self.mlp.c_proj = nn.Linear(D, 64), nn.Linear(64, D)

    def forward(self, x: Tensor) -> Any:
        attention, mlp = self.attn, self.mlp
        assert isinstance(attention.c_attn, nn.Module)
        assert isinstance(attention.c_proj, nn.Module)
        q, k, v = (heads(each, H) for each in attention.c_attn(self.ln_1(x)).split(D, -1))
        x = x + attention.c_proj(grouped(q, k, v))
        assert isinstance(mlp.c_fc, nn.Module)
        assert isinstance(mlp.c_proj, nn.Module)
        return x + mlp.c_proj(F.gelu(mlp.c_fc(self.ln_2(x))))


class HeadsBlock(nn.Module):
    """GPT-2 with a module a head, as lectures write it."""

    def __init__(self) -> None:
        super().__init__()
        self.ln1, self.ln2 = nn.LayerNorm(D), nn.LayerNorm(D)
        self.sa: Any = nn.Module()
        self.ffwd: Any = nn.Module()
        self.sa.heads = nn.ModuleList(nn.Module() for _ in range(H))
        for head in self.sa.heads:
            head.query, head.key, head.value = nn.Linear(D, W), nn.Linear(D, W), nn.Linear(D, W)
            head.register_buffer("tril", torch.ones(T, T).tril())
        self.sa.proj = nn.Linear(D, D)
        self.ffwd.net = nn.Sequential(nn.Linear(D, 64), nn.GELU("tanh"), nn.Linear(64, D))

    def forward(self, x: Tensor) -> Any:
        n = self.ln1(x)
        each = [causal(head.query(n) @ head.key(n).mT / math.sqrt(W)) @ head.value(n) for head in self.sa.heads]
        x = x + self.sa.proj(torch.cat(each, -1))
        return x + self.ffwd.net(self.ln2(x))


class NeoXBlock(nn.Module):
    """GPT-2 whose queries, keys and values are a head of each in turn, as in GPT-NeoX."""

    def __init__(self) -> None:
        super().__init__()
        self.attention: Any = nn.Module()
        self.mlp: Any = nn.Module()
        self.attention.query_key_value, self.attention.dense = nn.Linear(D, 3 * D), nn.Linear(D, D)
        self.mlp.dense_h_to_4h, self.mlp.dense_4h_to_h = nn.Linear(D, 64), nn.Linear(64, D)
        self.input_layernorm, self.post_attention_layernorm = nn.LayerNorm(D), nn.LayerNorm(D)

    def forward(self, x: Tensor) -> Any:
        q, k, v = heads(self.attention.query_key_value(self.input_layernorm(x)), H).chunk(3, -1)
        x = x + self.attention.dense(grouped(q, k, v))
        up = self.mlp.dense_h_to_4h(self.post_attention_layernorm(x))
        return x + self.mlp.dense_4h_to_h(F.gelu(up, approximate="tanh"))


class Learned(Stack):
    positions: str

    def __init__(self, block: Callable[[], nn.Module], *, tied: bool) -> None:
        super().__init__(block, nn.LayerNorm(D), tied=tied)
        setattr(self, self.positions, nn.Embedding(T, D))

    def embedded(self, ids: Tensor) -> Any:
        places = getattr(self, self.positions)(torch.arange(ids.shape[1]))
        return super().embedded(ids) + places


class OpenAI(Learned):
    names, positions = ("wte", "h", "ln_f", "lm_head"), "wpe"


class Lecture(Learned):
    names, positions = ("token_embedding_table", "blocks", "ln_f", "lm_head"), "position_embedding_table"


class RotaryBlock(nn.Module):
    """Llama under names of one's choice."""

    def __init__(self, names: str, turn: Callable[[Tensor, float], Tensor]) -> None:
        super().__init__()
        self.turn = turn
        self.parts = names.split()
        attention, q, k, v, o, mlp, gate, up, down, one, two = self.parts
        setattr(self, attention, nn.Module())
        for name, rows, columns in ((q, H * W, D), (k, K * W, D), (v, K * W, D), (o, D, H * W)):
            setattr(getattr(self, attention), name, nn.Linear(columns, rows, bias=False))
        setattr(self, mlp, nn.Module())
        for name, rows, columns in ((gate, INNER, D), (up, INNER, D), (down, D, INNER)):
            setattr(getattr(self, mlp), name, nn.Linear(columns, rows, bias=False))
        setattr(self, one, Rms(D))
        setattr(self, two, Rms(D))

    def forward(self, x: Tensor) -> Any:
        attention, q, k, v, o, mlp, gate, up, down, one, two = self.parts
        att, ff, n = getattr(self, attention), getattr(self, mlp), getattr(self, one)(x)
        queries, keys = (self.turn(heads(getattr(att, name)(n), c), 5000.0) for name, c in ((q, H), (k, K)))
        x = x + getattr(att, o)(grouped(queries, keys, heads(getattr(att, v)(n), K)))
        n = getattr(self, two)(x)
        return x + getattr(ff, down)(F.silu(getattr(ff, gate)(n)) * getattr(ff, up)(n))


META = "attention wq wk wv wo feed_forward w1 w3 w2 attention_norm ffn_norm"
PLAIN = "attn query key value out ff gate up down norm1 norm2"
HUGGING = (
    "self_attn q_proj k_proj v_proj o_proj mlp gate_proj up_proj down_proj input_layernorm post_attention_layernorm"
)


class Rotated(Stack):
    names = ("tok_embeddings", "layers", "norm", "output")


class FusedBlock(nn.Module):
    """ALiBi with queries apart, keys and values in one, gate and up in one, the slopes kept as a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.attn: Any = nn.Module()
        self.ffn: Any = nn.Module()
        self.attn.q, self.attn.kv = nn.Linear(D, H * W, bias=False), nn.Linear(D, 2 * K * W, bias=False)
        self.attn.register_buffer("alibi_slopes", 2.0 ** -torch.arange(2, 2 * H + 1, 2).float())
        self.attn.proj = nn.Linear(H * W, D, bias=False)
        self.ffn.gate_up, self.ffn.down = nn.Linear(D, 2 * INNER, bias=False), nn.Linear(INNER, D, bias=False)
        self.norm_attn, self.norm_ffn = Rms(D), Rms(D)

    def forward(self, x: Tensor) -> Any:
        n = self.norm_attn(x)
        k, v = (heads(each, K) for each in self.attn.kv(n).chunk(2, -1))
        places = torch.arange(x.shape[1])
        penalty = -self.attn.alibi_slopes.view(-1, 1, 1) * (places[:, None] - places).abs()
        x = x + self.attn.proj(grouped(heads(self.attn.q(n), H), k, v, penalty))
        gate, up = self.ffn.gate_up(self.norm_ffn(x)).chunk(2, -1)
        return x + self.ffn.down(F.silu(gate) * up)


class GroupsBlock(nn.Module):
    """ALiBi whose queries of a group stand before its key and value; up stands before gate."""

    def __init__(self) -> None:
        super().__init__()
        self.wqkv, self.wo = nn.Linear(D, (H + 2 * K) * W, bias=False), nn.Linear(H * W, D, bias=False)
        self.w12, self.w3 = nn.Linear(D, 2 * INNER, bias=False), nn.Linear(INNER, D, bias=False)
        self.attn_norm, self.mlp_norm = Rms(D), Rms(D)

    def forward(self, x: Tensor) -> Any:
        groups = self.wqkv(self.attn_norm(x)).view(*x.shape[:2], K, H // K + 2, W)
        q, k, v = (each.flatten(2, 3).transpose(1, 2) for each in torch.split(groups, [H // K, 1, 1], 3))
        places = torch.arange(x.shape[1])
        slopes = 2.0 ** -torch.arange(2, 2 * H + 1, 2).float()
        x = x + self.wo(grouped(q, k, v, -slopes.view(-1, 1, 1) * (places[:, None] - places).abs()))
        up, gate = self.w12(self.mlp_norm(x)).chunk(2, -1)
        return x + self.w3(F.silu(gate) * up)


class Alibi(Stack):
    names = ("embed", "layers", "final_norm", "head")


class LatentBlock(nn.Module):
    """MLA as DeepSeek's inference code has it, or with every matrix of the paper apart."""

    def __init__(self, apart: bool) -> None:
        super().__init__()
        self.apart = apart
        self.attn: Any = nn.Module()
        self.ffn: Any = nn.Module()
        matrices = {"W_DQ": (16, D), "W_UQ": (H * 12, 16), "W_O": (D, H * 6)}
        matrices |= (
            {"W_DKV": (12, D), "W_KR": (4, D), "W_UK": (H * 8, 12), "W_UV": (H * 6, 12)}
            if apart
            else {"W_DKV": (16, D), "wkv_b": (H * 14, 12)}
        )
        theirs = {"W_DQ": "wq_a", "W_UQ": "wq_b", "W_O": "wo", "W_DKV": "wkv_a"}
        for name, (rows, columns) in matrices.items():
            self.attn.add_module(name if apart else theirs.get(name, name), nn.Linear(columns, rows, bias=False))
        self.attn.q_norm, self.attn.kv_norm = Rms(16), Rms(12)
        for name, (rows, columns) in {"w1": (INNER, D), "w2": (D, INNER), "w3": (INNER, D)}.items():
            self.ffn.add_module(name, nn.Linear(columns, rows, bias=False))
        self.attn_norm, self.ffn_norm = Rms(D), Rms(D)

    def forward(self, x: Tensor) -> Any:
        a: Any = self.attn
        f: Any = self.ffn
        n = self.attn_norm(x)
        first, second, out = (a.W_DQ, a.W_UQ, a.W_O) if self.apart else (a.wq_a, a.wq_b, a.wo)
        q_nope, q_rope = torch.split(heads(second(a.q_norm(first(n))), H), [8, 4], -1)
        latent, rope = (a.W_DKV(n), a.W_KR(n)) if self.apart else torch.split(a.wkv_a(n), [12, 4], -1)
        latent = a.kv_norm(latent)
        if self.apart:
            k_nope, v = heads(a.W_UK(latent), H), heads(a.W_UV(latent), H)
        else:
            k_nope, v = torch.split(heads(a.wkv_b(latent), H), [8, 6], -1)
        k_rope = turn_neighbours(rope[:, None], 5000.0).expand(-1, H, -1, -1)
        q = torch.cat((q_nope, turn_neighbours(q_rope, 5000.0)), -1)
        x = x + out(grouped(q, torch.cat((k_nope, k_rope), -1), v))
        n = self.ffn_norm(x)
        return x + f.w2(F.silu(f.w1(n)) * f.w3(n))


class Latent(Stack):
    names = ("embed", "layers", "norm", "head")


def rotated(names: str, turn: Callable[[Tensor, float], Tensor]) -> Callable[[], nn.Module]:
    return lambda: Rotated(lambda: RotaryBlock(names, turn), Rms(D), tied=False)


MODELS: dict[str, tuple[str, Callable[[], nn.Module], list[str], dict[str, Any]]] = {
    "gpt2 of OpenAI": ("gpt2", lambda: OpenAI(Conv1DBlock, tied=True), [], {}),
    "gpt2 with a module a head": ("gpt2", lambda: Lecture(HeadsBlock, tied=False), ["tie_embeddings=false"], {}),
    "gpt2 of nanoGPT": ("gpt2", lambda: OpenAI(NanoBlock, tied=True), [], {}),
    "gpt2 of GPT-NeoX": ("gpt2", lambda: OpenAI(NeoXBlock, tied=True), [], {}),
    "alibi in groups": (
        "alibi",
        lambda: Alibi(GroupsBlock, Rms(D), tied=True),
        [],
        {"roles": {"layers.*.wqkv": Guess(("q", "k", "v"), True), "layers.*.w12": Guess(("up", "gate"))}},
    ),
    "llama of Meta": ("llama", rotated(META, turn_neighbours), [], {}),
    "llama of Transformers": ("llama", rotated(HUGGING, turn_halves), [], {}),
    "llama that turns halves": ("llama", rotated(PLAIN, turn_halves), [], {"neighbours": False}),
    "llama that turns neighbours": ("llama", rotated(PLAIN, turn_neighbours), [], {"neighbours": True}),
    "alibi with fused matrices": (
        "alibi",
        lambda: Alibi(FusedBlock, Rms(D), tied=True),
        [],
        {"roles": {"layers.*.attn.kv": Guess(("k", "v"))}},
    ),
    "mla of DeepSeek": ("mla", lambda: Latent(lambda: LatentBlock(False), Rms(D), tied=True), [], {}),
    "mla with all apart": (
        "mla",
        lambda: Latent(lambda: LatentBlock(True), Rms(D), tied=True),
        [],
        {"neighbours": True, "roles": {"layers.*.ffn.w1": Guess(("gate",)), "layers.*.ffn.w3": Guess(("up",))}},
    ),
}


def random_model(name: str) -> nn.Module:
    torch.manual_seed(4)
    model = MODELS[name][1]().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(1.0 if parameter.ndim == 1 else 0.0, 0.2)
    return model


def save(model: nn.Module, path: Path, *, prefix: str = "", inside: str = "") -> Path:
    state = {f"{prefix}{name}": tensor.detach().clone() for name, tensor in model.state_dict().items()}
    if path.suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save({inside: state, "step": 7} if inside else state, path)
    return path


def import_it(host: Host, source: Path, question: Asked, out: Path) -> nn.Module:
    plan = plan_import(str(source), host.registry, question)
    write_import(plan, out)
    module: nn.Module = plan.architecture.load(plan.config, out, dtype=torch.float32)
    return module.eval()


def some_ids() -> Tensor:
    return torch.randint(V, (2, T * 3 // 4), generator=torch.Generator().manual_seed(5))


@pytest.mark.parametrize("name", MODELS)
def test_an_independent_implementation_imports_to_equal_logits(name: str, host: Host, tmp_path: Path) -> None:
    kind, _, more, options = MODELS[name]
    model = random_model(name)
    wrapped = kind in ("gpt2", "alibi")
    path = save(model, tmp_path / ("w.pt" if wrapped else "w.safetensors"), prefix="_orig_mod." if wrapped else "")
    ours = import_it(host, path, asked(kind, *more, **options), tmp_path / "out")
    with torch.no_grad():
        expected, got = model(some_ids()), ours(some_ids())
    assert expected.std() > 0.1
    assert float((expected - got).abs().max()) <= 1e-5


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("llama that turns halves", "--rotary half"),
        (
            "alibi with fused matrices",
            r"attn.kv may be k,v or k/v \(a head of each in turn\); .* --map 'layers.\*.attn.kv=k,v'",
        ),
        (
            "alibi in groups",
            r"w12 may be gate,up or up,gate; layers.\*.wqkv may be q,k,v or q/k/v",
        ),
        ("mla with all apart", r"w1 may be (gate|up) or (gate|up); layers.\*.ffn.w3 may be .*--map 'layers.\*.ffn.w1="),
    ],
)
def test_what_names_and_shapes_do_not_decide_is_refused(name: str, reason: str, host: Host, tmp_path: Path) -> None:
    path = save(random_model(name), tmp_path / "w.pt")
    with pytest.raises(CheckpointError, match=reason):
        plan_import(str(path), host.registry, asked(MODELS[name][0]))


def test_matrices_that_are_all_square_are_refused_until_their_layout_is_said(host: Host, tmp_path: Path) -> None:
    square = ["num_kv_heads=4", f"intermediate_size={D}"]
    state = random_model("llama of Transformers").state_dict()
    for name in (name for name in state if "_proj" in name):
        state[name] = torch.randn(D, D)
    torch.save(state, tmp_path / "w.pt")
    with pytest.raises(CheckpointError, match=r"as \[out, in\] and as \[in, out\]; say which with --not-transposed"):
        plan_import(str(tmp_path / "w.pt"), host.registry, asked("llama", *square))
    name = "layers.1.self_attn.o_proj.weight"
    for transposed in (False, True):
        question = asked("llama", *square, transposed=transposed)
        got = plan_import(str(tmp_path / "w.pt"), host.registry, question).weights()["blocks.1.attention.o_proj.weight"]
        assert torch.equal(got, state[name].T if transposed else state[name])


def test_an_architecture_says_what_all_its_weights_are_made_of(host: Host) -> None:
    for kind, (label, sizes) in SPECS.items():
        architecture: Any = host.registry.architectures.get(kind)
        for more in ("tie_embeddings=true", "tie_embeddings=false", "bias=true", "q_lora_rank=null"):
            field = more.partition("=")[0]
            if field not in architecture.Config.model_fields:
                continue
            overrides = [f"architecture.config.{each}" for each in (*sizes, more)]
            config = architecture.Config(**load_spec(parse_spec(label), host.registry, overrides).architecture.config)
            said = {
                slot.name.replace("*", str(layer)): (rows, slot.columns) if slot.columns else (rows,)
                for slot in architecture.parts(config)
                if not slot.copy
                for rows in [sum(part.rows for part in slot.parts)]
                for layer in range(LAYERS if slot.layered else 1)
            }
            assert said == native_shapes(architecture, config), (kind, more)


@pytest.mark.parametrize("wrong", ["neighbours", "roles"])
def test_another_answer_makes_another_model(wrong: str, host: Host, tmp_path: Path) -> None:
    """The options are not only asked for: the wrong one gives other logits."""
    name = "llama that turns halves" if wrong == "neighbours" else "mla with all apart"
    swapped = {"layers.*.ffn.w1": Guess(("up",)), "layers.*.ffn.w3": Guess(("gate",))}
    options = {"neighbours": True} | ({"roles": swapped} if wrong == "roles" else {})
    model = random_model(name)
    ours = import_it(host, save(model, tmp_path / "w.pt"), asked(MODELS[name][0], **options), tmp_path / "out")
    with torch.no_grad():
        assert float((model(some_ids()) - ours(some_ids())).abs().max()) > 1e-2


def changed(state: dict[str, Tensor], how: str) -> dict[str, Tensor]:
    """Return Meta's Llama with one fault."""
    name = "layers.1.attention.wq.weight"
    if how == "layer":
        return {key: each for key, each in state.items() if not key.startswith("layers.1.")}
    if how == "missing":
        return {key: each for key, each in state.items() if key != name}
    if how == "everywhere":
        return {key: each for key, each in state.items() if ".wo." not in key}
    more = {
        "shape": {f"layers.{n}.attention.wq.weight": torch.zeros(D + 2, D) for n in range(LAYERS)},
        "one shape": {name: torch.zeros(D, D + 1)},
        "vocabulary": {"tok_embeddings.weight": torch.zeros(300, D), "output.weight": torch.zeros(300, D)},
        "extra": {f"layers.{n}.attention.q_norm.weight": torch.ones(W) for n in range(LAYERS)},
        "bias": {f"layers.{n}.attention.wq.bias": torch.ones(D) for n in range(LAYERS)},
        "positions": {"pos_emb.weight": torch.ones(T, D)},
        "more layers": {f"layers.3.{key.removeprefix('layers.1.')}": state[key] for key in state if "layers.1." in key},
        "nan": {name: torch.full((D, D), torch.nan)},
        "infinite": {"norm.weight": torch.full((D,), torch.inf)},
        "8 bits": {name: state[name].to(torch.float8_e4m3fn)},
    }
    return {**state, **more[how]}


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("layer", r"'layers\.…' goes from 0 to 2, without 1; the model has 3 layers"),
        ("missing", r"layers\.\*\.attention\.wq\.weight is missing in layer 1"),
        ("everywhere", r"o \[32, 32\] is missing"),
        ("shape", r"layers\.\*\.attention\.wq\.weight is \[34, 32\] and q is \[32, 32\] in the model"),
        ("one shape", r"wq\.weight is \[32, 32\] and layers\.1\.attention\.wq\.weight is \[32, 33\]"),
        ("vocabulary", r"\.weight is \[300, 32\] and (embedding|lm_head) is \[259, 32\] in the model"),
        ("extra", r"layers\.\*\.attention\.q_norm\.weight \[8\] is no part of the model"),
        ("bias", r"layers\.\*\.attention\.wq\.bias \[32\] is no part of the model"),
        ("positions", r"pos_emb\.weight \[32, 32\] is no part of the model"),
        ("more layers", r"'layers\.…' goes from 0 to 3; the model has 3 layers"),
        ("nan", r"1,?024 of the 1,024 values of layers\.1\.attention\.wq\.weight are not finite"),
        ("infinite", r"32 of the 32 values of norm\.weight are not finite"),
        ("8 bits", r"layers\.1\.attention\.wq\.weight is float8_e4m3fn; save it as fp32, bf16 or fp16"),
    ],
)
def test_weights_that_do_not_fit_are_refused_by_name(how: str, reason: str, host: Host, tmp_path: Path) -> None:
    torch.save(changed(random_model("llama of Meta").state_dict(), how), tmp_path / "w.pt")
    with pytest.raises(CheckpointError, match=reason) as refused:
        write_import(plan_import(str(tmp_path / "w.pt"), host.registry, asked("llama")), tmp_path / "out")
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "out").exists()


def test_a_head_that_is_not_the_embedding_is_refused_where_they_are_tied(host: Host, tmp_path: Path) -> None:
    model = random_model("llama of Meta")
    path = save(model, tmp_path / "w.pt")
    with pytest.raises(CheckpointError, match=r"output\.weight is not the embedding.*tie_embeddings=false"):
        plan_import(str(path), host.registry, asked("llama", "tie_embeddings=true")).weights()
    state = model.state_dict()
    torch.save({**state, "output.weight": state["tok_embeddings.weight"]}, path)
    assert plan_import(str(path), host.registry, asked("llama", "tie_embeddings=true")).weights()


class Runs:
    """A pickle that would run code."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (print, ("ran",))


def test_nothing_in_a_pickle_runs(host: Host, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"model": Runs()}, tmp_path / "w.pt")
    with pytest.raises(CheckpointError, match="is not a file of tensors alone"):
        plan_import(str(tmp_path / "w.pt"), host.registry, asked("llama"))
    assert "ran" not in capsys.readouterr().out


@pytest.mark.parametrize("damage", ["random", "cut", "protocol 4", "more than tensors"])
def test_a_file_of_something_else_is_one_line_without_advice_to_run_it(
    tilbench: Callable[..., Any], tmp_path: Path, damage: str
) -> None:
    path = tmp_path / "w.pt"
    torch.save({"a": torch.zeros(300)} if damage == "cut" else {"a": Runs()}, path)
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-400])
    elif damage != "more than tensors":
        path.write_bytes(random.Random(0).randbytes(500) if damage == "random" else pickle.dumps(Runs(), protocol=4))
    done = tilbench("import", path, "--model", "turkish-v1:tiny", "--out", tmp_path / "out")
    assert (done.status, done.err.count("\n")) == (2, 1)
    assert "nothing in it was run; save the weights with safetensors" in done.err
    assert "weights_only" not in done.err


def test_an_empty_file_is_said_to_be_empty(tilbench: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "w.pt").touch()
    done = tilbench("import", tmp_path / "w.pt", "--model", "turkish-v1:tiny", "--out", tmp_path / "out")
    assert done.err == f"error: {tmp_path / 'w.pt'} is empty; copy or save it again\n"


@pytest.mark.parametrize("inside", ["model", "state_dict", "model_state_dict"])
def test_a_training_checkpoint_is_opened(inside: str, host: Host, tmp_path: Path) -> None:
    model = random_model("llama of Meta")
    path = save(model, tmp_path / "step_8600.pt", prefix="module._orig_mod.", inside=inside)
    plan = plan_import(str(path), host.registry, asked("llama"))
    assert plan.info.step == 8600
    assert torch.equal(plan.weights()["lm_head.weight"], model.state_dict()["output.weight"])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_precision_of_the_file_stays(dtype: torch.dtype, host: Host, tmp_path: Path) -> None:
    path = save(random_model("llama of Meta").to(dtype), tmp_path / "w.safetensors")
    assert {each.dtype for each in plan_import(str(path), host.registry, asked("llama")).weights().values()} == {dtype}


def test_our_own_names_need_no_conventions_and_a_sidecar_no_model(host: Host, tmp_path: Path) -> None:
    architecture: Any = host.registry.architectures.get("llama")
    plan = plan_import(str(save(random_model("llama of Meta"), tmp_path / "w.pt")), host.registry, asked("llama"))
    first = write_import(plan, tmp_path / "first")
    flat = tmp_path / "flat.safetensors"
    flat.write_bytes((first / "model.safetensors").read_bytes())
    with pytest.raises(CheckpointError, match="holds weights alone; say which model it is with --model"):
        plan_import(str(flat), host.registry, Asked(tokenizer="bytes"))
    info = json.loads((first / "tilbench.json").read_text(encoding="utf-8"))
    flat.with_suffix(".json").write_text(json.dumps({**info, "step": 12, "prefix": 3}), encoding="utf-8")
    again = plan_import(str(flat), host.registry, Asked(tokenizer="bytes"))
    assert (again.info.step, again.info.prefix, again.info.model) == (12, 3, "auto-g-nano-1b:tiny")
    write_import(again, tmp_path / "again")
    one, two = (architecture.load(plan.config, tmp_path / name).state_dict() for name in ("first", "again"))
    assert all(torch.equal(one[name], two[name]) for name in one)
    flat.with_suffix(".json").rename(tmp_path / "metadata.json")
    assert plan_import(str(flat), host.registry, Asked(tokenizer="bytes")).info == again.info
    flat.with_suffix(".json").write_text('{"d_model": 32}', encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"flat\.json does not have the fields of tilbench\.json"):
        plan_import(str(flat), host.registry, Asked(tokenizer="bytes"))


def matched(state: dict[str, Tensor], options: Options, architecture: Any, config: Any) -> Any:
    shapes = {name: tuple(each.shape) for name, each in state.items()}
    found = match(architecture.parts(config), templates(shapes, LAYERS, "w"), options, "w")
    return {tuple(template.members[1 if template.layered else 0]): guess for template, guess, _ in found.found}


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 2**16), before=st.sampled_from(["", "net.", "model.decoder.", "m2."]), start=st.integers(0, 1)
)
@pytest.mark.parametrize("name", ["llama of Meta", "mla with all apart", "gpt2 of OpenAI"])
def test_the_order_of_the_keys_and_what_stands_before_the_layers_changes_nothing(
    name: str, seed: int, before: str, start: int, host: Host
) -> None:
    kind, build, _, options = MODELS[name]
    state = {key: each for key, each in build().state_dict().items() if each.ndim < 4}
    layers = "h" if kind == "gpt2" else "layers"
    architecture: Any = host.registry.architectures.get(kind)
    plain = {"gpt2": SIZES, "llama": GROUPED, "mla": [*SIZES, *LATENT]}[kind]
    sizes: dict[str, Any] = {key: int(value) for key, _, value in (each.partition("=") for each in plain)}
    config = architecture.Config(
        **{"intermediate_size": 64 if kind == "gpt2" else INNER, "tie_embeddings": kind != "llama", **sizes}
    )
    expected = matched(state, Options(**options), architecture, config)

    def renamed(key: str) -> str:
        head, _, rest = key.partition(f"{layers}.")
        if not rest:
            return f"{before}{key}"
        number, _, rest = rest.partition(".")
        return f"{before}{head}stage.{int(number) + start}.{rest}"

    roles = {key.replace(f"{layers}.", f"{before}stage."): guess for key, guess in options.get("roles", {}).items()}
    keys = list(state)
    random.Random(seed).shuffle(keys)
    got = matched(
        {renamed(key): state[key] for key in keys}, Options(**{**options, "roles": roles}), architecture, config
    )
    assert got == {tuple(map(renamed, members)): guess for members, guess in expected.items()}


def test_the_command_shows_the_map_and_writes_nothing_when_it_is_dry(
    tilbench: Callable[..., Any], tmp_path: Path
) -> None:
    path = save(random_model("llama that turns halves"), tmp_path / "w.pt")
    spec, sizes = SPECS["llama"]
    words = ["import", path, "--model", spec, "--tokenizer", "bytes"]
    words += [word for each in sizes for word in ("--set", f"architecture.config.{each}")]
    refused = tilbench(*words, "--dry-run")
    assert refused.status == 2
    assert "--rotary half" in refused.err
    shown = tilbench(*words, "--rotary", "half", "--dry-run")
    assert shown.status == 0, shown.err
    assert "layers.*.attn.query.weight" in shown.out
    assert "nothing was written" in shown.out
    assert [each.name for each in tmp_path.iterdir()] == ["w.pt"]
    mapped = ("--map", "layers.*.attn.key=k", "--map", "layers.*.ff.gate=gate")
    said = json.loads(tilbench(*words, "--rotary", "half", *mapped, "--dry-run", "--json").out)["map"]
    assert {"theirs": "layers.*.attn.key.weight", "ours": "k", "shape": [16, 32], "by": "--map"} in said
    for wrong, reason in {
        "layers.*.attn.keys=k": "known: layers.*.attn.key, layers.*.attn.out",
        "layers.*.attn.key=wk": "has no 'wk'; it has embedding",
        "layers.*.attn.key": "write THEIRS=ROLE",
    }.items():
        assert reason in tilbench(*words, "--rotary", "half", "--map", wrong, "--dry-run").err
    done = tilbench(*words, "--rotary", "half", "--out", tmp_path / "out")
    assert done.status == 0, done.err
    listed = tilbench("run", "quickstart", "--models", tmp_path / "out", "--dry-run", "--tasks", "bpb-kk")
    assert listed.status == 0, listed.err


def test_the_tokenizer_comes_from_beside_the_weights_or_is_asked_for(host: Host, tmp_path: Path) -> None:
    path = save(random_model("llama of Meta"), tmp_path / "w.pt")
    question = replace(asked("llama"), tokenizer="")
    with pytest.raises(CheckpointError, match=r"name the tokenizer .* with --tokenizer"):
        plan_import(str(path), host.registry, question)
    host.registry.tokenizers.get("bytes").load("bytes").save(tmp_path)
    assert plan_import(str(path), host.registry, question).info.tokenizer == "bytes"
    small = replace(asked("llama", "vocab_size=200"), tokenizer="bytes")
    state = torch.load(path, weights_only=True)
    torch.save({**state, "tok_embeddings.weight": torch.ones(200, D), "output.weight": torch.ones(200, D)}, path)
    with pytest.raises(CheckpointError, match="the tokenizer has 259 ids and the embedding 200 rows"):
        plan_import(str(path), host.registry, small)


def test_the_activation_of_a_file_can_be_said(host: Host, tmp_path: Path) -> None:
    model = random_model("gpt2 of nanoGPT")
    path = save(model, tmp_path / "w.pt", prefix="transformer.")
    assert any("exact" in note for note in plan_import(str(path), host.registry, asked("gpt2")).notes)
    old = asked("gpt2", "activation=gelu_new")
    assert plan_import(str(path), host.registry, old).config.model_dump()["activation"] == "gelu_new"
    with torch.no_grad():
        apart = (model(some_ids()) - import_it(host, path, old, tmp_path / "out")(some_ids())).abs().max()
    assert 1e-5 < float(apart) < 1e-1
    openai = save(random_model("gpt2 of OpenAI"), tmp_path / "openai.pt")
    assert plan_import(str(openai), host.registry, asked("gpt2")).config.model_dump()["activation"] == "gelu_new"


@pytest.mark.parametrize("names", ["transformer.h.1.attn.ve_gate.weight", "value_embeds.1.weight", "x0_lambdas"])
def test_nanochat_is_named_as_what_is_not_supported(names: str, host: Host, tmp_path: Path) -> None:
    path = save(random_model("gpt2 of nanoGPT"), tmp_path / "w.pt", prefix="transformer.")
    torch.save({**torch.load(path, weights_only=True), names: torch.ones(2)}, path)
    with pytest.raises(Unsupported, match="nanochat is not supported, because"):
        plan_import(str(path), host.registry, asked("gpt2"))


WORDS = "the school is large and has many books and the children read one of the books in the school each day. "


@pytest.fixture(scope="module")
def trained(host: Host) -> Callable[[Callable[[Tensor, float], Tensor]], nn.Module]:
    """A model with rotary positions of either convention, trained on `WORDS` until it predicts them."""
    ids = torch.tensor(host.registry.tokenizers.get("bytes").load("bytes").encode(WORDS * 3))
    starts = torch.arange(0, len(ids) - T, 7)
    rows = torch.stack([ids[start : start + T] for start in starts.tolist()])

    @functools.cache
    def train(turn: Callable[[Tensor, float], Tensor]) -> nn.Module:
        torch.manual_seed(3)
        model = rotated(META, turn)()
        steps = torch.optim.Adam(model.parameters(), lr=1e-2)
        for _ in range(80):
            logits = model(rows)[:, :-1]
            loss = F.cross_entropy(logits.flatten(0, 1), rows[:, 1:].flatten())
            steps.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            steps.step()
        return model.eval()

    return train


@pytest.mark.parametrize("turn", [turn_halves, turn_neighbours])
def test_trained_weights_decide_the_rotary_convention_whatever_their_names_say(
    turn: Callable[[Tensor, float], Tensor], host: Host, trained: Callable[..., nn.Module], tmp_path: Path
) -> None:
    model = trained(turn)
    path, text = save(model, tmp_path / "w.safetensors"), tmp_path / "text.txt"
    text.write_text(WORDS)
    tried = try_rotary(str(path), host.registry, asked("llama"), text)
    assert tried.plan.neighbours == (turn is turn_neighbours)
    assert "nats a token" in tried.note
    assert not tried.warning
    write_import(tried.plan, tmp_path / "out")
    ours = tried.plan.architecture.load(tried.plan.config, tmp_path / "out", dtype=torch.float32).eval()
    with torch.no_grad():
        torch.testing.assert_close(ours(some_ids()), model(some_ids()), rtol=1e-4, atol=1e-4)
    wrong = try_rotary(str(path), host.registry, asked("llama", neighbours=turn is turn_halves), text)
    assert wrong.plan.neighbours == (turn is turn_halves)  # as the user says
    assert wrong.warning.startswith("--rotary says otherwise, but rotary pairs are")


def test_a_rotary_convention_that_no_text_decides_is_warned_of(host: Host, tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text(WORDS)
    path = save(random_model("llama of Meta"), tmp_path / "w.safetensors")
    tried = try_rotary(str(path), host.registry, asked("llama"), text)
    assert tried.plan.neighbours
    assert "does not tell the rotary conventions apart" in tried.warning
    assert "--text FILE" in try_rotary(str(path), host.registry, asked("llama"), None).warning
    plain = save(random_model("llama that turns halves"), tmp_path / "p.safetensors")
    with pytest.raises(CheckpointError, match="--rotary half"):
        try_rotary(str(plain), host.registry, asked("llama"), text)
    learned = save(random_model("gpt2 of OpenAI"), tmp_path / "g.pt")
    assert not try_rotary(str(learned), host.registry, asked("gpt2"), text).warning

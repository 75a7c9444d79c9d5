"""The four decoders: counts, parity with Transformers, caches, masks, causality."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError
from torch import Tensor

import tilbench_decoders
from tilbench.errors import CheckpointError, Unsupported
from tilbench.kinds.architecture import Architecture
from tilbench.kinds.architecture import Decoder as DecoderProtocol
from tilbench.scoring.forward.chunked import cross_entropy
from tilbench_decoders.alibi import Alibi
from tilbench_decoders.decoder import Decoder
from tilbench_decoders.gpt2 import GPT2
from tilbench_decoders.layers.attention import Context, allowed_keys, attend
from tilbench_decoders.layers.latent import LatentAttention
from tilbench_decoders.layers.positions import LinearBias, alibi_slopes
from tilbench_decoders.llama import Llama
from tilbench_decoders.mla import MLA

FAMILIES: dict[str, Any] = {"gpt2": GPT2(), "llama": Llama(), "alibi": Alibi(), "mla": MLA()}
NAMES = sorted(FAMILIES)
SHARED = {"vocab_size": 61, "max_length": 32, "hidden_size": 32, "num_layers": 2, "num_heads": 4}
GROUPED = {**SHARED, "intermediate_size": 48, "num_kv_heads": 2}
LATENT = {"kv_lora_rank": 12, "qk_rope_head_dim": 4, "qk_nope_head_dim": 8, "v_head_dim": 8}
TINY: dict[str, dict[str, Any]] = {
    "gpt2": {**SHARED, "intermediate_size": 128},
    "llama": GROUPED,
    "alibi": GROUPED,
    "mla": {**SHARED, **LATENT, "intermediate_size": 48, "q_lora_rank": 16},
}


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def config(name: str, **changes: Any) -> Any:
    return FAMILIES[name].Config(**{**TINY[name], **changes})


def tiny(name: str, **changes: Any) -> Decoder:
    """Return a tiny decoder with weights large enough that attention is far from uniform."""
    torch.manual_seed(1)
    built: Decoder = FAMILIES[name].build(config(name, **{"initializer_range": 0.3, **changes}))
    return built.eval()


def some_ids(rows: int = 2, tokens: int = 12) -> Tensor:
    return torch.randint(61, (rows, tokens), generator=torch.Generator().manual_seed(2))


def delta(a: Tensor, b: Tensor) -> float:
    assert a.shape == b.shape
    return float((a - b).abs().max())


# Registration and configs


def test_registers_four_names_without_torch() -> None:
    code = (
        "import sys, tilbench_decoders as d; names = []\n"
        "d.register_architectures(lambda name, target, summary='': names.append(name))\n"
        "assert names == ['gpt2', 'llama', 'alibi', 'mla'] and 'torch' not in sys.modules, names"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": ":".join(sys.path)})


def test_targets_are_architectures() -> None:
    targets: dict[str, str] = {}

    def register(name: str, target: Any, *, summary: str = "") -> None:
        assert summary
        targets[name] = target

    tilbench_decoders.register_architectures(register)
    for name, family in FAMILIES.items():
        assert targets[name] == f"{type(family).__module__}:{type(family).__name__}"
        assert isinstance(family, Architecture)
        assert isinstance(tiny(name), DecoderProtocol)


@pytest.mark.parametrize("name", NAMES)
def test_config_is_documented_frozen_and_closed(name: str) -> None:
    model = FAMILIES[name].Config
    assert all(field.description for field in model.model_fields.values())
    with pytest.raises(ValidationError, match="Extra inputs"):
        config(name, hiden_size=3)
    with pytest.raises(ValidationError, match="frozen"):
        config(name).hidden_size = 3


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("gpt2", {"num_heads": 5}, "hidden_size 32 is not a multiple of num_heads 5"),
        ("llama", {"num_heads": 5}, "hidden_size 32 is not a multiple of num_heads 5"),
        ("alibi", {"num_kv_heads": 3}, "num_heads 4 is not a multiple of num_kv_heads 3"),
        ("llama", {"head_dim": 7}, "head_dim 7 must be even"),
        ("mla", {"qk_rope_head_dim": 3}, "qk_rope_head_dim 3 must be even"),
    ],
)
def test_config_says_what_does_not_fit(name: str, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        config(name, **changes)


# Parameter counts of the documents (shared facts), on the meta device

DOCUMENTS: list[tuple[str, dict[str, Any], int]] = [
    (
        "mla",
        {
            "vocab_size": 131_072, "max_length": 2048, "hidden_size": 1792, "num_layers": 24, "num_heads": 16,
            "q_lora_rank": 384, "kv_lora_rank": 192, "qk_rope_head_dim": 32, "qk_nope_head_dim": 64,
            "v_head_dim": 64, "intermediate_size": 4864, "rope_theta": 100_000.0,
        },
        956_337_408,
    ),
    (
        "gpt2",
        {
            "vocab_size": 64_000, "max_length": 2500, "hidden_size": 768, "num_layers": 12, "num_heads": 12,
            "intermediate_size": 3072,
        },
        136_128_000,
    ),
    (
        "alibi",
        {
            "vocab_size": 64_000, "max_length": 512, "hidden_size": 256, "num_layers": 12, "num_heads": 8,
            "num_kv_heads": 2, "intermediate_size": 688,
        },
        24_697_088,
    ),
    (
        "alibi",
        {
            "vocab_size": 64_000, "max_length": 2048, "hidden_size": 512, "num_layers": 12, "num_heads": 8,
            "num_kv_heads": 4, "head_dim": 64, "intermediate_size": 1376,
        },
        67_580_416,
    ),
    (
        "llama",
        {
            "vocab_size": 50_257, "max_length": 1024, "hidden_size": 1792, "num_layers": 24, "num_heads": 14,
            "num_kv_heads": 2, "head_dim": 128, "intermediate_size": 5376, "rope_theta": 500_000.0,
            "tie_embeddings": False,
        },
        1_050_002_688,
    ),
]  # fmt: skip

OPTIONS: list[tuple[str, dict[str, Any]]] = [
    ("gpt2", {"bias": False, "tie_embeddings": False}),
    ("llama", {"bias": True, "head_dim": 10}),
    ("alibi", {"num_kv_heads": None, "tie_embeddings": False}),
    ("mla", {"q_lora_rank": None, "tie_embeddings": False}),
]


@pytest.mark.parametrize(("name", "fields", "count"), DOCUMENTS)
def test_parameter_counts_of_the_documents(name: str, fields: dict[str, Any], count: int) -> None:
    family = FAMILIES[name]
    with torch.device("meta"):
        module = family.build(family.Config(**fields))
    assert all(tensor.is_meta for tensor in [*module.parameters(), *module.buffers()])
    assert sum(parameter.numel() for parameter in module.parameters()) == count
    assert family.parameters(family.Config(**fields)) == count


@pytest.mark.parametrize(("name", "changes"), [*((name, {}) for name in NAMES), *OPTIONS])
def test_formula_equals_built_count(name: str, changes: dict[str, Any]) -> None:
    built = sum(parameter.numel() for parameter in tiny(name, **changes).parameters())
    assert FAMILIES[name].parameters(config(name, **changes)) == built


@pytest.mark.parametrize("name", NAMES)
def test_initial_weights_follow_the_table(name: str) -> None:
    torch.manual_seed(0)
    layers = 4
    module = FAMILIES[name].build(config(name, num_layers=layers, tie_embeddings=False))
    for key, parameter in module.named_parameters():
        if key.endswith("bias"):
            assert not parameter.any()
        elif parameter.ndim == 1:
            assert (parameter == 1).all()
        else:
            shrunk = key.endswith(("o_proj.weight", "down_proj.weight"))
            expected = 0.02 / math.sqrt(2 * layers) if shrunk else 0.02
            assert parameter.std().item() == pytest.approx(expected, rel=0.12), key


# Parity with Transformers

PARITY: list[tuple[str, dict[str, Any]]] = [
    ("gpt2", {}),
    ("gpt2", {"tie_embeddings": False}),
    ("llama", {}),
    ("llama", {"tie_embeddings": False, "bias": True, "rope_theta": 500_000.0}),
    ("llama", {"num_kv_heads": None, "head_dim": 16}),
    ("mla", {}),
    ("mla", {"tie_embeddings": False, "rope_theta": 100_000.0}),
    ("mla", {"q_lora_rank": None, "v_head_dim": 16}),
]


def transformers_pair(name: str, changes: dict[str, Any], **theirs: Any) -> tuple[Decoder, Any]:
    """Return a decoder and the Transformers model that has the same random weights."""
    transformers = pytest.importorskip("transformers")
    family, settings = FAMILIES[name], config(name, **changes)
    fields = {**family.transformers_config(settings), **theirs}
    kind = getattr(transformers, fields["architectures"][0])
    torch.manual_seed(3)
    other = kind(kind.config_class(**fields, attn_implementation="eager")).eval()
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.normal_(1.0 if parameter.ndim == 1 else 0.0, 0.2)
    maps = {"interleaved": theirs["rope_interleave"]} if "rope_interleave" in theirs else {}
    state = family.from_transformers(settings, other.state_dict(), **maps)
    module: Decoder = family.build(settings)
    module.load_state_dict(state)
    return module.eval(), other


@pytest.mark.parametrize(("name", "changes"), PARITY)
def test_logits_equal_transformers(name: str, changes: dict[str, Any]) -> None:
    module, other = transformers_pair(name, changes)
    with torch.no_grad():
        assert delta(module(some_ids()), other(some_ids()).logits) <= 1e-5


def test_mla_without_interleaving_equals_transformers() -> None:
    module, other = transformers_pair("mla", {}, rope_interleave=False)
    with torch.no_grad():
        assert delta(module(some_ids()), other(some_ids()).logits) <= 1e-5


@pytest.mark.parametrize(("name", "changes"), PARITY)
def test_export_to_transformers_and_back_is_lossless(name: str, changes: dict[str, Any]) -> None:
    module, other = transformers_pair(name, changes)
    family, settings = FAMILIES[name], config(name, **changes)
    theirs = family.to_transformers(settings, module.state_dict())
    assert all(torch.equal(tensor, other.state_dict()[key]) for key, tensor in theirs.items())
    assert set(other.state_dict()) - set(theirs) <= {"lm_head.weight"}
    back = family.from_transformers(settings, theirs)
    assert back.keys() == module.state_dict().keys()


def test_import_names_missing_weights() -> None:
    with pytest.raises(CheckpointError, match=r"model\.embed_tokens\.weight"):
        FAMILIES["llama"].from_transformers(config("llama"), {})


@pytest.mark.parametrize(("name", "changes"), PARITY)
def test_gradients_equal_transformers(name: str, changes: dict[str, Any]) -> None:
    """Ours as they are trained with: the loss in chunks, its gradients computed with it."""
    module, other = transformers_pair(name, changes)
    ids = some_ids()
    assert module.output_weight is not None
    hidden, targets = module.hidden(ids[:, :-1]).flatten(0, 1), ids[:, 1:].flatten()
    torch.autograd.backward(cross_entropy(module.output_weight, hidden, targets, chunk_bytes=4096))
    logits = other(ids).logits
    torch.autograd.backward(F.cross_entropy(logits[:, :-1].flatten(0, 1), targets))
    grads = {key: p.grad for key, p in other.named_parameters()}
    expected = FAMILIES[name].from_transformers(config(name, **changes), grads)
    assert all(delta(p.grad, expected[key]) <= 1e-5 for key, p in module.named_parameters() if p.grad is not None)
    assert all(p.grad is not None for p in module.parameters())


# ALiBi by its definition


@pytest.mark.parametrize("heads", [1, 2, 6, 8, 12, 20])
def test_slopes_equal_bloom_and_mpt(heads: int) -> None:
    bloom = pytest.importorskip("transformers.models.bloom.modeling_bloom")
    mpt = pytest.importorskip("transformers.models.mpt.modeling_mpt")
    slopes = alibi_slopes(heads)
    theirs = bloom.build_alibi_tensor(torch.ones(1, 2), heads, torch.float32)  # slope · position
    assert delta(slopes, theirs[:, 0, 1]) <= 1e-7
    assert delta(slopes, -mpt.build_mpt_alibi_tensor(heads, 2)[:, 0, 0]) <= 1e-7


def test_eight_slopes_are_halves() -> None:
    assert alibi_slopes(8).tolist() == [2.0**-power for power in range(1, 9)]


def test_alibi_attention_equals_the_formula() -> None:
    torch.manual_seed(0)
    q, k, v = (torch.randn(2, 8, 10, 4) for _ in range(3))
    i, j = torch.meshgrid(torch.arange(10), torch.arange(10), indexing="ij")
    slopes = torch.tensor([2.0**-power for power in range(1, 9)])[:, None, None]
    scores = q @ k.mT / math.sqrt(4) - slopes * (i - j).abs()
    expected = scores.masked_fill(j > i, -math.inf).softmax(-1) @ v
    positions = torch.arange(10)[None]
    bias = LinearBias(8).bias(positions, positions, (j <= i)[None, None], torch.float32)
    assert torch.isneginf(bias[..., j > i]).all()
    assert delta(attend(q, k, v, Context(bias, False, None, None), scale=0.5, dropout=0.0), expected) <= 1e-6


# Caches, masks, positions


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("chunks", [[1] * 12, [5, 4, 3], [7, 1, 4], [12]])
@torch.no_grad()
def test_cached_decoding_equals_the_full_forward(name: str, chunks: list[int]) -> None:
    module, ids = tiny(name), some_ids()
    cache = module.new_cache(2, 16)
    states = [module.hidden(part, cache=cache) for part in torch.split(ids, chunks, 1)]
    assert cache.length == 12
    assert delta(torch.cat(states, 1), module.hidden(ids)) <= 1e-5


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_shortened_cache_forgets(name: str) -> None:
    module, ids = tiny(name), some_ids()
    cache = module.new_cache(2, 12)
    module.hidden(some_ids(2, 9).flip(1), cache=cache)
    cache.length = 0
    module.hidden(ids[:, :8], cache=cache)
    cache.length = 6
    assert delta(module.hidden(ids[:, 6:], cache=cache), module.hidden(ids)[:, 6:]) <= 1e-5


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_packed_documents_equal_separate_ones(name: str) -> None:
    module, ids = tiny(name), some_ids()
    lengths = [5, 4, 3]
    document = torch.arange(3).repeat_interleave(torch.tensor(lengths))
    mask = (document[:, None] == document).tril()
    positions = torch.cat([torch.arange(n) for n in lengths])
    expected = torch.cat([module.hidden(part) for part in torch.split(ids, lengths, 1)], 1)
    assert delta(module.hidden(ids, positions=positions, mask=mask), expected) <= 1e-5


# A trie: 0 → 1 → {2 → 3, 4 → 5 → 6}, written as each node's parent.
PARENTS = [-1, 0, 1, 2, 1, 4, 5]


def tree() -> tuple[Tensor, Tensor, list[list[int]]]:
    """Return the ancestor mask [7, 7], the depths [7] and the paths to both leaves."""
    mask, depths = torch.eye(7, dtype=torch.bool), torch.zeros(7, dtype=torch.int64)
    for node, parent in enumerate(PARENTS):
        if parent >= 0:
            mask[node] |= mask[parent]
            depths[node] = depths[parent] + 1
    return mask, depths, [[0, 1, 2, 3], [0, 1, 4, 5, 6]]


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_prefix_tree_equals_separate_sequences(name: str) -> None:
    module, ids = tiny(name), some_ids(2, 7)
    mask, depths, paths = tree()
    packed = module.hidden(ids, positions=depths, mask=mask)
    rowwise = module.hidden(ids, positions=depths.expand(2, 7), mask=mask.expand(2, 1, 7, 7))
    assert delta(packed, rowwise) <= 1e-6
    for path in paths:
        assert delta(packed[:, path], module.hidden(ids[:, path])) <= 1e-5


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shared", [2, 3, 6])
@torch.no_grad()
def test_prefix_tree_in_a_cache_equals_separate_sequences(name: str, shared: int) -> None:
    module, ids = tiny(name), some_ids(2, 7)
    mask, depths, paths = tree()
    cache = module.new_cache(2, 7)
    first = module.hidden(ids[:, :shared], positions=depths[:shared], mask=mask[:shared, :shared], cache=cache)
    rest = module.hidden(ids[:, shared:], positions=depths[shared:], mask=mask[shared:], cache=cache)
    packed = torch.cat((first, rest), 1)
    for path in paths:
        assert delta(packed[:, path], module.hidden(ids[:, path])) <= 1e-5


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_left_padded_rows_equal_unpadded_ones_and_stay_finite(name: str) -> None:
    module, ids, pad = tiny(name), some_ids(), torch.tensor([3, 0])
    real = torch.arange(12)[None] >= pad[:, None]  # [B, S]
    mask = torch.ones(12, 12, dtype=torch.bool).tril() & real[:, None, None] & real[:, None, :, None]
    positions = (torch.arange(12)[None] - pad[:, None]).clamp(min=0)
    assert not mask[0, 0, 0].any()
    padded = module.hidden(ids, positions=positions, mask=mask)
    assert padded.isfinite().all()
    assert delta(padded[:1, 3:], module.hidden(ids[:1, 3:])) <= 1e-5
    assert delta(padded[1:], module.hidden(ids[1:])) <= 1e-5


def test_a_query_that_may_attend_to_nothing_attends_to_itself() -> None:
    mask = torch.tensor([[True, True, False], [False, False, False]])  # the last two of three slots
    allowed = allowed_keys(mask, 1, 2, 3, torch.device("cpu"))
    assert allowed is not None
    assert allowed.tolist() == [[[[True, True, False], [False, False, True]]]]


@pytest.mark.parametrize("name", NAMES)
def test_fully_masked_rows_have_finite_gradients(name: str) -> None:
    module = tiny(name)
    mask = torch.ones(12, 12, dtype=torch.bool).tril()
    mask[4] = False
    torch.autograd.backward(module.hidden(some_ids(), mask=mask).sum())
    assert all(p.grad is None or p.grad.isfinite().all() for p in module.parameters())


@pytest.mark.parametrize("name", ["llama", "alibi", "mla"])
@torch.no_grad()
def test_relative_positions_ignore_an_offset_and_max_length(name: str) -> None:
    module, ids = tiny(name), some_ids(1, 40)
    assert delta(module.hidden(ids, positions=torch.arange(40) + 100), module.hidden(ids)) <= 2e-5


@torch.no_grad()
def test_learned_positions_have_an_end() -> None:
    module = tiny("gpt2")
    with pytest.raises(Unsupported, match="position 32 is outside the 32 positions"):
        module.hidden(some_ids(1, 33))
    with pytest.raises(Unsupported, match="position -1 "):
        module.hidden(some_ids(1, 2), positions=torch.tensor([-1, 0]))
    cache = module.new_cache(1, 40)
    module.hidden(some_ids(1, 32), cache=cache)
    with pytest.raises(Unsupported, match="at most 32 tokens"):
        module.hidden(some_ids(1, 1), cache=cache)


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_cache_refuses_what_does_not_fit(name: str) -> None:
    module = tiny(name)
    cache = module.new_cache(2, 4)
    with pytest.raises(Unsupported, match="holds 4 tokens per row and 5 are needed"):
        module.hidden(some_ids(2, 5), cache=cache)
    with pytest.raises(Unsupported, match="made for 2 rows and got 1"):
        module.hidden(some_ids(1, 2), cache=cache)
    with pytest.raises(ValueError, match="mask has shape"):
        module.hidden(some_ids(2, 2), mask=torch.ones(3, 2, dtype=torch.bool), cache=cache)
    with pytest.raises(ValueError, match="mask must be bool"):
        module.hidden(some_ids(2, 2), mask=torch.zeros(2, 2))
    assert cache.length == 0


@torch.no_grad()
def test_mla_caches_only_latent_and_rotated_key() -> None:
    cache = tiny("mla").new_cache(3, 10)
    assert cache.bytes == 2 * 3 * 10 * (12 + 4) * 4  # layers · rows · slots · (rank + rope) · fp32


@torch.no_grad()
def test_mla_absorbed_attention_equals_expanded(monkeypatch: pytest.MonkeyPatch) -> None:
    module, ids = tiny("mla"), some_ids()
    states = {}
    for absorb in (True, False):
        monkeypatch.setattr(LatentAttention, "_absorbing", lambda *_, absorb=absorb: absorb)
        cache = module.new_cache(2, 12)
        states[absorb] = torch.cat([module.hidden(part, cache=cache) for part in torch.split(ids, [6, 5, 1], 1)], 1)
    assert delta(states[True], states[False]) <= 1e-5


# Causality


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_no_token_changes_the_past(name: str) -> None:
    module, ids = tiny(name), some_ids()
    before = module.hidden(ids)
    for at in (1, 6, 11):
        changed = ids.clone()
        changed[:, at] = (changed[:, at] + 1) % 61
        after = module.hidden(changed)
        assert torch.equal(before[:, :at], after[:, :at])
        assert delta(before[:, at], after[:, at]) > 1e-3


@pytest.mark.parametrize("name", NAMES)
def test_no_gradient_reaches_the_future(name: str) -> None:
    module = tiny(name)
    seen: list[Tensor] = []

    def keep(_module: Any, _inputs: Any, output: Tensor) -> None:
        output.retain_grad()
        seen.append(output)

    module.embedding.register_forward_hook(keep)
    torch.autograd.backward(module.hidden(some_ids())[:, 6, :3].sum())
    reach = seen[0].grad
    assert reach is not None
    assert not reach[:, 7:].any()
    assert (reach[:, :7].abs().amax(-1) > 0).all()


# Training, dtypes, saving


@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_learns_and_initial_loss_is_log_vocabulary(name: str) -> None:
    torch.manual_seed(0)
    module, ids = FAMILIES[name].build(config(name, dropout=0.1)), some_ids(4, 20)
    loss = F.cross_entropy(module(ids)[:, :-1].flatten(0, 1), ids[:, 1:].flatten())
    torch.autograd.backward(loss)
    assert loss.item() == pytest.approx(math.log(61), abs=0.2)
    assert all(p.grad is not None and p.grad.any() for p in module.parameters())


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_dropout_only_in_training(name: str) -> None:
    module, ids = tiny(name, dropout=0.5), some_ids()
    assert torch.equal(module(ids), module(ids))
    module.train()
    assert not torch.equal(module(ids), module(ids))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@torch.no_grad()
def test_half_precision_is_close(name: str, dtype: torch.dtype) -> None:
    module, ids = tiny(name, initializer_range=0.1), some_ids()
    full = module(ids)
    with torch.autocast("cpu", dtype):
        mixed = module(ids)
        cache = module.new_cache(2, 12)
        stepped = torch.cat([module.project(module.hidden(one, cache=cache)) for one in torch.split(ids, 1, 1)], 1)
    half = module.to(dtype)
    cache = half.new_cache(2, 12)
    cached = torch.cat([half.project(half.hidden(part, cache=cache)) for part in torch.split(ids, [5, 1, 6], 1)], 1)
    for logits in (mixed, stepped, half(ids), cached):
        assert logits.dtype == dtype
        assert delta(logits.float(), full) < 0.1 * float(full.std())


@pytest.mark.parametrize(("name", "changes"), [*((name, {}) for name in NAMES), *OPTIONS])
@torch.no_grad()
def test_saved_weights_give_the_same_logits(name: str, changes: dict[str, Any], tmp_path: Path) -> None:
    module = tiny(name, **changes)
    FAMILIES[name].save(module, tmp_path)
    again = FAMILIES[name].load(config(name, **changes), tmp_path)
    assert torch.equal(module(some_ids()), again(some_ids()))
    small = FAMILIES[name].load(config(name, **changes), tmp_path, dtype=torch.bfloat16)
    assert {p.dtype for p in small.parameters()} == {torch.bfloat16}


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_compiles_whole_and_saves_plain_names(name: str, tmp_path: Path) -> None:
    module = tiny(name)
    compiled = torch.compile(module, backend="eager", fullgraph=True)
    assert delta(compiled(some_ids()), module(some_ids())) <= 1e-5
    FAMILIES[name].save(compiled, tmp_path)
    assert torch.equal(module(some_ids()), FAMILIES[name].load(config(name), tmp_path)(some_ids()))


@pytest.mark.parametrize("name", NAMES)
def test_loading_another_size_is_refused(name: str, tmp_path: Path) -> None:
    FAMILIES[name].save(tiny(name), tmp_path)
    with pytest.raises(CheckpointError, match=r"misshapen \(embedding\.weight is \[61, 32\]"):
        FAMILIES[name].load(config(name, vocab_size=60), tmp_path)


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_meta_build_materialises(name: str) -> None:
    module = tiny(name)
    with torch.device("meta"):
        empty = FAMILIES[name].build(config(name))
    empty.to_empty(device="cpu").eval().load_state_dict(module.state_dict())
    assert torch.equal(empty(some_ids()), module(some_ids()))

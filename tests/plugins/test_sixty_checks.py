"""What the 60 checks of document 4 ask for and no other test does, and that docs/checks.md lists all of them."""

from __future__ import annotations

import ast
import itertools
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tilbench.config.decoding import Decoding
from tilbench.config.references import parse_spec
from tilbench.data.rows import Document
from tilbench.kinds.requests import Generation
from tilbench.kinds.tokenizer import SpecialTokens
from tilbench.loader import Host
from tilbench.resolve.specs import load_spec
from tilbench.scoring.decode.generate import Job, generate
from tilbench.scoring.forward.chunked import cross_entropy
from tilbench_decoders.alibi import Alibi
from tilbench_decoders.decoder import Block, Decoder
from tilbench_decoders.layers.attention import Context, GroupedAttention, attend
from tilbench_decoders.layers.feed_forward import SwiGLU
from tilbench_decoders.layers.norms import RMSNorm
from tilbench_decoders.layers.positions import LinearBias, alibi_slopes
from tilbench_trainers.data.tokens import Encoding, token_file
from tilbench_trainers.optim.schedule import learning_rate

GROUPS = [8, 6, 4, 7, 4, 3, 3, 7, 4, 5, 3, 3, 3]
"""Tests in each group of the paper's table (section 11); 60 in all."""
TINY = {"vocab_size": 61, "max_length": 512, "hidden_size": 32, "num_layers": 2, "num_heads": 4, "num_kv_heads": 1}


def tiny(**changes: Any) -> Decoder:
    torch.manual_seed(1)
    built: Decoder = Alibi().build(
        Alibi.Config(**{**TINY, "intermediate_size": 48, "initializer_range": 0.3, **changes})
    )
    return built.eval()


@pytest.fixture(scope="module")
def full(host: Host) -> Decoder:
    """Return Turkish v1 at its size, without memory."""
    fields = load_spec(parse_spec("turkish-v1"), host.registry).architecture.config
    with torch.device("meta"):
        return Alibi().build(Alibi.Config(**fields))


# The list


def test_every_check_of_the_document_has_a_test_that_exists(root: Path) -> None:
    text = (root / "docs/checks.md").read_text(encoding="utf-8")
    sections = re.split(r"^## ", text, flags=re.M)[1:]
    found = [[line for line in section.splitlines() if re.match(r"\| .*::", line)] for section in sections]
    assert [len(rows) for rows in found] == GROUPS
    assert sum(GROUPS) == 60
    headings = [re.match(r"(\d+)\. .* \((\d+)\)\n", section) for section in sections]
    assert [(int(each[1]), int(each[2])) for each in headings if each] == list(enumerate(GROUPS, start=1))
    for file, *names in (reference.split("::") for reference in re.findall(r"`([^`\s]+\.py::[^`\s]+)`", text)):
        scope: Any = ast.parse((root / file).read_text(encoding="utf-8"))
        for name in names:
            inside = [each for each in scope.body if getattr(each, "name", None) == name]
            assert len(inside) == 1, f"{file} has no {'::'.join(names)}"
            scope = inside[0]
        assert names[-1].startswith("test_")


# Tokenizer


def test_turkish_letters_are_told_apart_and_come_back(host: Host) -> None:
    """No lower case is made of İ and I, which Python's own rules would confuse with i and ı."""
    texts = ["İstanbul'da ılık bir iğde ağacı", "ISPARTA ısparta İZMİR izmir", "çğıöşüÇĞİÖŞÜ âîû"]
    tokenizer = host.registry.tokenizers.get("bpe").train(texts * 20, {"vocab_size": 300})
    for text in [*texts, "Ağrı’nın güneşi"]:
        assert tokenizer.decode(tokenizer.encode(text)) == text
    assert len({tuple(tokenizer.encode(letter)) for letter in "iıİIçcğgöoşsüu"}) == 14


def test_every_id_of_the_document_fits_two_bytes(host: Host, tmp_path: Path) -> None:
    size = load_spec(parse_spec("turkish-v1"), host.registry).tokenizer.options["vocab_size"]
    assert size == 64_000
    for vocabulary, dtype in ((size, "<u2"), (1 << 16, "<u2"), ((1 << 16) + 1, "<u4")):
        ids = [0, 1, vocabulary - 1]

        def encode(texts: Sequence[str], ids: list[int] = ids) -> list[list[int]]:
            return [ids for _ in texts]

        made = token_file(
            tmp_path / f"{vocabulary}.bin",
            [Document("1", "metin")],
            Encoding(encode=encode, separator=None, vocabulary=vocabulary, fingerprint="x"),
        )
        assert (made.ids.dtype.str, made.ids.tolist()) == (dtype, ids)


# Architecture


def test_tied_weights_are_one_matrix() -> None:
    module = tiny()
    assert module.lm_head is None
    assert module.output_weight is module.embedding.weight
    ids = torch.tensor([[3, 4]])
    assert torch.equal(module(ids), module.hidden(ids) @ module.embedding.weight.T)


def test_untied_weights_are_two_matrices() -> None:
    tied, untied = tiny(), tiny(tie_embeddings=False)
    assert untied.output_weight is not None
    assert untied.output_weight is not untied.embedding.weight
    counts = [sum(parameter.numel() for parameter in module.parameters()) for module in (tied, untied)]
    assert counts[1] - counts[0] == 61 * 32


def test_layers_and_widths_of_the_document(full: Decoder) -> None:
    assert len(full.blocks) == 12
    assert full.embedding.weight.shape == (64_000, 256)
    assert (full.max_length, full.vocab_size) == (512, 64_000)


def test_projections_of_the_document(full: Decoder) -> None:
    """Queries, keys and values are the rows of one matrix, and so are gate and up."""
    for block in full.blocks:
        assert isinstance(block, Block)
        attention, feed_forward = block.attention, block.feed_forward
        assert isinstance(attention, GroupedAttention)
        assert isinstance(feed_forward, SwiGLU)
        assert attention.qkv_proj.weight.shape == (256 + 64 + 64, 256)
        assert attention.o_proj.weight.shape == (256, 256)
        assert sum(parameter.numel() for parameter in attention.parameters()) == 163_840
        assert feed_forward.gate_up_proj.weight.shape == (2 * 688, 256)
        assert feed_forward.down_proj.weight.shape == (256, 688)
        assert sum(parameter.numel() for parameter in feed_forward.parameters()) == 528_384


# Norm, penalty, attention, feed-forward, block


@pytest.mark.parametrize("scale", [1e-2, 1.0, 1e3])
def test_a_norm_keeps_the_shape_and_gives_unit_scale(scale: float) -> None:
    x = scale * torch.randn(2, 5, 256, generator=torch.Generator().manual_seed(0))
    out = RMSNorm(256, eps=1e-6)(x)
    assert out.shape == x.shape
    assert out.pow(2).mean(-1).sqrt().allclose(torch.ones(2, 5), atol=1e-2)
    assert out.allclose(x / x.pow(2).mean(-1, keepdim=True).add(1e-6).sqrt(), atol=1e-6)


def test_a_norm_has_a_scale_and_nothing_else(full: Decoder) -> None:
    norms = [module for module in full.modules() if isinstance(module, RMSNorm)]
    assert len(norms) == 25
    assert {tuple(each.shape for each in norm.parameters()) for norm in norms} == {((256,),)}


def test_a_norm_of_zeros_is_zeros_with_a_finite_gradient() -> None:
    x = torch.zeros(1, 3, 8, requires_grad=True)
    out = RMSNorm(8, eps=1e-6)(x)
    torch.autograd.backward(out.sum())
    assert not out.any()
    assert x.grad is not None
    assert x.grad.isfinite().all()


def test_the_bias_is_minus_slope_times_distance() -> None:
    positions = torch.arange(6)[None]
    allowed = torch.ones(1, 1, 6, 6, dtype=torch.bool).tril()
    bias = LinearBias(8).bias(positions, positions, allowed, torch.float32)
    assert bias.shape == (1, 8, 6, 6)
    for head, slope in enumerate(alibi_slopes(8).tolist()):
        for query in range(6):
            for key in range(6):
                wanted = -slope * (query - key) if key <= query else -math.inf
                assert bias[0, head, query, key] == wanted
        assert not bias[0, head].diagonal().any()


def test_four_query_heads_share_a_key_head() -> None:
    random = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(2, heads, 7, 4, generator=random) for heads in (8, 2, 2))
    out = attend(q, k, v, Context(None, True, None, None), scale=0.5, dropout=0.0)
    assert out.shape == q.shape
    for head in range(8):
        scores = (q[:, head] @ k[:, head // 4].mT * 0.5).masked_fill(~torch.ones(7, 7).tril().bool(), -math.inf)
        assert out[:, head].allclose(scores.softmax(-1) @ v[:, head // 4], atol=1e-6)


def test_swiglu_is_its_formula() -> None:
    torch.manual_seed(0)
    module, x = SwiGLU(6, 10, bias=False), torch.randn(2, 3, 6)
    gate, up = module.gate_up_proj.weight.chunk(2)
    assert gate.shape == up.shape == module.down_proj.weight.T.shape == (10, 6)
    wanted = (F.silu(x @ gate.T) * (x @ up.T)) @ module.down_proj.weight.T
    assert module(x).shape == x.shape
    assert module(x).allclose(wanted, atol=1e-6)


def test_a_block_is_its_formula_with_norms_first() -> None:
    """The stream itself is never normalised: scaled by ten, a branch adds what it added before."""
    block, x = tiny().blocks[0], torch.randn(2, 5, 32, generator=torch.Generator().manual_seed(0))
    assert isinstance(block, Block)
    context = Context(None, True, None, None)
    middle = x + block.attention(block.attention_norm(x), context)
    wanted = middle + block.feed_forward(block.feed_forward_norm(middle))
    assert torch.equal(block(x, context), wanted)
    assert wanted.shape == x.shape
    added = [block.attention(block.attention_norm(scale * x), context) for scale in (1, 10)]
    assert added[0].allclose(added[1], atol=1e-4)


def test_a_block_whose_branches_are_silent_changes_nothing() -> None:
    block, x = tiny().blocks[0], torch.randn(2, 5, 32)
    assert isinstance(block, Block)
    assert isinstance(block.feed_forward, SwiGLU)
    nn.init.zeros_(block.attention.o_proj.weight)
    nn.init.zeros_(block.feed_forward.down_proj.weight)
    assert torch.equal(block(x, Context(None, True, None, None)), x)


# The whole model


def test_the_loss_of_a_batch_is_one_finite_number() -> None:
    module, ids = tiny(), torch.arange(40).view(2, 20)
    assert module.output_weight is not None
    loss = cross_entropy(module.output_weight, module.hidden(ids[:, :-1]).flatten(0, 1), ids[:, 1:].flatten())
    assert loss.shape == ()
    assert loss.isfinite()


class Numbers:
    """A tokenizer that writes ids as numbers, and whose texts have no end."""

    special = SpecialTokens()
    size = 61

    def decode(self, ids: Sequence[int]) -> str:
        return "".join(f" {each}" for each in ids)


@pytest.mark.parametrize("asked", [1, 7])
@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_a_text_has_as_many_tokens_as_asked_all_of_them_in_the_vocabulary(temperature: float, asked: int) -> None:
    request = Generation("p", Decoding(max_new_tokens=asked, temperature=temperature))
    tokenizer: Any = Numbers()
    with torch.inference_mode():
        groups = generate(tiny(), tokenizer, [Job(request, [3, 4])], torch.device("cpu"), 64)
        ((_, answer),) = itertools.chain.from_iterable(groups)
    ids = [int(each) for each in answer.text.split()]
    assert len(ids) == asked
    assert all(0 <= each < 61 for each in ids)


def test_the_cosine_never_rises(host: Host) -> None:
    recipe = load_spec(parse_spec("turkish-v1"), host.registry).recipe
    assert recipe is not None
    rates = [learning_rate(step, recipe.steps, 3e-4, recipe.schedule) for step in range(1, recipe.steps + 1, 7)]
    top = rates.index(max(rates))
    assert rates[: top + 1] == sorted(rates[: top + 1])
    assert rates[top:] == sorted(rates[top:], reverse=True)
    assert all(rate > 0 for rate in rates)


def test_the_penalty_is_made_where_the_ids_are() -> None:
    """Nothing of it is kept in the module, where a move or a cast could forget it."""
    assert not list(tiny().buffers())
    positions = torch.arange(4, device="meta")[None]
    bias = LinearBias(8).bias(positions, positions, None, torch.bfloat16)
    assert (bias.device.type, bias.dtype) == ("meta", torch.bfloat16)


@pytest.mark.parametrize("token", [0, 60])
def test_the_first_and_the_last_id_over_the_whole_length_are_finite(token: int) -> None:
    module = tiny().train()
    ids = torch.full((1, 512), token)
    logits = module(ids)
    assert logits.shape == (1, 512, 61)
    assert logits.isfinite().all()
    torch.autograd.backward(F.cross_entropy(logits[0], ids[0]))
    assert all(p.grad is not None and p.grad.isfinite().all() for p in module.parameters())

"""Weights of Transformers that hold several matrices are found by what they do, and Muon treats each by itself."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from tilbench.config.model import Optimizer
from tilbench_huggingface.architecture import HuggingFaceArchitecture, HuggingFaceConfig
from tilbench_huggingface.decoder import HuggingFaceDecoder
from tilbench_trainers.optim.optimizer import make_optimizer

from .small_models import small_model

pytest.importorskip("transformers")

D, HEADS, INNER = 32, 4, 48
WIDTH = D // HEADS
OLD = {"n_embd": D, "n_layer": 2, "n_head": HEADS}
NEW = {"hidden_size": D, "num_hidden_layers": 2, "num_attention_heads": HEADS}
GROUPED = {**NEW, "num_key_value_heads": 2, "intermediate_size": INNER}


def blocks(*sizes: int) -> list[list[int]]:
    """Parts one after the other."""
    return [each.tolist() for each in torch.split(torch.arange(sum(sizes)), list(sizes))]


def by_head(times: int, *sizes: int) -> list[list[int]]:
    """A stretch of each part in turn, `times` times."""
    places = torch.arange(times * sum(sizes)).view(times, -1)
    return [each.flatten().tolist() for each in torch.split(places, list(sizes), dim=1)]


LAYOUTS: dict[str, tuple[dict[str, Any], dict[str, list[list[int]]]]] = {
    "gpt2": (OLD, {"c_attn": blocks(D, D, D)}),
    "phi3": (GROUPED, {"qkv_proj": blocks(D, D // 2, D // 2), "gate_up_proj": blocks(INNER, INNER)}),
    "glm": ({**GROUPED, "head_dim": WIDTH}, {"gate_up_proj": blocks(INNER, INNER)}),
    "gpt_neox": ({**NEW, "intermediate_size": INNER}, {"query_key_value": by_head(HEADS, WIDTH, WIDTH, WIDTH)}),
    "bloom": ({"hidden_size": D, "n_layer": 2, "n_head": HEADS}, {"query_key_value": by_head(HEADS, *3 * [WIDTH])}),
    "falcon": (
        {**NEW, "new_decoder_architecture": True, "num_kv_heads": 2},
        {"query_key_value": by_head(2, 2 * WIDTH, WIDTH, WIDTH)},
    ),
    "gpt_bigcode": (OLD, {"c_attn": blocks(D, WIDTH, WIDTH)}),
    "codegen": ({**OLD, "rotary_dim": 4}, {"qkv_proj": by_head(4, D // 4, D // 4, D // 4)}),
    "mpt": ({"d_model": D, "n_layers": 2, "n_heads": HEADS}, {"Wqkv": blocks(D, D, D)}),
    "llama": (GROUPED, {}),
    "gemma3_text": ({**GROUPED, "head_dim": WIDTH}, {}),
    "qwen3": ({**GROUPED, "head_dim": WIDTH}, {}),
    "opt": ({**NEW, "ffn_dim": 2 * D, "word_embed_proj_dim": D}, {}),
}


def build(name: str) -> Any:
    torch.manual_seed(0)
    config = HuggingFaceConfig(model_type=name, vocab_size=50, max_length=16, config=LAYOUTS[name][0])
    return HuggingFaceArchitecture().build(config)


@pytest.mark.parametrize("name", LAYOUTS)
def test_muon_orthogonalises_each_part_of_a_fused_weight_alone(name: str) -> None:
    """The parts expected here are written down from each class's forward pass."""
    module = build(name)
    named = dict(module.named_parameters())
    optimizer = make_optimizer(module, Optimizer(name="muon", learning_rate=1e-2, weight_decay=0.1), module.parts())
    before = {each: parameter.detach().clone() for each, parameter in named.items()}
    for parameter in named.values():
        parameter.grad = torch.randn_like(parameter)
    optimizer.step()
    matrices = {id(each) for each in optimizer.param_groups[0]["params"]}
    seen = set()
    for weight, parameter in named.items():
        if id(parameter) not in matrices:
            continue
        short = weight.split(".")[-2]
        axis = 1 if name == "gpt2" else 0
        parts = LAYOUTS[name][1].get(short, [list(range(parameter.shape[axis]))])
        seen.add(short)
        for places in map(torch.tensor, parts):
            part = nn.Parameter(before[weight].index_select(axis, places))
            assert parameter.grad is not None
            part.grad = parameter.grad.index_select(axis, places)
            make: Any = torch.optim.Muon
            make([part], lr=1e-2, weight_decay=0.1, momentum=0.95, adjust_lr_fn="match_rms_adamw").step()
            torch.testing.assert_close(parameter.detach().index_select(axis, places), part.detach(), msg=weight)
    assert seen >= LAYOUTS[name][1].keys()


@pytest.mark.parametrize("name", ["gpt2", "phi3"])
def test_looking_for_parts_leaves_the_module_as_it_was(name: str) -> None:
    module = build(name).train()
    before = {each: tensor.clone() for each, tensor in module.state_dict().items()}
    module.parts()
    assert module.training
    assert all(torch.equal(before[each], tensor) for each, tensor in module.state_dict().items())
    assert all(parameter.grad is None for parameter in module.parameters())
    assert not any(each._forward_hooks for each in module.modules())


def test_frozen_weights_have_no_parts() -> None:
    module = build("gpt2").requires_grad_(False)
    module.model.transformer.h[1].attn.c_attn.weight.requires_grad_(True)
    assert [slot.name for slot in module.parts()] == ["model.transformer.h.1.attn.c_attn.weight"]


def test_the_loop_gives_the_parts_to_muon_and_asks_for_none_under_adamw() -> None:
    from types import SimpleNamespace

    from tilbench_trainers.loop.pretrain import _slots

    def job(optimizer: str) -> Any:
        recipe = SimpleNamespace(optimizer=SimpleNamespace(name=optimizer))
        return SimpleNamespace(module=build("phi3"), spec=SimpleNamespace(recipe=recipe))

    assert len(_slots(job("muon"))) == 4
    assert _slots(job("adamw")) == ()


@pytest.mark.parametrize("name", ["llama", "qwen2", "cohere", "stablelm"])
@pytest.mark.filterwarnings("error:.*each is taken as one")
def test_a_class_that_fuses_nothing_has_no_parts_and_no_warning(name: str) -> None:
    """Its up projection has twice as many rows as the model is wide, as a fused gate would."""
    assert HuggingFaceDecoder(small_model(name)).parts() == []


@pytest.mark.parametrize("name", ["mamba", "jamba"])
def test_a_weight_of_a_state_space_is_one_matrix(name: str) -> None:
    """Its rows are step sizes and two projections of the state, which are no parts of attention or of a gate."""
    slots = HuggingFaceDecoder(small_model(name)).parts()
    assert not [slot.name for slot in slots if slot.name.endswith("x_proj.weight")]

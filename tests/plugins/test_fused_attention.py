"""ALiBi inside the kernel: the states, gradients and masks of the path that stores its bias."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, fx

from tilbench_decoders import decoder as decoder_module
from tilbench_decoders.alibi import Alibi
from tilbench_decoders.decoder import Decoder
from tilbench_decoders.layers.attention import Context, allowed_keys, attend
from tilbench_decoders.layers.fused import fused_bias, worth_fusing
from tilbench_decoders.layers.positions import LinearBias
from tilbench_trainers.data.batch import Batch, restarted
from tilbench_trainers.loop.forward import recompute_activations

HEADS, WIDTH, LENGTH = 4, 64, 150  # more than one block of 128 and not a multiple of it
SIZES = {"vocab_size": 61, "max_length": LENGTH, "hidden_size": WIDTH, "num_layers": 2, "intermediate_size": 48}
KINDS = pytest.mark.parametrize("documents", [False, True], ids=["causal", "documents"])

pytestmark = [  # of torch's compiler itself
    pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*Function'> should not be instantiated:DeprecationWarning"),
]


def batch(documents: bool) -> Batch:
    """Two rows of about five documents each, or of one."""
    random = torch.Generator().manual_seed(3)
    ids = torch.randint(61, (2, LENGTH), generator=random)
    begins = torch.rand(2, LENGTH, generator=random) < 0.03
    return Batch(ids, ids, ids.numel(), *(restarted(begins.numpy()) if documents else ()))


def assert_same(found: dict[str, Tensor], wanted: dict[str, Tensor], tolerance: float = 1e-5) -> None:
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        assert (found[name] - value).abs().max() <= tolerance * max(1.0, float(value.abs().max())), name


@pytest.fixture
def gradient_on_cpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let the operator's definition be derived on a CPU, for which torch has no kernel of the gradient."""
    monkeypatch.setattr("torch.nn.attention.flex_attention._validate_device", lambda *_: None)
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.fixture
def fused_on_cpu(gradient_on_cpu: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fuse in every compiled graph."""
    monkeypatch.setattr(decoder_module, "worth_fusing", lambda x, dropout: torch.compiler.is_compiling())


# One attention


def inputs(kv_heads: int) -> tuple[Tensor, Tensor, Tensor]:
    random = torch.Generator().manual_seed(4)
    q, k, v = (
        torch.randn(2, heads, LENGTH, 16, generator=random).requires_grad_() for heads in (HEADS, kv_heads, kv_heads)
    )
    return q, k, v


def stored(q: Tensor, k: Tensor, v: Tensor, positions: Tensor, mask: Tensor | None) -> Tensor:
    allowed = allowed_keys(mask, 2, LENGTH, LENGTH, q.device)
    bias = LinearBias(HEADS).bias(positions, positions, allowed, q.dtype)
    return attend(q, k, v, Context(bias, False, None, None), scale=0.25, dropout=0.0)


def fused(q: Tensor, k: Tensor, v: Tensor, positions: Tensor, mask: Tensor | None) -> Tensor:
    context = Context(None, False, None, None, fused_bias(HEADS, positions, mask, 2))
    return attend(q, k, v, context, scale=0.25, dropout=0.0)


def attended(attention: Callable[..., Tensor], kv_heads: int, of: Batch) -> dict[str, Tensor]:
    """Return the output, and the gradients of a weighted sum of its squares."""
    given = inputs(kv_heads)
    positions = torch.arange(LENGTH)[None] if of.positions is None else of.positions
    out = attention(*given, positions, of.mask)
    torch.autograd.backward((out * torch.linspace(0.5, 1.5, 16)).square().sum())
    grads = {name: tensor.grad for name, tensor in zip("qkv", given, strict=True) if tensor.grad is not None}
    return {"out": out.detach(), **grads}


@pytest.mark.usefixtures("gradient_on_cpu")
@KINDS
@pytest.mark.parametrize("kv_heads", [1, 2, 4])
def test_output_and_gradients_are_those_of_the_stored_bias(kv_heads: int, documents: bool) -> None:
    compiled = torch.compile(fused, backend="aot_eager", fullgraph=True, dynamic=False)
    wanted = attended(stored, kv_heads, batch(documents))
    assert len(wanted) == 4
    assert_same(attended(compiled, kv_heads, batch(documents)), wanted)


@pytest.mark.usefixtures("gradient_on_cpu")
@KINDS
def test_nothing_is_seen_of_the_future_or_of_another_document(documents: bool) -> None:
    of, given, place = batch(documents), inputs(2), 100
    compiled = torch.compile(fused, backend="aot_eager", fullgraph=True, dynamic=False)
    positions = torch.arange(LENGTH)[None] if of.positions is None else of.positions
    torch.autograd.backward(compiled(*given, positions, of.mask)[:, :, place].sum())
    seen = torch.arange(LENGTH).expand(2, -1) <= place
    if of.segments is not None:
        seen = seen & (of.segments == of.segments[:, place : place + 1])
    assert 2 < seen.sum() < seen.numel()
    assert given[2].grad is not None
    assert torch.equal((given[2].grad != 0).any(-1).any(1), seen)


# A decoder


def make() -> Decoder:
    torch.manual_seed(0)
    sizes: dict[str, Any] = {**SIZES, "num_heads": HEADS, "num_kv_heads": 2, "initializer_range": 0.3}
    module: Decoder = Alibi().build(Alibi.Config(**sizes))
    return module.train()


def passed(module: Decoder, hidden: Callable[..., Tensor], of: Batch) -> dict[str, Tensor]:
    """Return the states of a pass, and the gradients that a weighted sum of their squares gives the parameters."""
    module.zero_grad()
    states = hidden(of.ids, positions=of.positions, mask=of.mask)
    weights = torch.linspace(0.5, 1.5, WIDTH, device=states.device)
    torch.autograd.backward((states * weights).square().mean())
    return {"states": states.detach(), **{name: p.grad for name, p in module.named_parameters() if p.grad is not None}}


@pytest.mark.slow
@pytest.mark.usefixtures("fused_on_cpu")
@pytest.mark.parametrize("recomputed", [False, True])
def test_a_decoder_has_the_same_gradients(recomputed: bool) -> None:
    module, of = make(), batch(documents=True)
    wanted = passed(module, module.hidden, of)
    if recomputed:
        recompute_activations(module)
    compiled = torch.compile(module.hidden, backend="aot_eager", dynamic=False)
    assert_same(passed(module, compiled, of), wanted)


@pytest.mark.usefixtures("fused_on_cpu")
@KINDS
def test_no_score_and_no_bias_is_stored(documents: bool) -> None:
    """The graph that is compiled has the operator, and of T × T nothing but truths and counts."""
    graphs: list[fx.GraphModule] = []

    def backend(graph: fx.GraphModule, _: Any) -> Callable[..., Any]:
        graphs.append(graph)
        return graph.forward

    module, of = make(), batch(documents)
    torch.compile(module.hidden, backend=backend, fullgraph=True)(of.ids, positions=of.positions, mask=of.mask)
    nodes = [node for graph in graphs for node in graph.graph.nodes]
    assert sum("flex_attention" in str(node.target) for node in nodes) == SIZES["num_layers"]
    values = [node.meta.get("example_value") for node in nodes]
    square = [each for each in values if isinstance(each, Tensor) and each.shape[-2:] == (LENGTH, LENGTH)]
    assert not [each for each in square if each.is_floating_point()]


def test_it_is_chosen_for_compiled_training_on_cuda_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    class OnCuda:
        is_cuda, shape = True, (1, 128, WIDTH)

    states: Any = OnCuda()
    assert not worth_fusing(states, dropout=False)
    monkeypatch.setattr("torch.compiler.is_compiling", lambda: True)
    assert worth_fusing(states, dropout=False)
    assert not worth_fusing(states, dropout=True)
    assert not worth_fusing(torch.zeros(1, 128, WIDTH), dropout=False)
    with torch.no_grad():
        assert not worth_fusing(states, dropout=False)
    states.shape = (1, 127, WIDTH)
    assert not worth_fusing(states, dropout=False)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@KINDS
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.bfloat16, 5e-2)])
def test_a_gpu_trains_as_a_cpu_does(documents: bool, dtype: torch.dtype, tolerance: float) -> None:
    module, of = make(), batch(documents)
    wanted = passed(module, module.hidden, of)
    module.to("cuda")
    with torch.autocast("cuda", dtype=dtype, enabled=dtype != torch.float32):
        found = passed(module, torch.compile(module.hidden, dynamic=False), of.to(torch.device("cuda")))
    assert_same({name: value.float().cpu() for name, value in found.items()}, wanted, tolerance)

"""Linear layers through oneDNN: the same numbers, whatever the layer looks like."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from tilbench.kinds.architecture import Decoder
from tilbench.loader import Host
from tilbench.scoring.forward.onednn import OneDnnDecoder, through_onednn

AVAILABLE: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
pytestmark = pytest.mark.skipif(not AVAILABLE, reason="this torch has no oneDNN")


class Wrapped(nn.Module):
    """One computation as a decoder's `hidden`."""

    def __init__(self, compute: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.vocab_size = self.max_length = 8
        self.compute = compute

    def hidden(self, x: Tensor) -> Tensor:
        return self.compute(x)


torch.manual_seed(0)
WEIGHT, BIAS = torch.randn(7, 5), torch.randn(7)
COMPUTATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "linear": lambda x: nn.functional.linear(x, WEIGHT),
    "linear with a bias": lambda x: nn.functional.linear(x, WEIGHT, BIAS),
    "addmm": lambda x: torch.addmm(BIAS, x.reshape(-1, 5), WEIGHT.t().contiguous()),
    "a parameter": lambda x: nn.functional.linear(x, nn.Parameter(WEIGHT)),
    "a transposed view": lambda x: nn.functional.linear(x.transpose(0, 1), WEIGHT),
    "bf16": lambda x: nn.functional.linear(x.bfloat16(), WEIGHT.bfloat16()).float(),
    "fp64": lambda x: nn.functional.linear(x.double(), WEIGHT.double()).float(),
}


@pytest.mark.parametrize("name", COMPUTATIONS)
@pytest.mark.parametrize("rows", [(1, 1), (3, 4), (2, 40)])
def test_products_are_the_same(name: str, rows: tuple[int, int]) -> None:
    x = torch.randn(*rows, 5)
    wanted = COMPUTATIONS[name](x)
    found = OneDnnDecoder(Wrapped(COMPUTATIONS[name])).hidden(x)  # type: ignore[arg-type]
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)


def test_layers_are_sent_to_onednn(host: Host) -> None:
    architecture = host.registry.architectures.get("llama")
    sizes = {"vocab_size": 300, "max_length": 64, "hidden_size": 32, "num_layers": 2, "num_heads": 2}
    module = architecture.build(architecture.Config(**sizes, intermediate_size=48)).eval()
    assert isinstance(module, Decoder)
    decoder = through_onednn(module, torch.device("cpu"))
    with torch.profiler.profile() as profile:
        decoder.project(decoder.hidden(torch.arange(40)[None]))
    names = [event.name for event in profile.events()]
    assert names.count("mkldnn::_linear_pointwise") == 4 * 2 + 1


def test_elsewhere_a_decoder_stays_as_it_is() -> None:
    module = Wrapped(COMPUTATIONS["linear"])
    assert through_onednn(module, torch.device("cuda")) is module  # type: ignore[arg-type,comparison-overlap]

"""Matrix products in fp32 on a CPU through oneDNN, which torch itself uses for bf16 only.

Torch hands fp32 products to MKL, and MKL keeps to AVX2 on processors that are not Intel's: on an AMD EPYC with AVX-512
oneDNN is 2.4 times as fast for the widths of a small model (256 and 106 GFLOP/s a core). It is the same arithmetic in
another order, so numbers differ by rounding only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from tilbench.kinds.architecture import Decoder
from tilbench.scoring.forward.states import alone_above

__all__ = ["OneDnnDecoder", "through_onednn"]

_FEWEST_ROWS = 8
"""Below this a product reads more than it computes, and both libraries wait for memory."""


def through_onednn(decoder: Decoder, device: torch.device) -> Decoder:
    """Return the decoder as it is best used on `device` for inference: on a CPU, with oneDNN where torch has it."""
    if device.type != "cpu" or not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return decoder
    return OneDnnDecoder(decoder)


class OneDnnDecoder:
    """A decoder whose fp32 linear layers are computed by oneDNN; it carries no gradient."""

    def __init__(self, decoder: Decoder) -> None:
        self._decoder = decoder
        self._mode = _OneDnn()
        self.vocab_size, self.max_length = decoder.vocab_size, decoder.max_length
        self.alone_above = alone_above(decoder)

    def hidden(self, ids: Tensor, **given: Any) -> Tensor:
        """Return the final states [B, T, D] of `ids` [B, T]; see `tilbench.kinds.architecture.Decoder`."""
        with torch.no_grad(), self._mode:
            return self._decoder.hidden(ids, **given)

    def project(self, hidden: Tensor) -> Tensor:
        """Return the logits [..., V] of states [..., D]."""
        with torch.no_grad(), self._mode:
            return self._decoder.project(hidden)

    def new_cache(self, batch: int, length: int) -> Any:
        """Return an empty cache for `batch` rows of at most `length` tokens."""
        return self._decoder.new_cache(batch, length)

    def forward(self, ids: Tensor) -> Tensor:
        """Return logits [B, T, V] of causal `ids` [B, T]."""
        return self.project(self.hidden(ids))


class _OneDnn(TorchFunctionMode):
    """Sends `linear`, and the `addmm` of GPT-2's Conv1D, to oneDNN."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Call `func`, or the product that stands for it."""
        if not kwargs and func is nn.functional.linear and _suits(args[0], args[1]):
            return _linear(args[0], args[1], args[2] if len(args) > 2 else None)
        if not kwargs and func is torch.addmm and _suits(args[1], args[2]) and args[0].dim() == 1:
            return _linear(args[1], args[2].t(), args[0])
        return func(*args, **(kwargs or {}))


def _suits(x: Tensor, weight: Tensor) -> bool:
    plain = type(x) is Tensor and type(weight) in (Tensor, nn.Parameter)
    return plain and x.dtype == weight.dtype == torch.float32 and x.numel() >= _FEWEST_ROWS * x.shape[-1]


def _linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    product: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return product

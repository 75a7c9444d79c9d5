"""Hardware profiles: a machine's memory, peak rates, precisions, environment and price."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from tilbench.config.model import Precision

__all__ = ["HardwareProfile"]


@dataclass(frozen=True, slots=True, kw_only=True)
class HardwareProfile:
    """One machine.

    device: torch device type. count: accelerators in it. memory_gib: memory of each.
    peak_tflops: precision → dense peak rate of each, in TFLOP/s (10^12 operations a second).
    bandwidth_gbs: memory bandwidth of each in GB/s. price_per_hour: of the whole machine, in USD.
    environment: variables it needs. compiles: torch.compile works on it. source: where the figures are from.
    """

    name: str
    device: str
    count: int = 1
    memory_gib: float
    peak_tflops: Mapping[Precision, float]
    bandwidth_gbs: float | None = None
    price_per_hour: float | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    compiles: bool = True
    source: str = ""

    @property
    def precisions(self) -> frozenset[Precision]:
        """The precisions it can compute in."""
        return frozenset(self.peak_tflops)

    def mfu(self, flops_per_second: float, precision: Precision) -> float | None:
        """Return the share of the whole machine's peak that is used; None where the peak is not known.

        Nothing runs faster than its peak. A share above 1 says that the peak is too low, as one that was measured while
        something else ran, so then it is not known either. Model FLOPs utilisation as defined by Chowdhery et al., PaLM
        (2022), appendix B.
        """
        peak = self.peak_tflops.get(precision)
        share = flops_per_second / (peak * 1e12 * self.count) if peak else math.inf
        return share if share <= 1 else None

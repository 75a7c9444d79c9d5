"""Profiles of the machine this runs on."""

from __future__ import annotations

import functools
import time

import psutil
import torch

from tilbench.config.model import Precision
from tilbench.errors import Unsupported
from tilbench.kinds.hardware import HardwareProfile
from tilbench_hardware.profiles import BY_DEVICE_NAME

__all__ = ["cpu", "cuda"]

_GIB = 1 << 30
_BUDGET = 0.3  # seconds a rate is measured for, at most about twice that


@functools.cache
def cpu() -> HardwareProfile:
    """Return this machine's processor, with its rates measured once in under a second."""
    cores = psutil.cpu_count(logical=False) or 1
    rates: dict[Precision, float] = {"fp32": _matmul_tflops(torch.float32), "bf16": _matmul_tflops(torch.bfloat16)}
    return HardwareProfile(
        name="cpu",
        device="cpu",
        memory_gib=psutil.virtual_memory().total / _GIB,
        peak_tflops=rates,
        source=(
            f"{cores} cores; rates of square torch matrix products with {torch.get_num_threads()} threads, "
            "measured now, not data-sheet peaks"
        ),
    )


def cuda() -> HardwareProfile:
    """Return this machine's NVIDIA accelerators; peak rates only where the card is a known one.

    Raises Unsupported where there is none, or where those there are differ.
    """
    if not torch.cuda.is_available():
        raise Unsupported("this machine has no CUDA device that torch can use; name another profile with --hardware")
    names = {torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())}
    if len(names) > 1:
        raise Unsupported(f"this machine's CUDA devices differ ({', '.join(sorted(names))}); set CUDA_VISIBLE_DEVICES")
    (name,) = names
    known = BY_DEVICE_NAME.get(name)
    return HardwareProfile(
        name="cuda",
        device="cuda",
        count=torch.cuda.device_count(),
        memory_gib=torch.cuda.get_device_properties(0).total_memory / _GIB,
        peak_tflops=known.peak_tflops if known else {},
        bandwidth_gbs=known.bandwidth_gbs if known else None,
        environment=known.environment if known else {},
        source=f"torch: {name}; rates: {known.source if known else 'not known for this card'}",
    )


def _matmul_tflops(dtype: torch.dtype) -> float:
    """Return the best rate of a matrix product, on sizes that double while one takes little of the budget."""
    best, size, end = 0.0, 128, time.perf_counter() + _BUDGET
    while True:
        a, b = torch.ones(size, size, dtype=dtype), torch.ones(size, size, dtype=dtype)
        start = time.perf_counter()
        torch.mm(a, b)
        took = time.perf_counter() - start
        best = max(best, 2 * size**3 / took / 1e12)
        if time.perf_counter() + took > end:
            return best
        if took < _BUDGET / 32 and size < 2048:
            size *= 2

"""Where a run takes place, for its records."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from tilbench.results.record import Environment
from tilbench.version import __version__

__all__ = ["describe_environment", "machine_name", "thread_count"]

_LIBRARIES = ("numpy", "tokenizers", "torch", "transformers")


def describe_environment(
    hardware: str, device: str, dtype: str, threads: int, distributions: Iterable[str]
) -> Environment:
    """Return the machine, and the versions of the libraries and plugin distributions that took part."""
    versions = {"tilbench": __version__}
    for name in sorted({*_LIBRARIES, *distributions} - {"tilbench"}):
        try:
            versions[name] = version(name)
        except PackageNotFoundError:  # an optional library that is not installed, or a plugin file
            continue
    return Environment(
        hardware=hardware,
        device=device,
        dtype=dtype,
        threads=threads,
        python=platform.python_version(),
        platform=f"{platform.system()} {platform.machine()}",
        versions=versions,
    )


def machine_name(device: str, dtype: str, threads: int) -> str:
    """Return what timings depend on: the accelerator or the processor with its threads, and the precision."""
    if device.startswith("cuda"):
        import torch

        return f"{torch.cuda.get_device_name(device)}, {dtype}"
    return f"{_processor()}, {threads} {'thread' if threads == 1 else 'threads'}, {dtype}"


def thread_count() -> int:
    """Return the threads that torch computes with."""
    import torch

    return torch.get_num_threads() or os.cpu_count() or 1


def _processor() -> str:
    """Return the model of the processor as Linux names it, else as Python does."""
    described = Path("/proc/cpuinfo")
    lines = described.read_text(encoding="utf-8", errors="replace").splitlines() if described.is_file() else []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return next(filter(None, [*named, platform.processor(), platform.machine()]), "unknown processor")

"""Where a run takes place, for its records."""

from __future__ import annotations

import platform
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version

from tilbench import __version__
from tilbench.results.record import Environment

__all__ = ["describe_environment"]

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

"""Packages that adapters and 4-bit weights need: imported on first use, quietly, and without code from the Hub."""

from __future__ import annotations

import importlib
import importlib.util
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from tilbench.errors import MissingDependency

__all__ = ["load_optional"]


def load_optional(package: str, extra: str, purpose: str) -> None:
    """Import a package. Raises MissingDependency, which names the extra to install, where it is not there.

    bitsandbytes, which peft imports too, would fetch a compiled kernel from the Hub where the package `kernels` is
    installed, and logs that it could not where it is not. It is neither asked for nor used here.
    """
    if importlib.util.find_spec(package) is None:
        raise MissingDependency(package, extra, purpose)
    with _without("kernels"), _silence():
        importlib.import_module(package)


@contextmanager
def _without(package: str) -> Iterator[None]:
    missing = object()
    before = sys.modules.get(package, missing)
    sys.modules[package] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        if before is missing:
            del sys.modules[package]
        else:
            sys.modules[package] = before  # type: ignore[assignment]


@contextmanager
def _silence() -> Iterator[None]:
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)

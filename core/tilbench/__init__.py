"""tilbench: which small language model is better at my language, by how much, and can I believe it?

The core knows no language, model, metric or architecture by name: each is a plugin (see `hookspecs`).
The functions below are the Python API (docs/python.md). They are imported on first use, so that `import tilbench` takes
no time. No module of tilbench imports them from here, because `tilbench.api` stands above all others.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from tilbench.errors import TilbenchError
from tilbench.hookspecs import hookimpl

if TYPE_CHECKING:
    from tilbench.api import compare, load_plugins, open_model, read_records, run_suite, train
    from tilbench.version import __version__ as __version__

__all__ = [
    "TilbenchError",
    "compare",
    "hookimpl",
    "load_plugins",
    "open_model",
    "read_records",
    "run_suite",
    "train",
]

if not TYPE_CHECKING:  # a type checker would take every misspelled name for one of these

    def __getattr__(name: str) -> object:
        if name == "__version__":
            return importlib.import_module("tilbench.version").__version__
        if name in __all__:
            return getattr(importlib.import_module("tilbench.api"), name)
        raise AttributeError(f"module 'tilbench' has no attribute {name!r}")

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})

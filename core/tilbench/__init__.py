"""tilbench: which small language model is better at my language, by how much, and can I believe it?

The core knows no language, model, metric or architecture by name: each is a plugin (see `hookspecs`).
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

import pluggy

__all__ = ["__version__", "hookimpl"]

hookimpl = pluggy.HookimplMarker("tilbench")

try:
    __version__ = version("tilbench")
except PackageNotFoundError:  # running from a source tree that was never installed
    __version__ = "0+unknown"

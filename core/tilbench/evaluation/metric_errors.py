"""A plugin's own bug, said in one line that names the place to mend."""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Iterator

from tilbench.errors import PluginError, TilbenchError

__all__ = ["metric_errors"]


@contextlib.contextmanager
def metric_errors(name: str) -> Iterator[None]:
    """Turn whatever metric `name` raises, but for errors meant for users, into a PluginError."""
    try:
        yield
    except TilbenchError:
        raise
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        raise PluginError(
            f"metric {name!r} failed at {place.filename}:{place.lineno}: {type(error).__name__}: {error}; "
            f"'tilbench check {name}' tries it on small rows"
        ) from error

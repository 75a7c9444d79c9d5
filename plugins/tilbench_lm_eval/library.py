"""lm-evaluation-harness as a library: found where it is installed, and kept quiet."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import logging
import warnings
from collections.abc import Iterator

from tilbench.errors import MissingDependency

__all__ = ["installed_version", "one_line", "quiet", "require"]


def require(purpose: str) -> None:
    """Raise MissingDependency, with the extra to install, where lm-evaluation-harness is not there."""
    if importlib.util.find_spec("lm_eval") is None:
        raise MissingDependency("lm-eval", "lm-eval", purpose)


def installed_version() -> str:
    """Return the version of lm-evaluation-harness."""
    from importlib.metadata import version

    return version("lm_eval")


def one_line(error: BaseException) -> str:
    """Return the first line of what an error says."""
    return (str(error).strip().splitlines() or ["no message"])[0][:200]


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep the library's warnings, log and progress bars off the terminal; errors are ours to tell."""
    logger = logging.getLogger("lm_eval")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)

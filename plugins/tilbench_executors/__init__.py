"""The executor that needs nothing: one model after another, in this process."""

from __future__ import annotations

from tilbench import hookimpl
from tilbench.hookspecs import Register


@hookimpl
def register_executors(register: Register) -> None:
    """Register `local`."""
    register("local", "tilbench_executors.executor:LocalExecutor", summary="one model after another, in this process")

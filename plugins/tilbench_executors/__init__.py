"""Executors that need nothing else: `local` in this process, `process` in a second one."""

from __future__ import annotations

from tilbench import hookimpl
from tilbench.hookspecs import Register


@hookimpl
def register_executors(register: Register) -> None:
    """Register both."""
    register("local", "tilbench_executors.local:LocalExecutor", summary="one model after another, in this process")
    register(
        "process",
        "tilbench_executors.process:ProcessExecutor",
        summary="one model after another, in a second process, which may die",
    )

"""Import of published weights: whose names and shapes are matched with those of our architectures."""

from __future__ import annotations

from tilbench import hookimpl
from tilbench.hookspecs import Register


@hookimpl
def register_commands(register: Register) -> None:
    """Register `tilbench import`."""
    register("import", "tilbench_import.command:import_", summary="Turn published weights into a checkpoint.")

"""What generating costs: tokens a second, time to the first token, memory."""

from __future__ import annotations

from tilbench import hookimpl
from tilbench.hookspecs import Register


@hookimpl
def register_metrics(register: Register) -> None:
    """Speed and memory of generating, on the machine that it runs on."""
    register(
        "efficiency",
        "tilbench_efficiency.efficiency:Efficiency",
        summary="tokens and bytes per second, time to the first token, memory and cache of generating",
    )

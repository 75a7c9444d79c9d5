"""Hardware profiles: the machine at hand, and those small language models are made on."""

from __future__ import annotations

from tilbench import hookimpl
from tilbench.hookspecs import Register

# name → attribute of `profiles`, summary
_KNOWN = {
    "h200": ("H200", "one NVIDIA H200"),
    "h200x8": ("H200X8", "a node of eight NVIDIA H200"),
    "h100-nvl": ("H100_NVL", "one NVIDIA H100 NVL"),
    "a100-40": ("A100_40", "one NVIDIA A100 40 GB"),
    "rtx-4060-ti-16": ("RTX_4060_TI_16", "one NVIDIA GeForce RTX 4060 Ti 16 GB"),
    "rtx-pro-6000x2": ("RTX_PRO_6000X2", "two NVIDIA RTX PRO 6000 Blackwell Workstation Edition"),
    "t4": ("T4", "one NVIDIA T4, which has no bfloat16"),
    "m4-air": ("M4_AIR", "a MacBook Air with Apple M4 (MPS), float32 only"),
}


@hookimpl
def register_hardware(register: Register) -> None:
    """Profiles from data sheets, and two that look at this machine."""
    for name, (attribute, summary) in _KNOWN.items():
        register(name, f"tilbench_hardware.profiles:{attribute}", summary=summary)
    register("cpu", "tilbench_hardware.detected:cpu", summary="this machine's processor, measured")
    register("cuda", "tilbench_hardware.detected:cuda", summary="this machine's NVIDIA accelerators")

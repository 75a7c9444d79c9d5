"""Known machines. Rates are dense: vendors' headline figures with sparsity are halved.

memory_gib is what nvidia-smi shows, which differs a little from the number in the product's name. A precision
that is not listed is one the machine cannot train in, or has no fast path for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from tilbench.kinds.hardware import HardwareProfile

__all__ = [
    "A100_40",
    "BY_DEVICE_NAME",
    "H100_NVL",
    "H200",
    "H200X8",
    "M4_AIR",
    "RTX_4060_TI_16",
    "RTX_PRO_6000X2",
    "T4",
]

H200 = HardwareProfile(
    name="h200",
    device="cuda",
    memory_gib=140.4,
    peak_tflops={"fp32": 67.0, "bf16": 989.0, "fp16": 989.0},
    bandwidth_gbs=4800.0,
    source="NVIDIA H200 data sheet, SXM (bf16 1,979 with sparsity)",
)
H200X8 = replace(H200, name="h200x8", count=8)
H100_NVL = HardwareProfile(
    name="h100-nvl",
    device="cuda",
    memory_gib=93.6,
    peak_tflops={"fp32": 60.0, "bf16": 835.0, "fp16": 835.0},
    bandwidth_gbs=3938.0,
    price_per_hour=2.38,
    source=(
        "NVIDIA H100 NVL data sheet (bf16 1,671 with sparsity); price: RunPod, as paid for the Turkish v1 and v2 models"
    ),
)
A100_40 = HardwareProfile(
    name="a100-40",
    device="cuda",
    memory_gib=40.0,
    peak_tflops={"fp32": 19.5, "bf16": 312.0, "fp16": 312.0},
    bandwidth_gbs=1555.0,
    source="NVIDIA A100 data sheet, 40 GB",
)
RTX_4060_TI_16 = HardwareProfile(
    name="rtx-4060-ti-16",
    device="cuda",
    memory_gib=16.0,
    peak_tflops={"fp32": 22.06, "bf16": 44.1, "fp16": 44.1},
    bandwidth_gbs=288.0,
    source=(
        "derived: fp32 is 4,352 cores × 2 × 2.535 GHz; bf16, dense with fp32 accumulation, is twice that on "
        "Ada GeForce (NVIDIA Ada whitepaper, RTX 4090: 165.2 and 82.6)"
    ),
)
RTX_PRO_6000X2 = HardwareProfile(
    name="rtx-pro-6000x2",
    device="cuda",
    count=2,
    memory_gib=95.6,
    peak_tflops={"fp32": 126.0, "bf16": 503.8, "fp16": 503.8},
    bandwidth_gbs=1792.0,
    environment={"NCCL_P2P_DISABLE": "1"},
    source=(
        "NVIDIA RTX PRO 6000 Blackwell Workstation Edition data sheet (125 TFLOP/s fp32, 4,000 AI TOPS: fp4 "
        "with sparsity); bf16 derived: dense it is an eighth of the latter; both are at the boost clock, "
        "which 600 W does not hold in long matrix products"
    ),
)
T4 = HardwareProfile(
    name="t4",
    device="cuda",
    memory_gib=15.0,
    peak_tflops={"fp32": 8.1, "fp16": 65.0},
    bandwidth_gbs=320.0,
    source="NVIDIA T4 data sheet; compute capability 7.5 has no bfloat16",
)
M4_AIR = HardwareProfile(
    name="m4-air",
    device="mps",
    memory_gib=16.0,
    peak_tflops={"fp32": 4.3},
    bandwidth_gbs=120.0,
    compiles=False,
    source=(
        "Apple publishes no rate: the 10-core GPU (1,280 lanes) is put at 3.8 to 4.3 TFLOP/s fp32 by its "
        "clock; memory is shared with the processor, in the smallest configuration; passive cooling throttles"
    ),
)

# What torch.cuda.get_device_name says → the profile whose peak rates and bandwidth hold for it.
BY_DEVICE_NAME: Mapping[str, HardwareProfile] = {
    "NVIDIA H200": H200,
    "NVIDIA H100 NVL": H100_NVL,
    "NVIDIA A100-SXM4-40GB": A100_40,
    "NVIDIA A100-PCIE-40GB": A100_40,
    "NVIDIA GeForce RTX 4060 Ti": RTX_4060_TI_16,
    "NVIDIA RTX PRO 6000 Blackwell Workstation Edition": RTX_PRO_6000X2,
    "Tesla T4": T4,
}

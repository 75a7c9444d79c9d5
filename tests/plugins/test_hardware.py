import resource
import subprocess
import sys
import time
import types

import pytest
import torch

import tilbench_hardware
from tilbench.errors import Unsupported
from tilbench.kinds.hardware import HardwareProfile
from tilbench_hardware import detected, profiles


def registered() -> dict[str, str]:
    targets: dict[str, str] = {}

    def register(name: str, target: object, *, summary: str = "") -> None:
        assert summary
        targets[name] = str(target)

    tilbench_hardware.register_hardware(register)
    return targets


KNOWN = {name: target.rpartition(":")[2] for name, target in registered().items() if "profiles" in target}


@pytest.mark.parametrize(("name", "attribute"), KNOWN.items())
def test_profiles_are_complete(name: str, attribute: str) -> None:
    profile = getattr(profiles, attribute)
    assert profile.name == name
    assert profile.source
    assert "fp32" in profile.precisions
    assert profile.memory_gib > 0
    assert all(0.5 < rate < 2500 for rate in profile.peak_tflops.values())


def test_what_machines_cannot_do() -> None:
    assert "bf16" not in profiles.T4.precisions
    assert profiles.M4_AIR.precisions == {"fp32"}
    assert not profiles.M4_AIR.compiles
    assert profiles.RTX_PRO_6000X2.environment == {"NCCL_P2P_DISABLE": "1"}
    assert {getattr(profiles, name).price_per_hour for name in KNOWN.values()} == {None, 2.38}


def test_til_mini_used_27_per_cent_of_its_machine() -> None:
    mfu = profiles.H200X8.mfu(6 * 956_337_408 * 368e3, "bf16")
    assert mfu == pytest.approx(0.27, abs=0.005)
    assert profiles.T4.mfu(1e12, "bf16") is None


def test_nothing_is_shown_to_run_faster_than_its_peak() -> None:
    """The peak of a processor is measured in 0.3 s, and is too low where other programs ran."""
    busy = HardwareProfile(name="cpu", device="cpu", memory_gib=1, peak_tflops={"fp32": 0.1}, count=2)
    assert busy.mfu(0.2e12, "fp32") == pytest.approx(1)
    assert busy.mfu(0.21e12, "fp32") is None


def test_this_processor_is_measured_once_and_within_the_time_that_importing_torch_takes() -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", "import torch"], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    detected.cpu.cache_clear()
    start = time.process_time()
    profile = detected.cpu()
    assert time.process_time() - start < after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert detected.cpu() is profile
    assert isinstance(profile, HardwareProfile)
    assert profile.precisions == {"fp32", "bf16"}
    assert 1e-4 < profile.peak_tflops["fp32"] < 100


@pytest.mark.parametrize(
    ("names", "peak"),
    [(["NVIDIA H200"] * 2, 989.0), (["NVIDIA GeForce GTX 1080"], None), (["Tesla T4"], None)],
)
def test_cuda_devices_get_the_rates_of_a_known_card(
    monkeypatch: pytest.MonkeyPatch, names: list[str], peak: float | None
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: len(names))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: names[index])
    properties = types.SimpleNamespace(total_memory=140 << 30)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: properties)
    profile = detected.cuda()
    assert (profile.count, profile.memory_gib) == (len(names), 140)
    assert profile.peak_tflops.get("bf16") == peak


def test_no_or_unlike_cuda_devices_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(Unsupported, match="no CUDA device"):
        detected.cuda()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: f"card {index}")
    with pytest.raises(Unsupported, match="card 0, card 1"):
        detected.cuda()

"""NVML: ranges, energy, throttling, older drivers, and the plain answer where there is none."""

import sys

import pytest

from neuroscan_edge.system.gpu_telemetry import open_telemetry
from support.fakes.fake_nvml import FakeNvml


def watched(nvml: FakeNvml, looks: int = 2, slices: int = 8):
    telemetry, reason = open_telemetry(nvml)
    assert reason == ""
    for look in range(looks):
        telemetry.sample(look * slices)
    found = telemetry.summary()
    assert telemetry.samples == [], "the next scenario starts anew"
    telemetry.stop()
    return found


def test_a_gpu_is_watched():
    nvml = FakeNvml()
    found = watched(nvml)
    assert found["power_w"] == [100, 250]
    assert found["graphics_clock_mhz"] == [1410, 1410]
    assert found["memory_clock_mhz"] == [1593, 1593]
    assert found["temperature_c"] == [61, 61]
    assert found["peak_memory_bytes"] == 2_000_000
    assert found["throttled_by"] == []
    assert nvml.open == 0, "closed again"


def test_the_gpu_watched_is_the_one_that_runs_the_model():
    """CUDA's first GPU need not be NVML's: its place on the bus says which it is."""
    nvml = FakeNvml()
    telemetry, _ = open_telemetry(nvml, "0000:65:00.0")
    assert nvml.watched == "0000:65:00.0"
    telemetry.stop()
    open_telemetry(nvml)
    assert nvml.watched == 0


def test_a_gpu_that_nvml_does_not_know_is_a_plain_reason_and_leaves_nothing_open():
    nvml = FakeNvml()
    telemetry, reason = open_telemetry(nvml, "0000:00:00.0")
    assert telemetry is None and "NVML does not answer (Not Found)" in reason
    assert nvml.open == 0


def test_energy_is_shared_among_the_slices_between_the_looks():
    # 2 J from look to look.
    assert watched(FakeNvml(), looks=4, slices=16)["joules_per_slice"] == pytest.approx(2 / 16)
    assert watched(FakeNvml(), looks=1)["joules_per_slice"] is None
    assert watched(FakeNvml(counts_energy=False))["joules_per_slice"] is None
    assert watched(FakeNvml(), slices=0)["joules_per_slice"] is None


@pytest.mark.parametrize("old_names", [False, True])
def test_throttling_is_named(old_names):
    # Idle (0x1) and a user's setting (0x2) are no throttling.
    nvml = FakeNvml(reasons=0x1 | 0x2 | 0x4 | 0x40, old_names=old_names)
    assert watched(nvml)["throttled_by"] == ["hardware thermal slowdown", "software power cap"]


def test_a_machine_without_gpu_is_told_plainly():
    telemetry, reason = open_telemetry(FakeNvml(present=False))
    assert telemetry is None
    assert "there is no NVIDIA GPU or driver to ask" in reason


def test_without_the_package_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", None)
    telemetry, reason = open_telemetry()
    assert telemetry is None
    assert "neuroscan-edge[bench]" in reason

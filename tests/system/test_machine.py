"""What a machine says of itself."""

from dataclasses import replace

import pytest

from neuroscan_edge.spec import Precision, RuntimeName
from neuroscan_edge.system import machine
from support.engine_cases import MACHINE


def cpu_info(flags: str) -> str:
    return f"processor\t: 0\nmodel name\t: A Processor @ 2 GHz\nflags\t\t: fpu {flags} sse\n\n" * 2


@pytest.mark.parametrize(
    ("architecture", "flags", "exact"),
    [
        ("x86_64", "avx2 avx512_vnni", True),
        ("AMD64", "avx2 avx_vnni", True),
        ("x86_64", "avx2 avx512f", False),
        ("aarch64", "", True),
    ],
)
def test_int8_sums_are_exact_with_vnni_or_off_x86(
    tmp_path, monkeypatch, architecture, flags, exact
):
    (tmp_path / "cpuinfo").write_text(cpu_info(flags))
    monkeypatch.setattr(machine, "_CPU_INFO", tmp_path / "cpuinfo")
    monkeypatch.setattr("platform.machine", lambda: architecture)
    found = machine.this_machine()
    assert found.exact_int8 is exact
    assert found.cpu == "A Processor @ 2 GHz"


def test_a_processor_that_does_not_say_is_taken_not_to_be_exact(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "_CPU_INFO", tmp_path / "absent")
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    assert not machine.this_machine().exact_int8


@pytest.mark.parametrize(
    ("runtime", "precision", "exact", "platform"),
    [
        (RuntimeName.ONNXRUNTIME, Precision.INT8, True, "linux x86_64 with VNNI"),
        (RuntimeName.OPENVINO, Precision.INT8, False, "linux x86_64 without VNNI"),
        (RuntimeName.ONNXRUNTIME, Precision.FP32, False, "linux x86_64"),
        (RuntimeName.TENSORRT, Precision.INT8, False, "linux x86_64"),
    ],
)
def test_an_int8_engine_for_a_cpu_belongs_to_one_kind_of_processor(
    runtime, precision, exact, platform
):
    assert replace(MACHINE, exact_int8=exact).platform_for(runtime, precision) == platform

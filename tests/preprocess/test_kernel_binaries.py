"""What is shipped is what the source gives, fits the GPUs it says, and was not altered."""

import hashlib
import json
import re
import shutil

import pytest

from kernels.build import CUBIN_TARGETS, OPTIONS, PTX_TARGET, binary_name, build
from kernels.nvrtc import Nvrtc
from neuroscan_edge.errors import KernelNotAvailableError
from neuroscan_edge.preprocess.kernel_binaries import (
    KERNELS,
    MANIFEST,
    SOURCE,
    fitting_binaries,
    shipped_binaries,
)
from neuroscan_edge.system.cuda.context import Device
from neuroscan_edge.system.cuda.kernel_module import load_module
from support.fakes.fake_cuda import FakeDriver

ALL_SHIPPED_BYTES = 1 << 20
FEWEST_RESIDENT_BLOCKS = 4
REGISTERS_A_MULTIPROCESSOR = 65536
THREADS = 256
FUSED = re.compile(rb"\b(fma|mad\.(rn|rz|rm|rp|f32|f64))")
TARGETS = [*((target, "cubin") for target in CUBIN_TARGETS), (PTX_TARGET, "ptx")]


@pytest.fixture(scope="module")
def manifest():
    return json.loads((KERNELS / MANIFEST).read_text())


@pytest.fixture(scope="module")
def compiler():
    return Nvrtc()


def test_the_binaries_are_of_this_source(manifest):
    source = (KERNELS / SOURCE).read_bytes()
    assert manifest["source_sha256"] == hashlib.sha256(source).hexdigest(), (
        "the kernels were changed: run python -m kernels.build"
    )
    assert manifest["options"] == list(OPTIONS)


def test_every_target_is_shipped_and_nothing_else(manifest):
    names = {binary_name(target, form) for target, form in TARGETS}
    assert {each["name"] for each in manifest["binaries"]} == names
    assert {path.name for path in KERNELS.iterdir()} == names | {SOURCE, MANIFEST}
    assert {each["compute_capability"] for each in manifest["binaries"]} == {
        *("7.5", "8.0", "8.6", "8.7", "8.9", "9.0", "10.0", "12.0")
    }
    assert sum(path.stat().st_size for path in KERNELS.iterdir()) < ALL_SHIPPED_BYTES / 2


@pytest.mark.parametrize(("target", "form"), TARGETS, ids=lambda value: value)
def test_the_source_compiles_to_what_is_shipped(manifest, compiler, target, form):
    compiled = build(compiler, target, form)
    record = next(
        each for each in manifest["binaries"] if each["name"] == binary_name(target, form)
    )
    found = {
        name: {
            "registers": each.registers,
            "shared_bytes": each.shared_bytes,
            "stack_bytes": each.stack_bytes,
            "spill_bytes": each.spill_bytes,
        }
        for name, each in compiled.resources.items()
    }
    if manifest["compiler"] == f"NVRTC {compiler.version}":
        assert hashlib.sha256(compiled.data).hexdigest() == record["sha256"]
        assert found == record["kernels"]
    else:
        # Another compiler may place registers otherwise; what is shipped is of the manifest's.
        assert compiled.data and found.keys() == record["kernels"].keys()


@pytest.mark.parametrize("target", CUBIN_TARGETS)
def test_no_kernel_spills_or_crowds_a_multiprocessor(manifest, target):
    record = next(
        each for each in manifest["binaries"] if each["name"] == binary_name(target, "cubin")
    )
    assert record["kernels"].keys() == {"equalisation_luts", "blend"}
    for each in record["kernels"].values():
        assert each["spill_bytes"] == each["stack_bytes"] == 0
        blocks = REGISTERS_A_MULTIPROCESSOR // (each["registers"] * THREADS)
        assert blocks >= FEWEST_RESIDENT_BLOCKS
        assert each["shared_bytes"] < 4096


def test_ptx_holds_no_fused_multiply_add():
    ptx = (KERNELS / binary_name(PTX_TARGET, "ptx")).read_bytes()
    assert b".visible .entry equalisation_luts" in ptx and b".visible .entry blend" in ptx
    assert ptx.count(b"mul.rn.f32") > 0
    assert FUSED.findall(ptx) == []


def test_the_search_for_fused_multiply_adds_finds_one(tmp_path, compiler):
    source = tmp_path / "fused.cu"
    source.write_text(
        'extern "C" __global__ void f(float* a, double* b){ *a = *a * *a + *a; *b = *b * *b + *b; }'
    )
    compiled = compiler.ptx(source, PTX_TARGET, ("--fmad=true",))
    assert {found[0] for found in FUSED.findall(compiled.data)} == {b"fma"}


@pytest.mark.parametrize(
    ("gpu", "names"),
    [
        ((7, 5), ["sm_75.cubin", "compute_75.ptx"]),
        ((8, 0), ["sm_80.cubin", "compute_75.ptx"]),
        ((8, 6), ["sm_86.cubin", "sm_80.cubin", "compute_75.ptx"]),
        ((8, 7), ["sm_87.cubin", "sm_86.cubin", "sm_80.cubin", "compute_75.ptx"]),
        ((8, 9), ["sm_89.cubin", "sm_86.cubin", "sm_80.cubin", "compute_75.ptx"]),
        ((9, 0), ["sm_90.cubin", "compute_75.ptx"]),
        ((10, 3), ["sm_100.cubin", "compute_75.ptx"]),
        ((11, 0), ["compute_75.ptx"]),
        ((12, 1), ["sm_120.cubin", "compute_75.ptx"]),
        ((13, 0), ["compute_75.ptx"]),
        ((7, 0), []),
        ((6, 1), []),
    ],
    ids=lambda value: "{}.{}".format(*value) if isinstance(value, tuple) else "",
)
def test_a_gpu_gets_its_own_cubin_then_a_near_one_then_ptx(gpu, names):
    found = fitting_binaries(gpu)
    assert [name.removeprefix("resize_clahe.") for name, _ in found] == names
    for name, data in found:
        assert data == (KERNELS / name).read_bytes()


@pytest.fixture
def copied(tmp_path):
    return shutil.copytree(KERNELS, tmp_path / "kernels")


def test_an_altered_binary_is_refused(copied):
    path = copied / "resize_clahe.sm_86.cubin"
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    with pytest.raises(KernelNotAvailableError, match=r"sm_86.cubin has SHA-256 .*altered"):
        fitting_binaries((8, 6), copied)
    path.unlink()
    with pytest.raises(KernelNotAvailableError, match=r"sm_86.cubin is missing"):
        fitting_binaries((8, 6), copied)


@pytest.mark.parametrize("content", [None, "", "[]", '{"schema": 2}', '{"schema": 1}'])
def test_a_bad_manifest_is_refused(copied, content):
    if content is None:
        (copied / MANIFEST).unlink()
    else:
        (copied / MANIFEST).write_text(content)
    with pytest.raises(KernelNotAvailableError, match="no manifest of kernels.*install"):
        shipped_binaries(copied)


def is_ptx(image):
    return not image.startswith(b"\x7fELF")


def loaded(driver):
    device = Device(driver)
    with device.current():
        return load_module(device, fitting_binaries(device.compute_capability))


def test_a_driver_that_refuses_every_cubin_gets_ptx():
    driver = FakeDriver(compute_capability=(8, 9), loads=is_ptx)
    assert loaded(driver).name == "resize_clahe.compute_75.ptx"
    assert len(driver.modules) == 1


def test_a_gpu_that_is_too_old_is_named_with_its_compute_capability():
    with pytest.raises(KernelNotAvailableError, match=r"compute capability 7\.0 .*none is shipped"):
        loaded(FakeDriver(compute_capability=(7, 0)))


def test_a_driver_that_refuses_everything_is_quoted():
    driver = FakeDriver(compute_capability=(9, 0), loads=lambda image: False)
    with pytest.raises(KernelNotAvailableError, match=r"capability 9\.0 ") as raised:
        loaded(driver)
    assert "sm_90.cubin (cuModuleLoadDataEx failed" in str(raised.value)
    assert "compute_75.ptx (cuModuleLoadDataEx failed" in str(raised.value)

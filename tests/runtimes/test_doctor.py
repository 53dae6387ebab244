"""``doctor``: what is here, what would load, and exit code 1 when nothing runs."""

import json
import subprocess
import sys
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from neuroscan_edge.cli.app import app
from neuroscan_edge.model.engine.installed import installed
from neuroscan_edge.runtimes.doctor import READY, diagnose
from neuroscan_edge.spec import RESEARCH_USE, RuntimeName
from neuroscan_edge.system import gpu_probe as probe
from neuroscan_edge.system.gpu_probe import GpuProbe, driver_version, probe_gpus
from neuroscan_edge.system.machine import this_machine
from support.engine_cases import MACHINE, fitting_engine
from support.tiny_models import calibrated_bundle


@pytest.fixture
def calibrated(tmp_path):
    return calibrated_bundle(tmp_path / "tiny")


def test_a_machine_without_gpu_says_so_and_what_runs(calibrated):
    machine = replace(this_machine(), gpu=GpuProbe(reason="no NVIDIA driver is installed"))
    found = diagnose(calibrated, machine)
    assert found["gpus"] == []
    assert found["no_gpu_because"] == "no NVIDIA driver is installed"
    assert found["runtimes"]["onnxruntime"][0].isdigit()
    assert found["runtimes"]["tensorrt-rtx"].endswith("for CUDA 13")
    assert "int8 graph, on cpu" in found["can_run"]


def test_engines_are_listed_with_what_keeps_them_from_loading(calibrated):
    machine = replace(this_machine(), gpu=MACHINE.gpu)
    here = installed(RuntimeName.TENSORRT_RTX)
    fitting = {"runtime_version": here.version, "platform": machine.platform}
    folder = calibrated.folder / "engines"
    fitting_engine(calibrated, folder / "good", **fitting)
    fitting_engine(calibrated, folder / "other-gpu", **fitting, compute_capabilities=("12.0",))
    fitting_engine(calibrated, folder / "old", **{**fitting, "runtime_version": "1.0"})
    fitting_engine(calibrated, folder / "torn", **fitting)
    (folder / "torn" / "engine.plan").write_bytes(b"")
    engines = diagnose(calibrated, machine)["engines"]
    assert engines["good"] == READY
    assert engines["other-gpu"].startswith("EngineGpuError")
    assert engines["old"].startswith("EngineVersionError")
    assert engines["torn"].startswith("EngineIntegrityError")


def test_a_runtime_that_breaks_on_import_is_told_from_one_that_is_absent(
    calibrated, tmp_path, monkeypatch
):
    (tmp_path / "tensorrt.py").write_text("raise OSError('libnvinfer.so.10: no such file')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "tensorrt", raising=False)
    found = diagnose(calibrated)["runtimes"]["tensorrt"]
    assert "installed but broken (OSError: libnvinfer.so.10: no such file)" in found
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    found = diagnose(calibrated)["runtimes"]["tensorrt"]
    assert found.startswith("not installed") and "neuroscan-edge[tensorrt]" in found


def test_the_command_prints_it_and_exits_0(calibrated):
    done = subprocess.run(
        [sys.executable, "-m", "neuroscan_edge", "doctor", calibrated.folder, "--json"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["can_run"]


def test_nothing_that_runs_is_exit_1(calibrated, monkeypatch):
    for name in ("onnxruntime", "openvino", "tensorrt", "tensorrt_rtx"):
        monkeypatch.setitem(sys.modules, name, None)
    done = CliRunner().invoke(app, ["doctor", str(calibrated.folder)])
    assert done.exit_code == 1
    assert "cannot_run: onnxruntime is not installed" in done.stdout
    assert RESEARCH_USE in done.stdout


def test_the_drivers_version_is_read(tmp_path, monkeypatch):
    path = tmp_path / "version"
    path.write_text("NVRM version: NVIDIA UNIX x86_64 Kernel Module  570.86.15  Thu Jan 23\n")
    monkeypatch.setattr(probe, "_DRIVER_VERSION_FILE", path)
    assert driver_version() == "570.86.15"
    path.unlink()
    assert driver_version() is None


def test_a_machine_without_driver_is_no_error(monkeypatch):
    monkeypatch.setattr(probe, "_DRIVER_LIBRARY", "libno-such-driver.so.1")
    found = probe_gpus()
    assert found.gpus == ()
    assert "no NVIDIA driver" in (found.reason or "")

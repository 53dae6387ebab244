"""Which runtime is taken, and the one line that says why."""

import sys
from dataclasses import replace

import numpy as np
import pytest

from neuroscan_edge.errors import (
    EngineGpuError,
    EngineIntegrityError,
    EngineMissingError,
    MissingDependencyError,
    PrecisionNotAvailableError,
    RuntimeNotAvailableError,
    UsageError,
)
from neuroscan_edge.model.bundle import GRAPHS, without_file
from neuroscan_edge.model.engine import Installed
from neuroscan_edge.model.engine.installed import installed
from neuroscan_edge.runtimes import RuntimeOptions, choose_runtime, open_choice, open_runtime
from neuroscan_edge.runtimes.build import BuildOptions, build_engine
from neuroscan_edge.runtimes.onnxrt.runner import OnnxRuntime
from neuroscan_edge.spec import Precision, RuntimeName
from neuroscan_edge.system.gpu_probe import GpuProbe
from neuroscan_edge.system.machine import this_machine
from support.engine_cases import MACHINE, fitting_engine
from support.tiny_models import calibrated_bundle, tiny_images

NO_GPU = GpuProbe(reason="no NVIDIA driver is installed")
INTEL = replace(
    this_machine(), architecture="x86_64", cpu="Intel(R) Xeon(R)", gpu=NO_GPU, exact_int8=True
)
AMD = replace(INTEL, cpu="AMD EPYC")
OLDER_AMD = replace(AMD, exact_int8=False)
WITH_GPU = replace(this_machine(), gpu=MACHINE.gpu)


@pytest.fixture
def calibrated(tmp_path):
    return calibrated_bundle(tmp_path / "tiny")


def rtx_here() -> Installed:
    return installed(RuntimeName.TENSORRT_RTX)


def rtx_engine(bundle, **changes: object):
    folder = bundle.folder / "engines" / f"rtx-{changes.get('precision', 'fp16')}"
    version = {"runtime_version": rtx_here().version, "platform": WITH_GPU.platform}
    return fitting_engine(bundle, folder, **{**version, **changes})


OLDER_INTEL = replace(INTEL, exact_int8=False)


@pytest.mark.parametrize("machine", [INTEL, AMD, OLDER_INTEL, OLDER_AMD])
@pytest.mark.parametrize("precision", [None, Precision.FP32, Precision.INT8])
def test_a_cpu_gets_onnx_runtime(calibrated, machine, precision):
    choice = choose_runtime(calibrated, RuntimeOptions(precision), machine)
    assert choice.installed.name is RuntimeName.ONNXRUNTIME
    assert choice.precision is (precision or Precision.INT8)
    assert "no NVIDIA driver is installed" in str(choice)
    assert "\n" not in str(choice)


def test_without_onnx_runtime_a_cpu_gets_openvino(calibrated, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    choice = choose_runtime(calibrated, RuntimeOptions(), INTEL)
    assert choice.installed.name is RuntimeName.OPENVINO
    assert "onnxruntime has no Python module here" in str(choice)


def test_a_broken_runtime_is_passed_over_with_the_reason(calibrated, tmp_path, monkeypatch):
    (tmp_path / "tensorrt.py").write_text("raise OSError('libnvinfer.so.10: no such file')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "tensorrt", raising=False)
    rtx_engine(calibrated)
    choice = choose_runtime(calibrated, RuntimeOptions(), WITH_GPU)
    assert choice.installed.name is RuntimeName.TENSORRT_RTX
    with pytest.raises(RuntimeNotAvailableError, match="broken .*libnvinfer"):
        choose_runtime(calibrated, RuntimeOptions(runtime=RuntimeName.TENSORRT), WITH_GPU)


def test_without_any_runtime_the_extra_is_named(calibrated, monkeypatch):
    for name in ("openvino", "onnxruntime"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingDependencyError, match=r"neuroscan-edge\[cpu\]"):
        choose_runtime(calibrated, RuntimeOptions(), AMD)


def test_an_engine_for_this_gpu_goes_first(calibrated):
    engine = rtx_engine(calibrated)
    choice = choose_runtime(calibrated, RuntimeOptions(), WITH_GPU)
    assert choice.installed == rtx_here()
    assert choice.engine is not None and choice.engine.folder == engine.folder
    assert "on gpu" in str(choice)


def test_fp16_goes_before_int8_on_a_gpu_unless_asked_for(calibrated):
    graph = {
        "source": GRAPHS[Precision.INT8],
        "source_sha256": calibrated.files[GRAPHS[Precision.INT8]].sha256,
    }
    rtx_engine(calibrated, precision=Precision.INT8, graph=graph)
    rtx_engine(calibrated, precision=Precision.FP16)
    assert choose_runtime(calibrated, RuntimeOptions(), WITH_GPU).precision is Precision.FP16
    asked = choose_runtime(calibrated, RuntimeOptions(Precision.INT8), WITH_GPU)
    assert asked.precision is Precision.INT8
    assert asked.installed.name is RuntimeName.TENSORRT_RTX


def test_an_engine_that_does_not_fit_is_passed_over_with_the_reason(calibrated):
    rtx_engine(calibrated, compute_capabilities=("12.0",))
    choice = choose_runtime(calibrated, RuntimeOptions(), WITH_GPU)
    assert not choice.installed.name.on_gpu
    assert "tensorrt-rtx has an engine for sm_120, not one for sm_86" in str(choice)


def test_an_engine_asked_for_that_does_not_fit_is_an_error(calibrated):
    engine = rtx_engine(calibrated, compute_capabilities=("12.0",))
    for options in (
        RuntimeOptions(runtime=RuntimeName.TENSORRT_RTX),
        RuntimeOptions(engine=engine.folder),
    ):
        with pytest.raises(EngineGpuError):
            choose_runtime(calibrated, options, WITH_GPU)


def test_a_gpu_runtime_without_engine_says_how_to_build_one(calibrated):
    with pytest.raises(EngineMissingError, match="build-engine .* --runtime tensorrt-rtx"):
        choose_runtime(calibrated, RuntimeOptions(runtime=RuntimeName.TENSORRT_RTX), WITH_GPU)


def test_a_built_cpu_engine_is_used_until_it_no_longer_fits(calibrated):
    options = RuntimeOptions(runtime=RuntimeName.ONNXRUNTIME, threads=1)
    images = tiny_images(8)
    with open_runtime(calibrated, options) as run:
        from_graph = run(images)
    built = build_engine(calibrated, BuildOptions(RuntimeName.ONNXRUNTIME), lambda *_: None)
    choice = choose_runtime(calibrated, options)
    assert choice.engine is not None
    with open_choice(calibrated, choice, options) as run:
        np.testing.assert_array_equal(run(images), from_graph)
        assert run.info.engine_sha256 == built.manifest.engine_sha256
    path = built.folder / "model.onnx"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(EngineIntegrityError):
        open_choice(calibrated, choice, options)
    without = choose_runtime(calibrated, options)
    assert without.engine is None
    assert "its built engine was passed over" in str(without)


def test_precision_and_engine_must_agree(calibrated):
    built = build_engine(calibrated, BuildOptions(RuntimeName.ONNXRUNTIME), lambda *_: None)
    with pytest.raises(UsageError, match="leave one of them out"):
        choose_runtime(calibrated, RuntimeOptions(Precision.FP16, engine=built.folder))


def test_a_precision_that_is_not_there_is_refused_before_loading(calibrated):
    smaller = without_file(calibrated.folder, GRAPHS[Precision.FP32])
    with pytest.raises(PrecisionNotAvailableError, match="fp16, int8"):
        choose_runtime(smaller, RuntimeOptions(Precision.FP32), AMD)


@pytest.mark.skipif(bool(this_machine().gpu.gpus), reason="for machines without a GPU")
def test_cuda_that_is_not_there_is_an_error_and_not_a_slow_success(calibrated):
    graph = calibrated.graph(Precision.FP16)
    with pytest.raises(RuntimeNotAvailableError, match="CUDAExecutionProvider"):
        OnnxRuntime(calibrated, graph, cuda=True)

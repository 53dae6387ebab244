"""Raw slices through ONNX Runtime's CUDA provider, over fakes: decided as on the CPU."""

import numpy as np
import pytest

from neuroscan_edge.classify.pipeline import classify_files
from neuroscan_edge.errors import (
    DeviceMemoryError,
    DevicePreprocessingError,
    MissingDependencyError,
    UsageError,
)
from neuroscan_edge.preprocess.opencv import CpuPreprocessor
from neuroscan_edge.runtimes import RuntimeOptions, opening
from neuroscan_edge.runtimes.onnxrt.cuda_runner import RawOnnxRuntime
from neuroscan_edge.runtimes.onnxrt.runner import OnnxRuntime
from neuroscan_edge.scans import find_scans
from neuroscan_edge.spec import Precision, PreprocessOn, RuntimeName
from neuroscan_edge.system.cuda.context import Device
from support.fakes.fake_cuda import FakeDriver
from support.fakes.fake_cuda_session import FakeCudaSession
from support.preprocess_cases import dark_background, noise

# The same kernels, in batches of other sizes: rounding only.
ROUNDING = 1e-6
MAX_BATCH = 8


def mixed(count: int) -> list[np.ndarray]:
    """Slices of many sizes."""
    return [(noise, dark_background)[i % 2](20 + 7 * i, 90 - i) for i in range(count)]


@pytest.fixture
def driver(emulator) -> FakeDriver:
    return FakeDriver(run_kernel=emulator.launch)


def opened(bundle, driver, *, fall_back: bool = False) -> RawOnnxRuntime:
    runtime = OnnxRuntime(bundle, bundle.graph(Precision.FP32))
    session = FakeCudaSession(runtime.session, driver)
    return RawOnnxRuntime(runtime, session, Device(driver), bundle, MAX_BATCH, fall_back=fall_back)


def expected(bundle, slices: list[np.ndarray]) -> np.ndarray:
    preprocess = CpuPreprocessor(bundle.preprocessing)
    batch = np.stack([preprocess(pixels) for pixels in slices])[..., None]
    with OnnxRuntime(bundle, bundle.graph(Precision.FP32)) as run:
        return run(batch)


@pytest.mark.parametrize("count", [1, 8, 9, 20])
def test_raw_slices_are_decided_as_preprocessed_ones(bundle, driver, count):
    slices = mixed(count)
    with opened(bundle, driver) as run:
        assert run.takes_raw
        assert run.info.preprocessing.startswith("cuda (resize_clahe.sm_86")
        np.testing.assert_allclose(run.run_raw(slices), expected(bundle, slices), atol=ROUNDING)
    assert driver.memory == {}
    assert driver.retained == 0


def test_files_get_the_results_of_the_cpu(bundle, driver, scans):
    files = find_scans([scans]).files
    with opened(bundle, driver) as run:
        found = list(classify_files(files, bundle, run))
    with OnnxRuntime(bundle, bundle.graph(Precision.FP32)) as run:
        right = list(classify_files(files, bundle, run))
    assert [each.provenance for each in found] == [each.provenance for each in right]
    assert [each.prediction for each in found] == [each.prediction for each in right]


def test_a_batch_without_memory_goes_through_the_cpu_only_if_allowed(bundle, driver):
    small, large = mixed(2), [noise(900, 900)] * 2
    with opened(bundle, driver, fall_back=True) as run:
        run.run_raw(small)
        driver.memory_bytes = sum(len(each) for each in driver.memory.values()) + 100
        np.testing.assert_allclose(run.run_raw(large), expected(bundle, large), atol=ROUNDING)
        assert "and of 2 slices on the CPU" in run.info.preprocessing
    driver.memory_bytes = 1 << 30
    with opened(bundle, driver) as run:
        run.run_raw(small)
        driver.memory_bytes = sum(len(each) for each in driver.memory.values()) + 100
        with pytest.raises(DeviceMemoryError, match="--preprocess cpu"):
            run.run_raw(large)


def test_a_gpu_that_gives_other_bytes_is_refused_and_given_back(bundle, emulator):
    def wrong(launch):
        emulator.launch(launch)
        if launch.kernel == "blend":
            for memory in driver.memory.values():
                memory[0] ^= 1

    driver = FakeDriver(run_kernel=wrong)
    with pytest.raises(DevicePreprocessingError, match="other bytes"):
        opened(bundle, driver)
    assert driver.memory == {}
    assert driver.retained == 0


def test_without_pycuda_auto_stays_on_the_cpu_and_says_why(bundle, monkeypatch):
    def absent(extra: str) -> None:
        raise MissingDependencyError(f"pycuda is not installed; take [{extra}]")

    monkeypatch.setattr("neuroscan_edge.system.cuda.context.load_driver", absent)
    runtime = OnnxRuntime(bundle, bundle.graph(Precision.FP32))
    found = opening._with_raw_slices(runtime, bundle, MAX_BATCH, PreprocessOn.AUTO)
    assert found is runtime
    assert found.info.preprocessing == "cpu (pycuda is not installed; take [gpu])"
    with pytest.raises(MissingDependencyError):
        opening._with_raw_slices(runtime, bundle, MAX_BATCH, PreprocessOn.CUDA)


def test_on_the_cpu_preprocessing_on_a_gpu_is_refused(bundle):
    options = RuntimeOptions(
        Precision.FP32, runtime=RuntimeName.ONNXRUNTIME, preprocess=PreprocessOn.CUDA
    )
    with pytest.raises(UsageError, match="runs on the CPU"):
        opening.open_runtime(bundle, options)

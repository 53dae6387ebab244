"""The launcher over a fake driver that runs the real kernels on the host, when waited for."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from neuroscan_edge.errors import (
    CorruptScanError,
    DeviceMemoryError,
    DevicePreprocessingError,
    KernelNotAvailableError,
    ScanTooLargeError,
)
from neuroscan_edge.preprocess import cuda_batches
from neuroscan_edge.preprocess.cuda_batches import CudaBatches
from neuroscan_edge.preprocess.opencv import CpuPreprocessor
from neuroscan_edge.preprocess.packing import packed_bytes
from neuroscan_edge.spec import Interpolation, Preprocessing
from neuroscan_edge.system.cuda.buffers import StagingBuffer
from neuroscan_edge.system.cuda.context import Device
from support.fakes.fake_cuda import FakeDriver
from support.preprocess_cases import assert_same_bytes, dark_background, noise

SPEC = Preprocessing(height=40, width=36, tile_grid=(4, 4))
SLICES = [noise(50, 60), dark_background(33, 21), noise(80, 72), noise(1, 1), noise(40, 36)]


@pytest.fixture
def driver(emulator):
    return FakeDriver(run_kernel=emulator.launch)


def expected(slices, spec=SPEC):
    preprocess = CpuPreprocessor(spec)
    return np.stack([preprocess(pixels) for pixels in slices])[..., None]


@pytest.mark.parametrize(
    "spec",
    [
        SPEC,
        Preprocessing(),
        Preprocessing(height=37, width=41, tile_grid=(3, 4)),
        Preprocessing(height=37, width=41, interpolation=Interpolation.NEAREST, tile_grid=(1, 1)),
    ],
    ids=["divided", "default", "undivided", "nearest"],
)
def test_a_batch_of_mixed_sizes_has_the_cpus_bytes(driver, spec):
    with CudaBatches(Device(driver), spec) as preprocess:
        assert_same_bytes(expected(SLICES, spec), preprocess(SLICES))


def test_a_batch_is_one_upload_and_nothing_waits_before_the_copy_back(driver):
    with CudaBatches(Device(driver), SPEC) as preprocess:
        driver.log.clear()
        preprocess(SLICES)
        steps = ["copy in", "equalisation_luts", "blend", "copy out", "sync stream 1"]
        assert driver.log == steps


def test_a_batch_can_stay_on_the_device_for_a_runtime_on_the_same_stream(driver):
    with CudaBatches(Device(driver), SPEC) as preprocess:
        driver.log.clear()
        address = preprocess.on_device(SLICES)
        assert driver.log == ["copy in", "equalisation_luts", "blend"]
        right = expected(SLICES)
        assert not np.array_equal(driver.at(address)[: right.size], right.reshape(-1))
        with preprocess._device.current():
            preprocess.synchronize()
        assert_same_bytes(right.reshape(-1), driver.at(address)[: right.size])


@pytest.mark.parametrize("most", [1, 2, 64])
def test_a_batch_beyond_the_buffers_goes_in_turns(driver, most):
    with CudaBatches(Device(driver), SPEC, max_batch=most) as preprocess:
        assert_same_bytes(expected(SLICES), preprocess(SLICES))
    assert driver.log.count("copy in") == -(-len(SLICES) // most)


def test_a_batch_of_many_bytes_goes_in_turns(driver, monkeypatch):
    monkeypatch.setattr(cuda_batches, "STAGING_LIMIT_BYTES", packed_bytes(SLICES[:2]))
    with CudaBatches(Device(driver), SPEC) as preprocess:
        assert_same_bytes(expected(SLICES), preprocess(SLICES))
    assert driver.log.count("copy in") == 3


def test_the_next_batch_leaves_a_result_alone(driver):
    with CudaBatches(Device(driver), SPEC) as preprocess:
        first = preprocess(SLICES[:2])
        kept = first.copy()
        preprocess(SLICES[2:4])
    np.testing.assert_array_equal(first, kept)


def test_closing_frees_everything(driver):
    with CudaBatches(Device(driver), SPEC) as preprocess:
        preprocess(SLICES)
        assert driver.memory
    assert driver.memory == {} and driver.contexts == [] and driver.retained == 0


@pytest.mark.parametrize(
    ("bad", "error"),
    [
        (np.zeros((0, 9), np.uint8), CorruptScanError),
        (np.broadcast_to(np.uint8(0), (1 << 13, 1 << 12)), ScanTooLargeError),
    ],
    ids=["no pixel", "too large"],
)
def test_a_bad_slice_is_refused_and_the_next_batch_runs(driver, bad, error):
    with CudaBatches(Device(driver), SPEC) as preprocess:
        with pytest.raises(error):
            preprocess([SLICES[0], bad])
        assert_same_bytes(expected(SLICES), preprocess(SLICES))


def test_an_empty_batch_is_empty(driver):
    with CudaBatches(Device(driver), SPEC) as preprocess:
        assert preprocess([]).shape == (0, *SPEC.shape, 1)


def test_threads_with_a_stream_each_do_not_disturb_each_other(emulator):
    start = threading.Barrier(4)

    def work(seed):
        slices = [noise(30 + seed, 40), dark_background(60, 50 + seed)]
        driver = FakeDriver(run_kernel=emulator.launch)
        with CudaBatches(Device(driver), SPEC) as preprocess:
            start.wait(timeout=30)
            return [(expected(slices), preprocess(slices)) for _ in range(5)]

    with ThreadPoolExecutor(4) as pool:
        for pairs in pool.map(work, range(4)):
            for right, found in pairs:
                assert_same_bytes(right, found)


def test_a_staging_buffer_grows_geometrically_and_never_shrinks():
    driver = FakeDriver()
    device = Device(driver)
    with device.current():
        buffer = StagingBuffer(driver)
        sizes = []
        for wanted in (10, 11, 20, 50, 30, 81, 100):
            buffer.reserve(wanted)
            assert buffer.host.nbytes == len(driver.at(int(buffer.device))) >= wanted
            sizes.append(buffer.host.nbytes)
        assert sizes == [10, 20, 20, 50, 50, 100, 100]
        assert len(driver.memory) == 1
        buffer.free()
    assert driver.memory == {}


def test_a_staging_buffer_grows_by_less_where_twice_does_not_fit():
    driver = FakeDriver(memory_bytes=150)
    with Device(driver).current():
        buffer = StagingBuffer(driver)
        buffer.reserve(100)
        buffer.reserve(120)
        assert buffer.host.nbytes == 120
        with pytest.raises(
            DeviceMemoryError, match=r"batch of 151 bytes.*out of memory.*--preproc"
        ):
            buffer.reserve(151)
        assert driver.memory == {} and buffer.host.nbytes == 0
        buffer.reserve(90)
        assert buffer.host.nbytes == 90


def test_too_little_memory_for_the_tables_says_so_and_leaves_nothing():
    driver = FakeDriver(memory_bytes=64 * 16 * 256 - 1)
    with pytest.raises(DeviceMemoryError, match="262144 bytes of look-up tables.*--preprocess cpu"):
        CudaBatches(Device(driver), SPEC)
    assert driver.memory == {} and driver.contexts == [] and driver.retained == 0


def test_a_gpu_without_a_kernel_says_so_and_leaves_nothing():
    driver = FakeDriver(compute_capability=(6, 1))
    with pytest.raises(KernelNotAvailableError, match=r"compute capability 6\.1"):
        CudaBatches(Device(driver), SPEC)
    assert driver.contexts == [] and driver.retained == 0


def test_a_spec_of_too_many_tiles_is_refused_before_anything_is_allocated():
    driver = FakeDriver()
    spec = Preprocessing(height=2048, width=2048, tile_grid=(2048, 1024))
    with pytest.raises(DevicePreprocessingError, match="tiles"):
        CudaBatches(Device(driver), spec)
    assert driver.memory == {} and driver.retained == 0

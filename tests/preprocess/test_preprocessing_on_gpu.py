"""On a machine with a GPU: the shipped kernels through PyCUDA, the reference's bytes."""

import shutil
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from neuroscan_edge.preprocess.cuda import CudaPreprocessor
from neuroscan_edge.preprocess.cuda_batches import CudaBatches
from neuroscan_edge.preprocess.kernel_binaries import fitting_binaries
from neuroscan_edge.preprocess.opencv import CpuPreprocessor
from neuroscan_edge.runtimes import RuntimeOptions, open_runtime
from neuroscan_edge.runtimes.build import BuildOptions, build_engine
from neuroscan_edge.spec import Precision, Preprocessing, PreprocessOn
from neuroscan_edge.system.cuda.buffers import StagingBuffer
from neuroscan_edge.system.cuda.context import Device, load_driver
from neuroscan_edge.system.cuda.kernel_module import load_module
from support.gpu_runtimes import GPUS, flavours
from support.places import ROOT
from support.preprocess_cases import (
    CONTENTS,
    SIZES,
    SPEC_SOURCES,
    SPECS,
    assert_same_bytes,
    dark_background,
    noise,
)
from support.tiny_models import calibrated_bundle

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not GPUS, reason="this machine has no NVIDIA GPU"),
]
BATCHES = 1000
THREADS = 4
SANITIZER = shutil.which("compute-sanitizer") or shutil.which(
    "compute-sanitizer", path="/usr/local/cuda/bin"
)
RANDOM_SPECS = [
    Preprocessing(),
    Preprocessing(),
    Preprocessing(height=299, width=299),
    Preprocessing(height=223, width=221, tile_grid=(7, 5), clip_limit=3.3),
    SPECS["nearest"],
]


@pytest.fixture(scope="module")
def driver():
    return load_driver("gpu")


def expected(slices, spec):
    preprocess = CpuPreprocessor(spec)
    return np.stack([preprocess(pixels) for pixels in slices])[..., None]


def random_slices(rng, most):
    slices = []
    for _ in range(rng.integers(1, most + 1)):
        rows, columns = rng.integers(1, 400, 2)
        pixels = rng.integers(0, 256, (rows, columns), np.uint8)
        dark = rng.random() < 0.5
        slices.append(np.where(pixels > 180, pixels, 0).astype(np.uint8) if dark else pixels)
    return slices


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES.keys())
def test_default_spec(driver, size):
    slices = [content(*size) for content in CONTENTS.values()]
    with CudaBatches(Device(driver), Preprocessing()) as preprocess:
        assert_same_bytes(expected(slices, Preprocessing()), preprocess(slices))


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS.keys())
def test_other_specs(driver, spec):
    sources = SPEC_SOURCES.values()
    slices = [content(*size) for size in sources for content in (noise, dark_background)]
    with CudaBatches(Device(driver), spec) as preprocess:
        assert_same_bytes(expected(slices, spec), preprocess(slices))


def test_slices_of_all_sizes_in_one_batch(driver):
    slices = [dark_background(*size) for size in SIZES.values()]
    with CudaBatches(Device(driver), Preprocessing()) as preprocess:
        assert_same_bytes(expected(slices, Preprocessing()), preprocess(slices))


def test_a_thousand_random_batches(driver):
    rng = np.random.default_rng(2024)
    opened = [CudaBatches(Device(driver), spec, max_batch=8) for spec in RANDOM_SPECS]
    try:
        for number in range(BATCHES):
            preprocess = opened[number % len(opened)]
            slices = random_slices(rng, 12)
            assert_same_bytes(expected(slices, preprocess.spec), preprocess(slices))
    finally:
        for each in opened:
            each.__exit__(None, None, None)


def test_from_several_threads_at_once(driver):
    start = threading.Barrier(THREADS)

    def work(seed):
        rng = np.random.default_rng(seed)
        with CudaBatches(Device(driver), Preprocessing()) as preprocess:
            start.wait(timeout=60)
            for _ in range(25):
                slices = random_slices(rng, 16)
                assert_same_bytes(expected(slices, preprocess.spec), preprocess(slices))
        return True

    with ThreadPoolExecutor(THREADS) as pool:
        assert all(pool.map(work, range(THREADS)))


def test_on_two_streams_at_once(driver):
    spec, device = Preprocessing(), Device(driver)
    batches = [[noise(512, 512)] * 32, [dark_background(240, 240)] * 32]
    with device.current():
        both = []
        for slices in batches:
            stream, staging = driver.Stream(), StagingBuffer(driver)
            both.append((CudaPreprocessor(device, spec, 32), slices, stream, staging))
        outputs = [driver.mem_alloc(32 * 224 * 224) for _ in batches]
        for _ in range(20):
            for (preprocessor, slices, stream, staging), output in zip(both, outputs, strict=True):
                preprocessor.upload(slices, staging, stream)
                preprocessor.launch(32, staging, int(output), stream)
            for (_, slices, stream, _), output in zip(both, outputs, strict=True):
                stream.synchronize()
                found = np.empty((32, 224, 224, 1), np.uint8)
                driver.memcpy_dtoh(found, output)
                assert_same_bytes(expected(slices, spec), found)
        for preprocessor, _, _, staging in both:
            preprocessor.free()
            staging.free()
        for output in outputs:
            output.free()
        del both, preprocessor
    device.release()


def test_ptx_gives_the_same_bytes_as_the_cubin(driver, monkeypatch):
    def ptx_only(gpu):
        return [each for each in fitting_binaries(gpu) if each[0].endswith(".ptx")]

    slices = [dark_background(*size) for size in SIZES.values()]
    monkeypatch.setattr("neuroscan_edge.preprocess.cuda.fitting_binaries", ptx_only)
    with CudaBatches(Device(driver), Preprocessing()) as preprocess:
        assert preprocess.preprocessor.binary.endswith(".ptx")
        assert_same_bytes(expected(slices, Preprocessing()), preprocess(slices))


def test_this_gpus_own_cubin_loads(driver):
    device = Device(driver)
    with device.current():
        names = [name for name, _ in fitting_binaries(device.compute_capability)]
        assert load_module(device, fitting_binaries(device.compute_capability)).name == names[0]
    device.release()


def test_engines_decide_alike_raw_and_preprocessed(tmp_path):
    bundle = calibrated_bundle(tmp_path / "tiny")
    slices = [dark_background(100 + each, 90) for each in range(45)]
    ready = expected(slices, bundle.preprocessing)
    for name in flavours():
        options = BuildOptions(name, Precision.FP16)
        engine = build_engine(bundle, options, lambda *_: None)
        options = RuntimeOptions(engine=engine.folder, preprocess=PreprocessOn.CUDA)
        with open_runtime(bundle, options) as runtime:
            for _ in range(3):
                np.testing.assert_array_equal(runtime.run_raw(slices), runtime(ready))


SANITIZED = """
import numpy as np
from neuroscan_edge.system.cuda.context import Device, load_driver
from neuroscan_edge.preprocess.opencv import CpuPreprocessor
from neuroscan_edge.preprocess.cuda_batches import CudaBatches
from neuroscan_edge.spec import Preprocessing
rng = np.random.default_rng(0)
slices = [rng.integers(0, 256, size, np.uint8) for size in [(1, 1), (240, 240), (37, 900)]]
for spec in (Preprocessing(), Preprocessing(height=37, width=41, tile_grid=(4, 3)),
             Preprocessing(height=80, width=72, tile_grid=(1, 1))):
    with CudaBatches(Device(load_driver("gpu")), spec) as preprocess:
        for pixels, found in zip(slices, preprocess(slices)[..., 0]):
            assert np.array_equal(found, CpuPreprocessor(spec)(pixels))
"""


@pytest.mark.skipif(SANITIZER is None, reason="compute-sanitizer is not on this machine")
@pytest.mark.parametrize("tool", ["memcheck", "racecheck", "initcheck", "synccheck"])
def test_compute_sanitizer_finds_nothing(tool):
    command = [SANITIZER, "--tool", tool, "--error-exitcode", "9", sys.executable, "-c", SANITIZED]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr

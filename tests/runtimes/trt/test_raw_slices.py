"""Raw slices through the TensorRT adapter: preprocessed by the kernels, decided as on the CPU."""

import json
import re
from dataclasses import replace

import cv2
import numpy as np
import onnxruntime as ort
import pytest
from PIL import Image

from neuroscan_edge.classify.decoders.prepare import RAW_PIXELS
from neuroscan_edge.classify.pipeline import PipelineOptions, classify_files
from neuroscan_edge.classify.request import ClassifyRequest
from neuroscan_edge.classify.run import run
from neuroscan_edge.errors import (
    EXIT_INCOMPLETE,
    DeviceMemoryError,
    DevicePreprocessingError,
    KernelNotAvailableError,
    MissingDependencyError,
    SpecError,
    UsageError,
)
from neuroscan_edge.model.engine.manifest import BatchProfile, file_records
from neuroscan_edge.preprocess import packing
from neuroscan_edge.preprocess.opencv import CpuPreprocessor
from neuroscan_edge.runtimes import RuntimeOptions, open_runtime
from neuroscan_edge.runtimes.protocol import Outputs
from neuroscan_edge.runtimes.trt import runner as tensorrt_
from neuroscan_edge.runtimes.trt.runner import EngineRunError, TensorRTRuntime
from neuroscan_edge.scans import Provenance, Scan, find_scans
from neuroscan_edge.spec import Precision, PreprocessOn, RuntimeName
from neuroscan_edge.system.cuda.context import Device
from support.engine_cases import MACHINE, RTX, fitting_engine
from support.fakes.fake_cuda import FakeCudaError, FakeDriver, FakeRecorder
from support.fakes.fake_tensorrt import FakeTensorRT
from support.preprocess_cases import dark_background, noise

# The same kernels, in batches of other sizes: rounding only.
ROUNDING = 1e-6
ENGINE_BYTES = 2 * 8 * (32 * 32 + 4 * 4)
TABLES_BYTES = 8 * 16 * 256
# The device holds engine and tables, and then packed batches of no more than this.
ROOM_BYTES = 30_000


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


class Bench:
    """A runtime over fakes that takes raw slices, with all its parts at hand."""

    def __init__(self, bundle, folder, emulator, profile=(1, 4, 8), driver=None, **options):
        self.bundle = bundle
        self.spec = bundle.preprocessing
        self.driver = driver or FakeDriver(run_kernel=emulator.launch)
        self.trt = FakeTensorRT(self.driver, profile, **options)
        self.recorder = FakeRecorder()
        self.graph = bundle.graph(Precision.FP32).data
        self.engine = fitting_engine(bundle, folder, batch=BatchProfile(*profile))

    def open(self, place=PreprocessOn.CUDA) -> TensorRTRuntime:
        device = Device(self.driver)
        runtime = TensorRTRuntime(self.trt, device, self.engine, self.graph, self.recorder)
        runtime.preprocess_on(self.spec, place)
        return runtime

    def expected(self, slices):
        preprocess = CpuPreprocessor(self.spec)
        batch = np.stack([preprocess(pixels) for pixels in slices])[..., None]
        session = ort.InferenceSession(self.graph, providers=["CPUExecutionProvider"])
        return session.run(None, {"image": batch})[0]


@pytest.fixture
def bench(bundle, tmp_path, emulator):
    return Bench(bundle, tmp_path / "engine", emulator)


def mixed(count, seed=0):
    """Slices of many sizes."""
    return [
        (noise, dark_background)[index % 2](20 + 7 * index + seed, 90 - index)
        for index in range(count)
    ]


@pytest.mark.parametrize("count", [1, 3, 8, 9, 17, 40])
def test_any_number_of_raw_slices_is_split_to_the_profile(bench, count):
    slices = mixed(count)
    with bench.open() as runtime:
        assert runtime.takes_raw
        np.testing.assert_allclose(runtime.run_raw(slices), bench.expected(slices), atol=ROUNDING)


def test_the_engines_input_is_the_cpus_bytes(bench):
    slices = mixed(8)
    with bench.open() as runtime:
        runtime.run_raw(slices)
        (slot, _) = runtime._slots
        found = bench.driver.memory[int(slot.device_in)].reshape(8, 32, 32)
        for pixels, each in zip(slices, found, strict=True):
            assert np.array_equal(each, CpuPreprocessor(bench.spec)(pixels))


def test_batches_below_the_profile_are_filled_up_with_black(bundle, tmp_path, emulator):
    bench = Bench(bundle, tmp_path / "engine", emulator, profile=(4, 4, 8))
    for count in (1, 3, 9):
        slices = mixed(count)
        with bench.open() as runtime:
            found = runtime.run_raw(slices)
            (slot, other) = runtime._slots
            last = slot if count < 9 else other
            filled = bench.driver.memory[int(last.device_in)].reshape(8, -1)
            assert (filled[count % 8 : 4] == 0).all()
        np.testing.assert_allclose(found, bench.expected(slices), atol=ROUNDING)


def test_nothing_waits_between_preprocessing_and_the_engine(bench):
    slices = mixed(40)
    with bench.open() as runtime:
        runtime.run_raw(slices)
        bench.driver.log.clear()
        runtime.run_raw(mixed(40, seed=1))
        steps = list(bench.driver.log)
    batch = ["copy in", "equalisation_luts", "blend", "copy out"]
    assert steps[:8] == batch * 2, "two batches are under way before the first is waited for"
    assert steps.count("sync event") == 5
    assert not [step for step in steps if step.startswith("sync stream")]
    assert steps.count("copy in") == 5, "one upload a batch"


def test_graphs_are_recorded_without_preprocessing_and_replayed_on_new_slices(bench):
    with bench.open() as runtime:
        for seed in range(6):
            slices = mixed(20, seed=seed)
            found = runtime.run_raw(slices)
            np.testing.assert_allclose(found, bench.expected(slices), atol=ROUNDING)
        assert bench.recorder.alive == 3
        assert bench.recorder.launches == 5 * 3
        # The buffers that the graphs were recorded with are in use still.
        large = [noise(300 + index, 300) for index in range(20)]
        found = runtime.run_raw(large)
        np.testing.assert_allclose(found, bench.expected(large), atol=ROUNDING)
        assert bench.recorder.launches == 6 * 3


def test_raw_and_preprocessed_batches_take_turns(bench):
    slices = mixed(11)
    ready = np.stack([CpuPreprocessor(bench.spec)(pixels) for pixels in slices])[..., None]
    with bench.open() as runtime:
        for _ in range(3):
            np.testing.assert_array_equal(runtime.run_raw(slices), runtime(ready))


def test_a_failing_batch_is_an_error_and_the_next_one_runs(bundle, tmp_path, emulator):
    bench = Bench(bundle, tmp_path / "engine", emulator, fails_on_batch=3)
    slices = mixed(8)
    with bench.open() as runtime:
        with pytest.raises(EngineRunError, match="illegal memory access"):
            runtime.run_raw(mixed(11))
        assert not any(stream.waiting for stream in bench.driver.streams.values())
        np.testing.assert_allclose(runtime.run_raw(slices), bench.expected(slices), atol=ROUNDING)


def test_closing_frees_everything(bench):
    with bench.open() as runtime:
        runtime.run_raw(mixed(9))
    assert bench.driver.memory == {}
    assert bench.driver.contexts == []
    assert bench.driver.retained == 0


def test_a_runtime_says_where_it_preprocesses(bench):
    for place, says in (
        (PreprocessOn.CPU, "cpu"),
        (PreprocessOn.CUDA, "cuda (resize_clahe.sm_86.cubin)"),
        (PreprocessOn.AUTO, "cuda (resize_clahe.sm_86.cubin)"),
    ):
        with bench.open(place) as runtime:
            assert runtime.info.preprocessing == says
            assert runtime.takes_raw == says.startswith("cuda")


def test_a_runtime_that_does_not_preprocess_refuses_raw_slices(bench):
    with bench.open(PreprocessOn.CPU) as runtime, pytest.raises(EngineRunError, match="preprocess"):
        runtime.run_raw(mixed(1))


def test_a_specification_of_another_size_than_the_engines_is_refused(bench):
    bench.spec = replace(bench.spec, height=64)
    with pytest.raises(SpecError, match=r"\(64, 32\) slices for an engine of \(32, 32, 1\)"):
        bench.open(PreprocessOn.AUTO)


def test_a_gpu_without_a_kernel_is_an_error_for_cuda_and_the_cpus_for_auto(bundle, tmp_path):
    driver = FakeDriver(compute_capability=(7, 0))
    bench = Bench(bundle, tmp_path / "engine", None, driver=driver)
    with pytest.raises(KernelNotAvailableError, match=r"compute capability 7\.0"):
        bench.open(PreprocessOn.CUDA)
    with bench.open(PreprocessOn.AUTO) as runtime:
        assert not runtime.takes_raw
        assert runtime.info.preprocessing.startswith("cpu (a fake GPU has compute capability 7.0")


def wrong_kernels(launch):
    """A GPU that computes nothing, and says nothing."""


def failing_kernels(launch):
    raise FakeCudaError("cuStreamSynchronize failed: an illegal instruction was encountered")


@pytest.mark.parametrize(
    ("kernels", "says"),
    [
        (wrong_kernels, "other bytes with resize_clahe.sm_86.cubin: .*of 1024 pixels differ"),
        (failing_kernels, "does not run resize_clahe.sm_86.cubin .*illegal instruction"),
    ],
    ids=["other bytes", "a fault"],
)
def test_a_gpu_that_fails_its_check_is_an_error_for_cuda_and_the_cpus_for_auto(
    bundle, tmp_path, scans, kernels, says
):
    driver = FakeDriver(run_kernel=kernels)
    bench = Bench(bundle, tmp_path / "engine", None, driver=driver)
    with bench.open(PreprocessOn.AUTO) as runtime:
        assert not runtime.takes_raw and len(driver.memory) == 4
        assert re.search(rf"^cpu \(a fake GPU .*{says}", runtime.info.preprocessing)
        results = list(classify_files(find_scans([scans]).files, bundle, runtime))
        assert [result.error for result in results] == [None] * 20
    with pytest.raises(DevicePreprocessingError, match=says):
        bench.open(PreprocessOn.CUDA)


def test_no_memory_for_the_tables_is_an_error_for_cuda_and_the_cpus_for_auto(
    bundle, tmp_path, scans
):
    driver = FakeDriver(memory_bytes=ENGINE_BYTES + TABLES_BYTES - 1)
    bench = Bench(bundle, tmp_path / "engine", None, driver=driver)
    with bench.open(PreprocessOn.AUTO) as runtime:
        assert not runtime.takes_raw
        assert "cpu (the GPU has too little memory" in runtime.info.preprocessing
        results = list(classify_files(find_scans([scans]).files, bundle, runtime))
        assert [result.error for result in results] == [None] * 20
    with pytest.raises(DeviceMemoryError, match="too little memory for 32768 bytes"):
        bench.open(PreprocessOn.CUDA)


@pytest.mark.parametrize("place", [PreprocessOn.CUDA, PreprocessOn.AUTO], ids=str)
def test_a_batch_that_finds_no_memory_stops_cuda_and_goes_to_the_cpu_for_auto(
    bundle, tmp_path, emulator, place
):
    memory = ENGINE_BYTES + TABLES_BYTES + ROOM_BYTES
    driver = FakeDriver(memory_bytes=memory, run_kernel=emulator.launch)
    bench = Bench(bundle, tmp_path / "engine", emulator, driver=driver)
    small, large = [noise(30, 30)] * 8, [noise(200, 200 + index) for index in range(3)]
    with bench.open(place) as runtime:
        driver.log.clear()
        np.testing.assert_allclose(runtime.run_raw(small), bench.expected(small), atol=ROUNDING)
        if place is PreprocessOn.CUDA:
            with pytest.raises(DeviceMemoryError, match="120.*bytes to preprocess.*--preprocess"):
                runtime.run_raw(large)
        else:
            found = runtime.run_raw(large)
            np.testing.assert_allclose(found, bench.expected(large), atol=ROUNDING)
            assert driver.log.count("equalisation_luts") == 1
            assert (
                "3 slices on the CPU: the GPU has too little memory" in runtime.info.preprocessing
            )
        np.testing.assert_allclose(runtime.run_raw(small), bench.expected(small), atol=ROUNDING)
        assert driver.log.count("equalisation_luts") == 2


def probabilities(results):
    return [result.probabilities for result in results]


@pytest.mark.parametrize("batch_size", [1, 7, 64])
@pytest.mark.parametrize("workers", [1, 4])
def test_files_get_the_same_results_raw_and_preprocessed(scans, bench, batch_size, workers):
    (scans / "series0" / "broken.png").write_bytes(b"no image")
    pages = [Image.fromarray(noise(40 + each, 50)) for each in range(3)]
    pages[0].save(scans / "series1" / "pages.tiff", save_all=True, append_images=pages[1:])
    files = find_scans([scans]).files
    options = PipelineOptions(batch_size, workers)
    with bench.open(PreprocessOn.CUDA) as runtime:
        found = list(classify_files(files, bench.bundle, runtime, options))
    with bench.open(PreprocessOn.CPU) as runtime:
        expected = list(classify_files(files, bench.bundle, runtime, options))
    assert len(found) == 24 and bench.driver.log.count("equalisation_luts")
    assert [each.provenance for each in found] == [each.provenance for each in expected]
    assert [each.error for each in found] == [each.error for each in expected]
    assert sum(each.error is not None for each in found) == 1
    # The same bytes in the same batches through the same graph: not even rounding differs.
    assert probabilities(found) == probabilities(expected)


class TakesRaw:
    """Keeps the protocol and the slices that it was given."""

    takes_raw = True

    def __init__(self, runtime):
        self.info = runtime.info
        self.slices = []

    def run_raw(self, slices):
        return self.outputs_raw(slices).probabilities

    def outputs_raw(self, slices):
        self.slices += slices
        return Outputs(np.full((len(slices), 4), 0.25, np.float32))


def test_slices_arrive_as_they_were_decoded_but_large_ones_in_the_models_size(
    tmp_path, bundle, bench
):
    folder = tmp_path / "mixed"
    folder.mkdir()
    images = [noise(33, 47), noise(2100, 2000), noise(500, 400)]
    for index, pixels in enumerate(images):
        cv2.imwrite(str(folder / f"{index}.png"), pixels)
    pages = [noise(1400, 1400 + each) for each in range(4)]
    assert 2 * pages[3].size < RAW_PIXELS < 3 * pages[0].size
    first, *rest = map(Image.fromarray, pages)
    first.save(folder / "pages.tiff", save_all=True, append_images=rest)
    with bench.open(PreprocessOn.CPU) as runtime:
        raw = TakesRaw(runtime)
    results = list(classify_files(find_scans([folder]).files, bundle, raw, PipelineOptions(16, 1)))
    assert [result.error for result in results] == [None] * 7
    cpu = CpuPreprocessor(bundle.preprocessing)
    wanted = [images[0], cpu.resize(images[1]), images[2], *pages[:2], *map(cpu.resize, pages[2:])]
    for found, right in zip(raw.slices, wanted, strict=True):
        np.testing.assert_array_equal(found, right)
        assert found.base is None, "a view keeps what it was cut from"


def test_a_slice_that_the_gpu_cannot_take_is_a_row(scans, bench, monkeypatch):
    files = find_scans([scans]).files[:4]
    too_wide = packing.MAX_SOURCE_PIXELS // 64 + 1
    bad = {
        files[1]: np.zeros((0, 5), np.uint8),
        files[2]: np.broadcast_to(noise(1, too_wide), (64, too_wide)),
    }

    def decode(path, limits):
        yield Scan(bad.get(path, noise(40, 40)), Provenance(str(path)))

    monkeypatch.setattr("neuroscan_edge.classify.pipeline.read_scans", decode)
    with bench.open() as runtime:
        results = list(classify_files(files, bench.bundle, runtime))
    kinds = [result.error and result.error.split(":")[0] for result in results]
    assert kinds == [None, "corrupt", "too-large", None]
    assert [result.prediction is None for result in results] == [False, True, True, False]


@pytest.fixture
def gpu_machine(bench, monkeypatch):
    """This process believes in a GPU, TensorRT for RTX and PyCUDA; the bundle has an engine."""
    folder = bench.bundle.folder / "engines" / "one"
    files = {"engine.plan": bench.graph}
    fitting_engine(bench.bundle, folder, batch=BatchProfile(1, 4, 8), files=file_records(files))
    (folder / "engine.plan").write_bytes(bench.graph)
    for module in ("selection", "opening"):
        monkeypatch.setattr(f"neuroscan_edge.runtimes.{module}.this_machine", lambda: MACHINE)
    monkeypatch.setattr("neuroscan_edge.runtimes.selection.installed", lambda name, why: RTX)
    monkeypatch.setattr(tensorrt_, "load_flavour", lambda name, why: bench.trt)
    monkeypatch.setattr(tensorrt_, "load_driver", lambda extra: bench.driver)
    monkeypatch.setattr(tensorrt_, "DriverGraphs", lambda: bench.recorder)
    return bench


def classified(bench, scans, output, place):
    request = ClassifyRequest(
        (scans,),
        model=str(bench.bundle.folder),
        output=output,
        runtime=RuntimeName.TENSORRT_RTX,
        preprocess=place,
    )
    code = run(request)
    return code, [json.loads(line) for line in output.read_text().splitlines()]


def test_classify_gives_the_same_file_wherever_it_preprocesses(
    gpu_machine, scans, tmp_path, capsys
):
    (scans / "series0" / "broken.png").write_bytes(b"no image")
    runs, said = {}, {}
    for place in PreprocessOn:
        gpu_machine.driver.log.clear()
        runs[place] = classified(gpu_machine, scans, tmp_path / f"{place}.jsonl", place)
        said[place] = capsys.readouterr().err
        assert ("equalisation_luts" in gpu_machine.driver.log) == (place is not PreprocessOn.CPU)
    assert runs[PreprocessOn.CPU][0] == EXIT_INCOMPLETE and len(runs[PreprocessOn.CPU][1]) == 21
    assert runs[PreprocessOn.CPU] == runs[PreprocessOn.CUDA] == runs[PreprocessOn.AUTO]
    assert "preprocessing on cuda (resize_clahe.sm_86.cubin)" in said[PreprocessOn.AUTO]
    assert "preprocessing on cpu\n" in said[PreprocessOn.CPU]
    assert gpu_machine.driver.memory == {} and gpu_machine.driver.retained == 0


def test_classify_falls_back_only_for_auto(gpu_machine, scans, tmp_path, capsys):
    gpu_machine.driver.loads = lambda image: False
    output = tmp_path / "results.jsonl"
    with pytest.raises(KernelNotAvailableError, match=r"compute capability 8\.6"):
        classified(gpu_machine, scans, output, PreprocessOn.CUDA)
    assert not output.exists() and gpu_machine.driver.retained == 0
    code, rows = classified(gpu_machine, scans, output, PreprocessOn.AUTO)
    assert code == 0 and len(rows) == 20
    assert "preprocessing on cpu (a fake GPU has compute capability 8.6" in capsys.readouterr().err


def test_classify_says_when_slices_found_no_memory_on_the_gpu(gpu_machine, scans, tmp_path, capsys):
    cv2.imwrite(str(scans / "series1" / "large.png"), noise(200, 200))
    gpu_machine.driver.memory_bytes = ENGINE_BYTES + TABLES_BYTES + 2 * ROOM_BYTES
    code, rows = classified(gpu_machine, scans, tmp_path / "auto.jsonl", PreprocessOn.AUTO)
    said = capsys.readouterr().err
    assert code == 0 and len(rows) == 21
    assert "preprocessing was on cuda (resize_clahe.sm_86.cubin), and of" in said
    _, expected = classified(gpu_machine, scans, tmp_path / "cpu.jsonl", PreprocessOn.CPU)
    assert rows == expected
    assert "preprocessing was" not in capsys.readouterr().err
    with pytest.raises(DeviceMemoryError, match="--preprocess cpu"):
        classified(gpu_machine, scans, tmp_path / "cuda.jsonl", PreprocessOn.CUDA)


def test_cuda_without_pycuda_names_the_extra(gpu_machine, scans, tmp_path, monkeypatch):
    from neuroscan_edge.system.cuda.context import load_driver

    monkeypatch.setattr(tensorrt_, "load_driver", load_driver)
    monkeypatch.setitem(__import__("sys").modules, "pycuda", None)
    with pytest.raises(MissingDependencyError, match=r"pycuda.*neuroscan-edge\[gpu\]"):
        classified(gpu_machine, scans, tmp_path / "results.jsonl", PreprocessOn.CUDA)


@pytest.mark.parametrize("name", [RuntimeName.ONNXRUNTIME, RuntimeName.OPENVINO], ids=str)
def test_cuda_is_refused_by_runtimes_that_take_preprocessed_slices(bundle, name):
    options = RuntimeOptions(runtime=name, preprocess=PreprocessOn.CUDA)
    with pytest.raises(UsageError, match=f"{name} .*leave --preprocess cuda out"):
        open_runtime(bundle, options)
    with open_runtime(bundle, replace(options, preprocess=PreprocessOn.AUTO)) as runtime:
        assert runtime.info.preprocessing == "cpu"

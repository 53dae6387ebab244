"""The TensorRT adapter, over fakes that compute on the CPU and run work only when waited for."""

import importlib.util
import os
import stat

import numpy as np
import onnxruntime as ort
import pytest

from neuroscan_edge.classify.pipeline import classify_files
from neuroscan_edge.errors import EngineContractError, EngineLoadError, RuntimeNotAvailableError
from neuroscan_edge.model.engine.manifest import BatchProfile
from neuroscan_edge.runtimes import RuntimeOptions, open_runtime
from neuroscan_edge.runtimes.build import BuildOptions, build_engine
from neuroscan_edge.runtimes.trt.kernel_cache import read_kernel_cache, write_kernel_cache
from neuroscan_edge.runtimes.trt.runner import EngineRunError, TensorRTRuntime
from neuroscan_edge.scans import find_scans
from neuroscan_edge.spec import Precision, RuntimeName
from neuroscan_edge.system.cuda.context import Device
from neuroscan_edge.system.cuda.graph_capture import DriverGraphs
from neuroscan_edge.system.gpu_probe import probe_gpus
from support.engine_cases import fitting_engine
from support.fakes import fake_tensorrt
from support.fakes.fake_cuda import COMPUTE_MS, DOWNLOAD_MS, UPLOAD_MS, FakeDriver, FakeRecorder
from support.fakes.fake_tensorrt import CudaGraphStrategy, FakeTensorRT
from support.tiny_models import calibrated_bundle, tiny_images


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """Kernel caches of these tests stay in their folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


class Bench:
    """A runtime over fakes, with all its parts at hand."""

    def __init__(self, bundle, folder, profile=(1, 4, 8), recorder=None, memory=1 << 30, **options):
        self.bundle = bundle
        self.driver = FakeDriver(memory)
        self.trt = FakeTensorRT(self.driver, profile, **options)
        self.recorder = recorder or FakeRecorder()
        self.graph = bundle.graph(Precision.FP32).data
        self.engine = fitting_engine(bundle, folder, batch=BatchProfile(*profile))

    def open(self, data: bytes | None = None) -> TensorRTRuntime:
        device = Device(self.driver)
        return TensorRTRuntime(self.trt, device, self.engine, data or self.graph, self.recorder)

    def expected(self, batch: np.ndarray) -> np.ndarray:
        session = ort.InferenceSession(self.graph, providers=["CPUExecutionProvider"])
        return session.run(None, {"image": batch})[0]


@pytest.fixture
def bench(bundle, tmp_path):
    return Bench(bundle, tmp_path / "engine")


# The same kernels, in batches of other sizes: rounding only.
ROUNDING = 1e-6


@pytest.mark.parametrize("count", [1, 3, 8, 9, 16, 17, 40])
def test_any_number_of_slices_is_split_to_the_profile(bench, count):
    batch = tiny_images(count, seed=count)
    with bench.open() as run:
        np.testing.assert_allclose(run(batch), bench.expected(batch), atol=ROUNDING)


def test_batches_below_the_profile_are_filled_up(bundle, tmp_path):
    bench = Bench(bundle, tmp_path / "engine", profile=(4, 4, 8))
    for count in (1, 3, 9):
        batch = tiny_images(count, seed=count)
        with bench.open() as run:
            found = run(batch)
        assert found.shape == (count, 4)
        np.testing.assert_allclose(found, bench.expected(batch), atol=ROUNDING)


def test_a_result_is_the_callers_and_later_batches_leave_it_alone(bench):
    first, second = tiny_images(8, seed=1), tiny_images(8, seed=2)
    with bench.open() as run:
        found = run(first)
        kept = found.copy()
        other = run(second)
    np.testing.assert_array_equal(found, kept)
    assert np.abs(other - found).max() > 0.01
    np.testing.assert_allclose(other, bench.expected(second), atol=ROUNDING)


def test_the_next_batch_is_copied_in_before_the_last_one_is_waited_for(bench):
    with bench.open() as run:
        run(tiny_images(40))
        bench.driver.log.clear()
        run(tiny_images(40, seed=1))
    steps = [step for step in bench.driver.log if not step.startswith("sync stream")]
    first_wait = steps.index("sync event")
    assert steps[:first_wait].count("copy in") == 2
    assert steps.count("sync event") == 5
    in_flight = 0
    for step in steps:
        in_flight += {"copy in": 1, "sync event": -1}.get(step, 0)
        assert 0 <= in_flight <= 2


def test_a_graph_is_recorded_once_a_size_and_buffer_and_replayed_on_new_data(bench):
    with bench.open() as run:
        for seed in range(6):
            batch = tiny_images(20, seed=seed)
            np.testing.assert_allclose(run(batch), bench.expected(batch), atol=ROUNDING)
        # Pieces of 8, 8 and 4 on two slots.
        assert bench.recorder.alive == 3
        assert bench.recorder.launches == 5 * 3
    assert bench.recorder.alive == 0, "closed with graphs left over"


def test_what_cannot_be_recorded_runs_layer_by_layer(bundle, tmp_path):
    recorder = FakeRecorder(refuses=RuntimeNotAvailableError)
    bench = Bench(bundle, tmp_path / "engine", recorder=recorder)
    with bench.open() as run:
        for seed in range(3):
            batch = tiny_images(5, seed=seed)
            np.testing.assert_allclose(run(batch), bench.expected(batch), atol=ROUNDING)
    assert recorder.launches == 0


def test_files_through_the_adapter_get_the_results_of_onnx_runtime(scans, bench):
    files = find_scans([scans]).files
    with bench.open() as run:
        found = list(classify_files(files, bench.bundle, run))
    cpu = RuntimeOptions(Precision.FP32, runtime=RuntimeName.ONNXRUNTIME)
    with open_runtime(bench.bundle, cpu) as run:
        expected = list(classify_files(files, bench.bundle, run))
    assert [each.prediction for each in found] == [each.prediction for each in expected]
    assert {each.info.runtime for each in found} == {"tensorrt-rtx"}
    assert {each.info.engine_sha256 for each in found} == {bench.engine.manifest.engine_sha256}


def test_a_failing_batch_is_an_error_in_tensorrts_words_and_the_next_one_runs(bundle, tmp_path):
    bench = Bench(bundle, tmp_path / "engine", fails_on_batch=3)
    good = tiny_images(8)
    with bench.open() as run:
        with pytest.raises(EngineRunError, match="batch of 3: .*illegal memory access"):
            run(tiny_images(11))
        assert not any(stream.waiting for stream in bench.driver.streams.values())
        np.testing.assert_allclose(run(good), bench.expected(good), atol=ROUNDING)


@pytest.mark.parametrize(
    "batch",
    [
        np.zeros((2, 32, 32, 1), np.float32),
        np.zeros((2, 16, 32, 1), np.uint8),
        np.zeros((0, 32, 32, 1), np.uint8),
    ],
    ids=["float", "other size", "empty"],
)
def test_a_batch_of_another_kind_is_refused(bench, batch):
    with bench.open() as run, pytest.raises(EngineRunError, match="the engine reads uint8"):
        run(batch)


def test_closing_frees_everything(bench):
    with bench.open() as run:
        run(tiny_images(9))
        assert len(bench.driver.memory) == 4
    assert bench.driver.memory == {}
    assert bench.driver.contexts == []
    assert bench.driver.retained == 0


def test_an_engine_that_tensorrt_refuses_says_why(bench):
    with pytest.raises(EngineLoadError, match="magic tag does not match.*build-engine") as raised:
        bench.open(b"no engine")
    assert "this very installation" in raised.value.wanted
    assert bench.driver.contexts == []
    assert bench.driver.retained == 0


def test_an_engine_with_another_profile_than_its_manifest_is_refused(bundle, tmp_path):
    bench = Bench(bundle, tmp_path / "engine")
    bench.trt.profile = (1, 2, 4)
    with pytest.raises(EngineContractError, match="for 1 to 4 slices.*for 1 to 8"):
        bench.open()


def test_an_engine_with_other_tensors_than_its_manifest_is_refused(bundle, tmp_path):
    bench = Bench(bundle, tmp_path / "engine")
    other = {**bundle.manifest["input"], "name": "pixels"}
    bench.engine = fitting_engine(
        bundle, tmp_path / "engine", batch=BatchProfile(1, 4, 8), output=other
    )
    with pytest.raises(EngineContractError, match="as its manifest states"):
        bench.open()


def test_too_little_gpu_memory_names_the_option(bundle, tmp_path):
    bench = Bench(bundle, tmp_path / "engine", memory=10_000)
    with pytest.raises(RuntimeNotAvailableError, match="smaller --max-batch"):
        bench.open()
    assert bench.driver.memory == {}
    assert bench.driver.retained == 0


@pytest.mark.parametrize("configs", [False, True], ids=["10.3", "10.13"])
def test_full_tensorrt_keeps_no_kernels_and_leaves_graphs_to_the_adapter(bundle, tmp_path, configs):
    bench = Bench(bundle, tmp_path / "engine", configs=configs)
    with bench.open() as run:
        run(tiny_images(1))
        assert bench.recorder.alive == 1
    assert not (tmp_path / "cache").exists()
    assert bench.trt.caches == []


def test_rtx_keeps_its_kernels_and_records_graphs_itself(bundle, tmp_path):
    bench = Bench(bundle, tmp_path / "engine", rtx=True)
    batch = tiny_images(5)
    for _ in range(2):
        with bench.open() as run:
            np.testing.assert_allclose(run(batch), bench.expected(batch), atol=ROUNDING)
    first, second = bench.trt.caches
    assert second.content == first.serialize()
    assert bench.trt.strategies == [CudaGraphStrategy.WHOLE_GRAPH_CAPTURE] * 2
    assert bench.recorder.alive == bench.recorder.launches == 0


def test_a_kernel_cache_of_another_kind_is_dropped(bundle, tmp_path):
    bench = Bench(bundle, tmp_path / "engine", rtx=True)
    with bench.open():
        pass
    (path,) = (tmp_path / "cache").rglob("*.kernels")
    path.write_bytes(b"of another driver")
    with bench.open() as run:
        assert run(tiny_images(1)).shape == (1, 4)
    assert bench.trt.caches[-1].resets == 1
    assert path.read_bytes() == bench.trt.caches[-1].serialize()


def test_a_kernel_cache_that_others_could_have_written_is_not_read(tmp_path):
    path = tmp_path / "mine" / "one.kernels"
    write_kernel_cache(path, b"code")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert read_kernel_cache(path) == b"code"
    for each in (path, path.parent):
        before = each.stat().st_mode
        os.chmod(each, before | stat.S_IWOTH)
        assert read_kernel_cache(path) is None
        os.chmod(each, before)
    assert read_kernel_cache(path.with_name("absent")) is None


class FakeLibrary:
    """The driver's graph functions; `fails` is the one that does."""

    def __init__(self, fails: str = "") -> None:
        self.fails = fails
        self.calls: list[str] = []

    def __getattr__(self, name: str):
        def call(*arguments: object) -> int:
            self.calls.append(name)
            return 900 if name == self.fails else 0

        return call


class Handle:
    handle = 7


def test_recording_leaves_the_stream_and_frees_the_template():
    library = FakeLibrary()
    graph = DriverGraphs(library).record(Handle(), lambda: library.calls.append("work"))
    graph.launch(Handle())
    graph.destroy()
    assert library.calls == [
        "cuStreamBeginCapture_v2",
        "work",
        "cuStreamEndCapture",
        "cuGraphInstantiateWithFlags",
        "cuGraphDestroy",
        "cuGraphLaunch",
        "cuGraphExecDestroy",
    ]


@pytest.mark.parametrize(
    "fails", ["cuStreamBeginCapture_v2", "cuStreamEndCapture", "cuGraphInstantiateWithFlags"]
)
def test_a_refused_recording_names_the_call(fails):
    with pytest.raises(RuntimeNotAvailableError, match=rf"{fails} \(status 900\)"):
        DriverGraphs(FakeLibrary(fails)).record(Handle(), lambda: None)


def test_a_failure_while_recording_still_ends_it():
    library = FakeLibrary()

    def fail() -> None:
        raise EngineRunError("no")

    with pytest.raises(EngineRunError):
        DriverGraphs(library).record(Handle(), fail)
    assert library.calls[-1] == "cuStreamEndCapture"


@pytest.mark.skipif(bool(probe_gpus().gpus), reason="for machines without a GPU")
def test_real_tensorrt_for_rtx_without_a_gpu_refuses_in_its_own_words(tmp_path):
    import tensorrt_rtx

    bundle = calibrated_bundle(tmp_path / "tiny")
    options = BuildOptions(RuntimeName.TENSORRT_RTX, Precision.FP16, targets=("8.6",))
    engine = build_engine(bundle, options, lambda *_: None)
    driver = FakeDriver()
    data = engine.read()["engine.plan"]
    with pytest.raises(EngineLoadError, match="CUDA"):
        TensorRTRuntime(tensorrt_rtx, Device(driver), engine, data, FakeRecorder())


SURFACES = [
    ("FakeRuntime", "Runtime"),
    ("FakeEngine", "ICudaEngine"),
    ("FakeRtxEngine", "ICudaEngine"),
    ("FakeRuntimeConfig", "IRuntimeConfig"),
    ("FakeRuntimeCache", "IRuntimeCache"),
    ("FakeContext", "IExecutionContext"),
]


@pytest.mark.skipif(
    importlib.util.find_spec("tensorrt_rtx") is None, reason="TensorRT for RTX is not installed"
)
@pytest.mark.parametrize(("fake", "real"), SURFACES, ids=lambda name: str(name))
def test_the_fakes_have_no_method_that_the_real_one_lacks(fake, real):
    import tensorrt_rtx

    methods = {name for name in vars(getattr(fake_tensorrt, fake)) if name[0].islower()}
    assert methods
    assert methods <= set(dir(getattr(tensorrt_rtx, real)))
    assert tensorrt_rtx.nptype(tensorrt_rtx.DataType.UINT8) is np.uint8
    assert {"INPUT", "OUTPUT"} <= set(dir(tensorrt_rtx.TensorIOMode))
    assert hasattr(tensorrt_rtx.CudaGraphStrategy, "WHOLE_GRAPH_CAPTURE")


def test_the_gpus_own_clock_tells_upload_compute_and_download(bench):
    told: list[tuple[float, ...]] = []
    with bench.open() as run:
        plain = run(tiny_images(20))
        run.report_device_times(lambda *times: told.append(times))
        timed = run(tiny_images(20))
        run.report_device_times(None)
        run(tiny_images(20))
    # Pieces of 8, 8 and 4; nothing is reported before or after.
    assert told == [(UPLOAD_MS, 0.0, COMPUTE_MS, DOWNLOAD_MS)] * 3
    np.testing.assert_array_equal(timed, plain)


def test_timing_is_off_until_it_is_asked_for(bench, monkeypatch):
    made: list[int] = []
    event = FakeDriver.Event
    monkeypatch.setattr(
        FakeDriver, "Event", lambda self, flags=0: made.append(flags) or event(self, flags)
    )
    with bench.open() as run:
        run(tiny_images(20))
        assert set(made) == {FakeDriver.event_flags.DISABLE_TIMING}
        run.report_device_times(lambda *times: None)
        assert made.count(0) == 2 * 6

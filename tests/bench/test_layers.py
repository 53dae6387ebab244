"""The model's layers: their times, what they compute, and that none of the arithmetic is missed."""

from pathlib import Path

import numpy as np
import pytest

from neuroscan_edge.bench.layers import measure_layers
from neuroscan_edge.model.bundle import GRAPHS, find_bundle, open_bundle
from neuroscan_edge.model.graph.roofline import GraphShapeError, count_work, layer_work
from neuroscan_edge.runtimes import Parallelism, RuntimeOptions, open_runtime
from neuroscan_edge.runtimes.build import BuildOptions, build_engine
from neuroscan_edge.runtimes.parallelism import random_slices
from neuroscan_edge.runtimes.protocol import LayerTime, RuntimeInfo
from neuroscan_edge.spec import Precision, RuntimeName
from neuroscan_edge.system.machine import this_machine
from support.tiny_models import calibrated_bundle, tiny_graph, tiny_images

RUNTIMES = (RuntimeName.ONNXRUNTIME, RuntimeName.OPENVINO)
# The tiny classifier at 32x32, as in test_floor.py.
STEM = 2 * 16 * 16 * 8 * 9
POINTWISE = 2 * 16 * 16 * 8 * 8
HEAD = 2 * 8 * 4


class TimedRuntime:
    """Layers whose times are given, of a batch, run for run."""

    info = RuntimeInfo("given", "1", "cpu", Precision.INT8, "")

    def __init__(self, times: list[LayerTime]) -> None:
        self.times = times
        self.batches: list[tuple[int, int]] = []

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        return np.full((len(batch), 4), 0.25, np.float32)

    def layer_times(self, batch: np.ndarray, runs: int) -> list[LayerTime]:
        self.batches.append((len(batch), runs))
        return self.times


class UntimedRuntime:
    info = RuntimeInfo("silent", "1", "cpu", Precision.INT8, "")

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        return np.full((len(batch), 4), 0.25, np.float32)


def measured(*times: LayerTime) -> dict:
    graph = tiny_graph().SerializeToString()
    return measure_layers(TimedRuntime(list(times)), graph, tiny_images(2), 3)


def test_a_layer_has_its_median_and_its_arithmetic_a_slice():
    found = measured(
        LayerTime("b_nchwc", "Conv", False, (8.0, 80.0, 4.0)),
        LayerTime("pointwise", "QLinearConv", True, (2.0, 2.0, 2.0)),
        LayerTime("pointwise_again/WithoutBiases", "Convolution (x_I8)", True, (1.0, 1.0, 1.0)),
        LayerTime("depthwise", "GroupConvolution (x_I8)", True, (0.4, 0.4, 0.4)),
        LayerTime("head", "FusedMatMul", False, (0.04, 0.04, 0.04)),
    )
    assert [(each["name"], each["kind"], each["operations"]) for each in found["layers"]] == [
        ("b_nchwc", "convolution", STEM),
        ("pointwise", "convolution 1x1", POINTWISE),
        ("pointwise_again/WithoutBiases", "convolution 1x1", POINTWISE),
        ("depthwise", "depthwise convolution", STEM),
        ("head", "dense", HEAD),
    ]
    # Of four slices.
    assert found["layers"][0]["ms"] == 2.0
    assert found["batch_size"] == 4 and found["runs"] == 3 and found["cores"] == 1
    both = next(each for each in found["kinds"] if each["kind"] == "convolution 1x1")
    assert both == {
        "kind": "convolution 1x1", "int8": True, "layers": 2, "ms": 0.75,
        "operations": 2 * POINTWISE,
    }  # fmt: skip
    assert found["ms"] == pytest.approx(sum(each["ms"] for each in found["kinds"]))


@pytest.mark.parametrize(
    ("name", "operator", "kind"),
    [
        # Called after the layer that they follow.
        ("pointwise", "Convert (ref_i8)", "sums and scales"),
        ("b_nchwc", "ReorderOutput", "layout"),
        ("stem", "Reorder (jit_uni_f32)", "layout"),
        ("pointwise", "QuantizeLinear", "quantisation"),
        ("f/quantize", "FakeQuantize (jit)", "quantisation"),
        ("pool", "NhwcMaxPool", "pooling"),
        ("e", "QLinearAdd", "sums and scales"),
        ("softmax", "Softmax", "others"),
        # Not of this graph.
        ("unknown", "Conv", "others"),
    ],
)
def test_what_lies_between_has_no_arithmetic(name, operator, kind):
    (layer,) = measured(LayerTime(name, operator, False, (1.0, 1.0, 1.0)))["layers"]
    assert (layer["kind"], layer["operations"]) == (kind, None)


def test_int8_and_float_are_summed_apart():
    found = measured(
        LayerTime("pointwise", "QLinearConv", True, (1.0,)),
        LayerTime("pointwise_again", "Conv", False, (3.0,)),
    )
    assert [(each["int8"], each["ms"]) for each in found["kinds"]] == [(False, 0.75), (True, 0.25)]


@pytest.mark.parametrize("runtime", [UntimedRuntime(), TimedRuntime([])], ids=["cannot", "none"])
def test_a_runtime_that_tells_no_times_is_named(runtime):
    found = measure_layers(runtime, tiny_graph().SerializeToString(), tiny_images(2), 3)
    assert found == {"reason": f"{runtime.info.runtime} does not tell the times of its layers here"}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return calibrated_bundle(tmp_path_factory.mktemp("layers") / "tiny")


def options(runtime: RuntimeName, precision: Precision, *, timed: bool = True) -> RuntimeOptions:
    return RuntimeOptions(
        precision, runtime=runtime, parallelism=Parallelism(1), timed_layers=timed
    )


@pytest.mark.parametrize("precision", list(Precision), ids=str)
@pytest.mark.parametrize("runtime", RUNTIMES, ids=str)
def test_no_arithmetic_of_a_graph_is_missed(tiny, runtime, precision):
    graph = tiny.graph(Precision.FP32).data
    with open_runtime(tiny, options(runtime, precision)) as run:
        found = measure_layers(run, graph, tiny_images(3), 5)
    computing = [each for each in found["layers"] if each["operations"]]
    assert sum(each["operations"] for each in computing) == count_work(graph).operations
    assert len(computing) == len(layer_work(graph))
    assert found["ms"] > 0
    # Without VNNI, OpenVINO's form keeps sums exact in wider kernels: none is INT8.
    exact = runtime is RuntimeName.ONNXRUNTIME or this_machine().exact_int8
    in_int8 = precision is Precision.INT8 and exact
    assert any(each["int8"] for each in computing) is in_int8


@pytest.mark.parametrize("runtime", RUNTIMES, ids=str)
def test_the_shipped_bundle_is_told_layer_by_layer(runtime):
    bundle = open_bundle(find_bundle())
    graph = bundle.graph(Precision.INT8).data
    with open_runtime(bundle, options(runtime, Precision.INT8)) as run:
        found = measure_layers(run, graph, random_slices(bundle.preprocessing, 2), 2)
    told = sum(each["operations"] for each in found["layers"] if each["operations"])
    assert told == pytest.approx(count_work(graph).operations, rel=1e-3)


@pytest.mark.parametrize("runtime", RUNTIMES, ids=str)
def test_so_is_an_engine_built_of_it(tmp_path, runtime):
    if runtime is RuntimeName.OPENVINO and not this_machine().exact_int8:
        pytest.skip("this processor has no VNNI, and OpenVINO no INT8 engine for it")
    bundle = calibrated_bundle(tmp_path / "tiny")
    build_engine(bundle, BuildOptions(runtime=runtime), lambda fraction, phase: None)
    graph = bundle.graph(Precision.INT8).data
    with open_runtime(open_bundle(bundle.folder), options(runtime, Precision.INT8)) as run:
        assert run.info.engine_sha256 != bundle.files[GRAPHS[Precision.INT8]].sha256
        found = measure_layers(run, graph, tiny_images(2), 2)
    told = sum(each["operations"] for each in found["layers"] if each["operations"])
    assert told == count_work(graph).operations
    assert any(each["int8"] for each in found["layers"])


@pytest.mark.parametrize("runtime", RUNTIMES, ids=str)
def test_times_are_only_those_of_the_runs_asked_for(runtime):
    """Large batches before must not show: OpenVINO tells averages of all that it ever ran."""
    bundle = open_bundle(find_bundle())
    slices = random_slices(bundle.preprocessing, 16)

    def one_slice_ms(before: int) -> float:
        with open_runtime(bundle, options(runtime, Precision.INT8)) as run:
            for _ in range(before):
                run(slices)
            return sum(np.median(each.ms) for each in run.layer_times(slices[:1], 6))

    # An average that held them would be eight times as long.
    assert one_slice_ms(before=8) < 4 * one_slice_ms(before=0)


def test_onnx_runtime_tells_each_run_and_no_other(tiny):
    with open_runtime(tiny, options(RuntimeName.ONNXRUNTIME, Precision.INT8)) as run:
        for _ in range(4):
            run(tiny_images(1))
        times = run.layer_times(tiny_images(2), 3)
        assert run.layer_times(tiny_images(2), 3) == []
    assert times and {len(each.ms) for each in times} == {3}


@pytest.mark.parametrize("runtime", RUNTIMES, ids=str)
def test_a_runtime_not_opened_for_it_tells_none(tiny, runtime):
    with open_runtime(tiny, options(runtime, Precision.INT8, timed=False)) as run:
        assert run.layer_times(tiny_images(1), 1) == []


def test_onnx_runtimes_file_of_times_is_gone_after(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with open_runtime(tiny, options(RuntimeName.ONNXRUNTIME, Precision.INT8)) as run:
        run(tiny_images(1))
        assert list(tmp_path.rglob("layers*"))
    assert not list(tmp_path.iterdir())


def test_a_file_of_times_is_gone_after_a_failure(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with (
        pytest.raises(ZeroDivisionError),
        open_runtime(tiny, options(RuntimeName.ONNXRUNTIME, Precision.INT8)),
    ):
        raise ZeroDivisionError
    assert not list(Path(tmp_path).iterdir())


def test_a_graph_without_shapes_is_named():
    graph = tiny_graph()
    graph.graph.input[0].type.tensor_type.ClearField("shape")
    graph.graph.input[0].type.tensor_type.shape.dim.add()
    with pytest.raises(GraphShapeError, match="at stem is not known"):
        layer_work(graph.SerializeToString())

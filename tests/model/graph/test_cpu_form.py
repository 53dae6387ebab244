"""INT8 on the processor at hand: what the kernels compute is what the pairs define."""

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from neuroscan_edge.model.graph.cpu_form import load_cpu_int8, to_cpu_int8, with_ranked_scalars
from neuroscan_edge.model.graph.quantize import QuantizationPlan, to_int8
from neuroscan_edge.spec import RuntimeName
from neuroscan_edge.system.machine import this_machine

KERNEL_ROUNDING = 1e-3
SATURATION = 0.1
"""Relative to the largest output. Sums that saturate are off by a third and more here."""

CHANNELS, SIDE = 32, 12
REACH = {"x": (0.0, 1.0), "a": (0.0, 400.0), "b": (0.0, 400.0)}


@pytest.fixture(scope="module")
def large_sums() -> onnx.ModelProto:
    """Two convolutions of positive weights on positive inputs: sums as large as they can be."""
    rng = np.random.default_rng(0)
    weights = {
        name: rng.normal(1, 0.2, (CHANNELS, CHANNELS, 3, 3)).clip(0.1).astype(np.float32)
        for name in ("w", "v")
    }
    same = {"pads": [1, 1, 1, 1]}
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], name="first", **same),
        helper.make_node("Relu", ["a"], ["b"], name="relu"),
        helper.make_node("Conv", ["b", "v"], ["y"], name="second", **same),
    ]
    shape = ["batch", CHANNELS, SIDE, SIDE]
    graph = helper.make_graph(
        nodes,
        "large_sums",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(values, name) for name, values in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return to_int8(model, REACH, QuantizationPlan())


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    rng = np.random.default_rng(1)
    return rng.uniform(0.5, 1, (2, CHANNELS, SIDE, SIDE)).astype(np.float32)


def on_onnxruntime(data: bytes, images: np.ndarray, *, simulate: bool = False) -> np.ndarray:
    options = ort.SessionOptions()
    options.log_severity_level = 3
    if simulate:
        options.add_session_config_entry("session.disable_quant_qdq", "1")
    session = ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    return session.run(None, {"x": images})[0]


def on_openvino(data: bytes, images: np.ndarray) -> np.ndarray:
    openvino = pytest.importorskip("openvino")
    core = openvino.Core()
    compiled = core.compile_model(core.read_model(data), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return compiled([images])["y"]


RUNNERS = {RuntimeName.ONNXRUNTIME: on_onnxruntime, RuntimeName.OPENVINO: on_openvino}


def error(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.abs(found - expected).max() / np.abs(expected).max())


@pytest.mark.parametrize("runtime", RUNNERS, ids=str)
def test_no_sum_saturates_on_this_processor(large_sums, images, runtime):
    expected = on_onnxruntime(large_sums.SerializeToString(), images, simulate=True)
    found = RUNNERS[runtime](load_cpu_int8(large_sums.SerializeToString(), runtime), images)
    assert error(found, expected) < KERNEL_ROUNDING


@pytest.mark.parametrize("runtime", RUNNERS, ids=str)
@pytest.mark.skipif(this_machine().exact_int8, reason="this processor's INT8 sums are exact")
def test_the_form_for_vnni_saturates_without_it(large_sums, images, runtime):
    """Why there are two forms; and that the test above can fail."""
    expected = on_onnxruntime(large_sums.SerializeToString(), images, simulate=True)
    wrong = to_cpu_int8(large_sums, runtime, exact_int8=True).SerializeToString()
    assert error(RUNNERS[runtime](wrong, images), expected) > SATURATION


@pytest.mark.parametrize("exact_int8", [True, False], ids=["vnni", "no vnni"])
def test_no_form_of_pairs_changes_a_value(large_sums, images, exact_int8):
    form = to_cpu_int8(large_sums, RuntimeName.OPENVINO, exact_int8=exact_int8).SerializeToString()
    np.testing.assert_array_equal(
        on_onnxruntime(form, images, simulate=True),
        on_onnxruntime(large_sums.SerializeToString(), images, simulate=True),
    )


@pytest.mark.parametrize(
    ("exact_int8", "runtime", "dtype"),
    [
        (True, RuntimeName.ONNXRUNTIME, np.int8),
        (False, RuntimeName.ONNXRUNTIME, np.uint8),
        (True, RuntimeName.OPENVINO, np.int8),
        (False, RuntimeName.OPENVINO, np.uint8),
    ],
)
def test_weights_are_signed_only_where_sums_are_exact(large_sums, exact_int8, runtime, dtype):
    form = to_cpu_int8(large_sums, runtime, exact_int8=exact_int8)
    stored = {each.name: numpy_helper.to_array(each) for each in form.graph.initializer}
    assert stored["w/quantized"].dtype == stored["w/zero_point"].dtype == dtype


@pytest.mark.parametrize("dims", [(), (1,)], ids=["rank 0", "rank 1"])
def test_scalars_beside_grey_images_get_their_rank(dims):
    images = np.random.default_rng(2).integers(0, 256, (3, SIDE, SIDE, 1), np.uint8)
    constants = {"unit": np.full(dims, 1 / 255), "shift": np.full(dims, -0.5), "wide": np.ones(3)}
    nodes = [
        helper.make_node("Cast", ["image"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["f", "unit"], ["m"]),
        helper.make_node("Sub", ["shift", "m"], ["s"]),
        helper.make_node("Mul", ["s", "unit"], ["t"]),
        helper.make_node("Add", ["t", "wide"], ["y"]),
        helper.make_node("Mul", ["y", "unit"], ["z"]),
    ]
    graph = helper.make_graph(
        nodes,
        "grey",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["batch", SIDE, SIDE, 1])],
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, ["batch", SIDE, SIDE, 3])],
        [numpy_helper.from_array(np.float32(each), name) for name, each in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    before = model.SerializeToString()
    made = with_ranked_scalars(model)
    assert model.SerializeToString() == before
    assert [list(node.input) for node in made.graph.node] == [
        ["image"], ["f", "unit/rank4"], ["shift/rank4", "m"], ["s", "unit/rank4"], ["t", "wide"],
        ["y", "unit"],
    ]  # fmt: skip
    onnx.checker.check_model(made, full_check=True)

    def result(each: onnx.ModelProto) -> np.ndarray:
        session = ort.InferenceSession(each.SerializeToString(), providers=["CPUExecutionProvider"])
        return session.run(None, {"image": images})[0]

    np.testing.assert_array_equal(result(made), result(model))

    # A scalar that a caller may give as well is no constant.
    model.graph.input.append(helper.make_tensor_value_info("unit", TensorProto.FLOAT, dims))
    open_ended = with_ranked_scalars(model)
    assert [node.input[1] for node in open_ended.graph.node[1:2]] == ["unit"]
    np.testing.assert_array_equal(result(open_ended), result(model))

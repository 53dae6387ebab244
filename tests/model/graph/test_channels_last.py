"""INT8 graphs channels last: the integers are those of ONNX Runtime's own fusions."""

from collections import Counter

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from neuroscan_edge.model.bundle import find_bundle, open_bundle
from neuroscan_edge.model.graph.channels_last import to_channels_last
from neuroscan_edge.model.graph.layer_plan import layer_plan
from neuroscan_edge.model.graph.quantize import FLOAT_SUMS, QuantizationPlan, to_int8, to_unsigned
from neuroscan_edge.runtimes.self_test import probe_slices
from neuroscan_edge.spec import Precision
from neuroscan_edge.system.machine import this_machine
from support.tiny_models import observed_ranges, tiny_graph, tiny_images

LAST_DIGITS = 2e-6
"""Relative to the largest value: what floats lose that are summed in another order."""

CHANNELS, SIDE = 8, 12


def run(model, inputs, optimised_to=None):
    options = ort.SessionOptions()
    options.log_severity_level = 3
    if optimised_to is not None:
        options.optimized_model_filepath = str(optimised_to)
    data = model.SerializeToString()
    session = ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    return dict(zip([each.name for each in session.get_outputs()], session.run(None, inputs),
                    strict=True))  # fmt: skip


def unsigned(model):
    return to_unsigned(model, weights=not this_machine().exact_int8)


def assert_same(model, inputs):
    plain = unsigned(model)
    expected, found = run(plain, inputs), run(to_channels_last(plain), inputs)
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        assert np.ptp(values) > 0, "a constant would show nothing"
        error = np.abs(found[name] - values).max() / np.abs(values).max()
        assert error <= LAST_DIGITS, name
    return to_channels_last(plain)


def operators(model):
    return Counter(node.op_type for node in model.graph.node)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("plan", "in_float"),
    # A float sum takes the first convolution's result as it is: no integers come of it.
    [(QuantizationPlan(), 0), (QuantizationPlan(FLOAT_SUMS), 1)],
    ids=["all", "float sums"],
)
def test_a_residual_network_says_the_same(seed, plan, in_float):
    fp32 = tiny_graph(seed)
    int8 = to_int8(fp32, observed_ranges(fp32, tiny_images(32)), plan)
    found = operators(assert_same(int8, {"image": tiny_images(16, seed + 1)}))
    assert found["QLinearConv"] + found["MatMulIntegerToFloat"] == 4 - in_float
    assert found["Conv"] == in_float
    # In, and out to the mean over pixels; a float convolution's result comes in once more.
    assert found["Transpose"] <= 3 + in_float


def quantized(nodes, weights, outputs, reach, plan=None):
    """An INT8 graph of x, (batch, 8, 12, 12) float32."""
    values = {name: TensorProto.FLOAT for name in outputs}
    graph = helper.make_graph(
        nodes,
        "case",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", CHANNELS, SIDE, SIDE])],
        [helper.make_tensor_value_info(name, kind, list("nchw")) for name, kind in values.items()],
        [numpy_helper.from_array(np.float32(value), name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    ranges = dict.fromkeys((name for node in nodes for name in (*node.input, *node.output)), reach)
    return to_int8(model, {"x": reach, **ranges}, plan or QuantizationPlan())


RNG = np.random.default_rng(3)
KERNEL = RNG.normal(0, 0.2, (CHANNELS, CHANNELS, 3, 3))
POINT = RNG.normal(0, 0.4, (CHANNELS, CHANNELS, 1, 1))
BIAS = RNG.normal(0, 0.5, CHANNELS)
SCALE = RNG.uniform(0.5, 2, (1, CHANNELS, 1, 1))
SHIFT = RNG.normal(0, 1, (CHANNELS, 1, 1))
SAME = {"pads": [1, 1, 1, 1]}
REACH = (-8.0, 8.0)


def conv(source, target, weight="k", bias="b", **options):
    inputs = [source, weight, *([bias] if bias else [])]
    return helper.make_node("Conv", inputs, [target], f"{target}/conv", **options)


CASES = {
    "a result channels first": ([conv("x", "a", **SAME), conv("a", "y", **SAME)], ["y"]),
    "strides and groups": (
        [
            conv("x", "a", strides=[2, 2], **SAME),
            conv("a", "c", "depthwise", "", group=CHANNELS, **SAME),
            conv("c", "d", "p"),
            conv("d", "y", "p", strides=[2, 2]),
        ],
        ["y"],
    ),
    "joined channels": (
        [
            conv("x", "a", **SAME),
            conv("x", "c", "p"),
            helper.make_node("Concat", ["a", "c"], ["d"], "join", axis=1),
            conv("d", "e", "wide", **SAME),
            conv("e", "y", "p"),
        ],
        ["y"],
    ),
    "a value for each channel": (
        [
            conv("x", "a", **SAME),
            helper.make_node("Mul", ["a", "scale"], ["c"], "scaled"),
            helper.make_node("Add", ["c", "shift"], ["d"], "shifted"),
            helper.make_node("Relu", ["d"], ["e"], "relu"),
            conv("e", "y", **SAME),
        ],
        ["y"],
    ),
    "pools": (
        [
            conv("x", "a", **SAME),
            helper.make_node("MaxPool", ["a"], ["c"], "most", kernel_shape=[3, 3],
                             strides=[2, 2], **SAME),
            conv("c", "d", **SAME),
            helper.make_node("AveragePool", ["d"], ["e"], "mean", kernel_shape=[2, 2]),
            conv("e", "y", "p"),
        ],
        ["y"],
    ),
    "rounding behind a product": (
        [
            conv("x", "a", **SAME),
            conv("a", "c", "p"),
            helper.make_node("Clip", ["c", "zero", "six"], ["d"], "relu6"),
            conv("d", "y", **SAME),
        ],
        ["y"],
    ),
    "pools without a name": (
        [
            conv("x", "a", **SAME),
            helper.make_node("MaxPool", ["a"], ["c"], kernel_shape=[2, 2]),
            conv("c", "d", **SAME),
            helper.make_node("MaxPool", ["d"], ["e"], kernel_shape=[2, 2]),
            conv("e", "y", "p"),
        ],
        ["y"],
    ),
    "joined with a constant": (
        [
            conv("x", "a", **SAME),
            helper.make_node("GlobalAveragePool", ["a"], ["c"], "mean"),
            conv("c", "d", "p"),
            helper.make_node("Concat", ["d", "scale"], ["e"], "join", axis=1),
            conv("e", "y", "widen"),
        ],
        ["y"],
    ),
    "a convolution in float that a shortcut reads too": (
        [
            helper.make_node("Conv", ["x", "k", "b"], ["s"], "stem", **SAME),
            helper.make_node("Relu", ["s"], ["r"], "rectified"),
            conv("r", "a", **SAME),
            conv("a", "c", **SAME),
            helper.make_node("Sigmoid", ["r"], ["g"], "gate"),
            helper.make_node("Add", ["c", "g"], ["y"], "sum"),
        ],
        ["y"],
    ),
    "a shortcut in float and two results": (
        [
            conv("x", "a", **SAME),
            conv("a", "c", **SAME),
            helper.make_node("Sigmoid", ["x"], ["s"], "gate"),
            helper.make_node("Add", ["c", "s"], ["d"], "sum"),
            conv("d", "y", **SAME),
            helper.make_node("GlobalAveragePool", ["d"], ["m"], "pooled"),
        ],
        ["y", "m"],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("nodes", "outputs"), CASES.values(), ids=CASES.keys())
def test_other_structures_say_the_same(nodes, outputs):
    every = {
        "k": KERNEL, "p": POINT, "b": BIAS, "scale": SCALE, "shift": SHIFT,
        "depthwise": RNG.normal(0, 0.4, (CHANNELS, 1, 3, 3)),
        "zero": 0.0, "six": 6.0,
        "widen": RNG.normal(0, 0.3, (CHANNELS, 2 * CHANNELS, 1, 1)),
        "wide": RNG.normal(0, 0.15, (CHANNELS, 2 * CHANNELS, 3, 3)),
    }  # fmt: skip
    used = {name for node in nodes for name in node.input}
    weights = {name: value for name, value in every.items() if name in used}
    model = quantized(nodes, weights, outputs, REACH)
    # A constant is joined to the channels of one image.
    batch = 1 if any("scale" in node.input for node in nodes if node.op_type == "Concat") else 24
    images = RNG.normal(0, 2, (batch, CHANNELS, SIDE, SIDE)).astype(np.float32)
    assert_same(model, {"x": images})


def test_floats_are_transposed_before_they_are_quantized():
    """Behind a float convolution that costs nothing: it puts its result in order anyway."""
    nodes = [
        helper.make_node("Conv", ["x", "k", "b"], ["s"], "stem", **SAME),
        helper.make_node("Relu", ["s"], ["r"], "rectified"),
        conv("r", "a", **SAME),
        conv("a", "y", "p"),
    ]
    plan = QuantizationPlan(keep_float=("stem",))
    model = quantized(nodes, {"k": KERNEL, "p": POINT, "b": BIAS}, ["y"], REACH, plan)
    made = to_channels_last(unsigned(model))
    producers = {node.output[0]: node for node in made.graph.node}
    node = next(node for node in made.graph.node if node.op_type == "QLinearConv")
    before = []
    while node.input[0] in producers:
        node = producers[node.input[0]]
        before.append(node.op_type)
    assert before == ["Clip", "QuantizeLinear", "Transpose", "Conv"]


def test_a_bias_is_rounded_as_onnx_runtime_does(tmp_path):
    nodes = [conv("x", "a", **SAME), conv("a", "c", **SAME), conv("c", "y", "p")]
    weights = {"k": KERNEL, "p": POINT, "b": np.linspace(-30, 30, CHANNELS)}
    plain = unsigned(quantized(nodes, weights, ["y"], REACH))
    images = np.zeros((1, CHANNELS, SIDE, SIDE), np.float32)
    run(plain, {"x": images}, tmp_path / "theirs.onnx")
    theirs = biases(onnx.load(tmp_path / "theirs.onnx"))
    ours = biases(to_channels_last(plain))
    assert len(theirs) == len(ours) == 2
    for one, other in zip(theirs, ours, strict=True):
        np.testing.assert_array_equal(one, other)


def biases(model):
    stored = {each.name: numpy_helper.to_array(each) for each in model.graph.initializer}
    nodes = (node for node in model.graph.node if node.op_type == "QLinearConv")
    return [stored[node.input[8]] for node in nodes if len(node.input) > 8]


def test_a_graph_with_graphs_in_it_is_left_alone():
    body = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["z"])], "then", [],
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, list("nchw"))],
    )  # fmt: skip
    model = tiny_graph()
    model.graph.node.append(
        helper.make_node("If", ["yes"], ["w"], then_branch=body, else_branch=body)
    )
    assert to_channels_last(model) is model


def test_what_is_no_integer_graph_stays_as_it_is():
    fp32 = tiny_graph()
    made = to_channels_last(fp32)
    assert [node.name for node in made.graph.node] == [node.name for node in fp32.graph.node]
    images = {"image": tiny_images(4)}
    np.testing.assert_array_equal(
        run(made, images)["probabilities"], run(fp32, images)["probabilities"]
    )


def test_the_model_given_is_left_alone():
    fp32 = tiny_graph()
    int8 = unsigned(to_int8(fp32, observed_ranges(fp32, tiny_images(8)), QuantizationPlan()))
    before = int8.SerializeToString(deterministic=True)
    one, other = to_channels_last(int8), to_channels_last(int8)
    assert int8.SerializeToString(deterministic=True) == before
    assert one.SerializeToString(deterministic=True) == other.SerializeToString(deterministic=True)


def test_the_shipped_graph_says_the_same_and_hardly_transposes(tmp_path):
    bundle = open_bundle(find_bundle())
    model = onnx.load_from_string(bundle.graph(Precision.INT8).data)
    inputs = {bundle.input_name: probe_slices(*bundle.preprocessing.shape)}
    made = assert_same(model, inputs)
    found = operators(made)
    assert found["QLinearConv"] + found["MatMulIntegerToFloat"] == len(layer_plan(model).int8)
    run(made, inputs, tmp_path / "made.onnx")
    # The image in; two means over pixels out.
    assert operators(onnx.load(tmp_path / "made.onnx"))["Transpose"] <= 3

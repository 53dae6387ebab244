"""Precision as graphs: what is typed, what is quantised, and that the forms agree."""

from collections import Counter

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, numpy_helper

from neuroscan_edge.errors import CalibrationError, ExportError
from neuroscan_edge.model.graph.quantize import (
    FLOAT_SUMS,
    QuantizationPlan,
    channel_scales,
    quantizable_nodes,
    quantized_activations,
    to_fp16,
    to_int8,
    to_unsigned,
)
from support.tiny_models import observed_ranges, tiny_graph, tiny_images

FP16_PROBABILITY_ERROR = 5e-3
INT8_PROBABILITY_ERROR = 0.05
ROW_SUM_ERROR = 1e-6


def run(model: onnx.ModelProto, images: np.ndarray, *, simulate: bool = False) -> np.ndarray:
    options = ort.SessionOptions()
    options.log_severity_level = 3
    if simulate:
        # The reference semantics of Q/DQ: no integer kernels, so no rounding of their own.
        options.add_session_config_entry("session.disable_quant_qdq", "1")
    session = ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return session.run(None, {"image": images})[0]


@pytest.fixture(scope="module")
def fp32() -> onnx.ModelProto:
    return tiny_graph()


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return tiny_images(48, seed=3)


@pytest.fixture(scope="module")
def ranges(fp32: onnx.ModelProto) -> dict[str, tuple[float, float]]:
    return observed_ranges(fp32, tiny_images(32))


@pytest.fixture(scope="module")
def int8(fp32, ranges) -> onnx.ModelProto:
    return to_int8(fp32, ranges, QuantizationPlan())


def test_fp16_types_every_weight_but_keeps_the_softmax_in_float32(fp32, images):
    fp16 = to_fp16(fp32)
    assert {tensor.data_type for tensor in fp16.graph.initializer} == {TensorProto.FLOAT16}
    assert fp16.graph.output[0].type.tensor_type.elem_type == TensorProto.FLOAT
    probabilities = run(fp16, images)
    assert np.abs(probabilities - run(fp32, images)).max() < FP16_PROBABILITY_ERROR
    assert np.abs(probabilities.sum(axis=1) - 1).max() < ROW_SUM_ERROR


def test_fp16_refuses_a_weight_that_overflows(fp32):
    large = onnx.ModelProto.FromString(fp32.SerializeToString())
    weight = next(each for each in large.graph.initializer if each.name == "stem/b")
    weight.CopyFrom(numpy_helper.from_array(np.full(8, 7e4, np.float32), "stem/b"))
    with pytest.raises(ExportError, match="stem/b exceeds 65504"):
        to_fp16(large)


def test_int8_decides_as_fp32(fp32, int8, images):
    expected, found = run(fp32, images), run(int8, images, simulate=True)
    assert np.abs(found - expected).max() < INT8_PROBABILITY_ERROR
    assert len(set(expected.argmax(axis=1))) > 1, "a probe set of one class would prove nothing"


def test_int8_is_symmetric_with_float_biases(int8):
    zero_points = [
        numpy_helper.to_array(tensor)
        for tensor in int8.graph.initializer
        if "zero_point" in tensor.name
    ]
    assert zero_points
    assert all(each.dtype == np.int8 and not each.any() for each in zero_points)
    biases = [tensor for tensor in int8.graph.initializer if tensor.name.endswith("/b")]
    assert {tensor.data_type for tensor in biases} == {TensorProto.FLOAT}


def test_weights_are_stored_as_int8_per_output_channel(int8, fp32):
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in int8.graph.initializer}
    original = {tensor.name: numpy_helper.to_array(tensor) for tensor in fp32.graph.initializer}
    assert "stem/w" not in stored
    integers, scale = stored["stem/w/quantized"], stored["stem/w/scale"]
    assert integers.dtype == np.int8
    assert scale.shape == (8,)
    half_a_step = scale[:, None, None, None] / 2 * (1 + 1e-5)
    restored = integers * scale[:, None, None, None]
    assert (np.abs(restored - original["stem/w"]) <= half_a_step).all()


def test_scaling_head_and_softmax_stay_in_float(fp32):
    names = {node.name for node in quantizable_nodes(fp32, QuantizationPlan())}
    assert names.isdisjoint({"cast", "scale", "planes", "flatten", "head", "head_bias", "softmax"})
    assert {"stem", "depthwise", "pointwise", "residual", "pool", "mean"} <= names


def test_no_range_is_spent_between_a_convolution_and_its_relu(fp32):
    names = quantized_activations(fp32, QuantizationPlan())
    assert "a" not in names, "the stem's output before its ReLU"
    assert "b" in names
    assert "e" in names, "the residual sum feeds a ReLU and the next sum: it is quantised"


@pytest.mark.parametrize(
    ("plan", "absent"),
    [
        (QuantizationPlan(depthwise=False), "depthwise/w/quantized"),
        (QuantizationPlan(keep_float=("stem",)), "stem/w/quantized"),
        (QuantizationPlan(operators=("Conv",)), "g/quantized"),
        (QuantizationPlan(operators=FLOAT_SUMS), "e/quantized"),
    ],
    ids=["depthwise off", "one layer off", "convolutions only", "float sums"],
)
def test_a_plan_keeps_layers_in_float(fp32, ranges, images, plan, absent):
    model = to_int8(fp32, ranges, plan)
    tensors = {tensor.name for tensor in model.graph.initializer}
    outputs = {name for node in model.graph.node for name in node.output}
    assert absent not in tensors | outputs
    found = run(model, images, simulate=True)
    assert np.abs(found - run(fp32, images)).max() < INT8_PROBABILITY_ERROR


def test_float_sums_still_quantise_their_branches(fp32):
    names = quantized_activations(fp32, QuantizationPlan(operators=FLOAT_SUMS))
    assert {"d", "f2"} <= set(names), "the convolutions before the sums"
    assert "e" not in names


def test_unfolded_batch_normalisation_is_not_taken_for_a_residual(fp32):
    model = onnx.ModelProto.FromString(fp32.SerializeToString())
    model.graph.initializer.append(numpy_helper.from_array(np.float32(0.5), "shift"))
    shift = onnx.helper.make_node("Add", ["d", "shift"], ["shifted"], name="shift")
    position = [node.name for node in model.graph.node].index("residual")
    model.graph.node.insert(position, shift)
    model.graph.node[position + 1].input[0] = "shifted"
    names = {node.name for node in quantizable_nodes(model, QuantizationPlan())}
    assert "shift" not in names
    assert "residual" in names


@pytest.mark.parametrize("weights", [False, True], ids=["activations", "weights too"])
def test_unsigned_form_is_identical(int8, images, weights):
    unsigned = to_unsigned(int8, weights=weights)
    np.testing.assert_array_equal(
        run(unsigned, images, simulate=True), run(int8, images, simulate=True)
    )


def test_unsigned_form_clips_integers_instead_of_relu(int8, fp32):
    unsigned = to_unsigned(int8)
    before, after = (Counter(node.op_type for node in each.graph.node) for each in (int8, unsigned))
    assert before["Relu"] == 2
    assert (after["Relu"], after["Clip"]) == (0, 2)
    kinds = {
        tensor.data_type
        for tensor in unsigned.graph.initializer
        if tensor.name == "zero_point/int8"
    }
    assert not kinds, "no signed zero point of an activation is left"


def test_unsigned_form_is_not_accidentally_equal(int8, images):
    """The identity test above must be able to fail: a clip at another level is seen."""
    unsigned = to_unsigned(int8)
    for tensor in unsigned.graph.initializer:
        if tensor.name == "zero_point/uint8":
            tensor.CopyFrom(numpy_helper.from_array(np.array(127, np.uint8), tensor.name))
    different = run(unsigned, images, simulate=True) != run(int8, images, simulate=True)
    assert different.any()


def test_a_relu_that_is_also_an_output_is_kept(int8, images):
    model = onnx.ModelProto.FromString(int8.SerializeToString())
    model.graph.output.append(
        onnx.helper.make_tensor_value_info("b", TensorProto.FLOAT, [None] * 4)
    )
    unsigned = to_unsigned(model)
    assert [node.name for node in unsigned.graph.node if node.op_type == "Relu"] == ["stem_relu"]
    (quantize,) = (node for node in unsigned.graph.node if node.output[0] == "b/quantized")
    assert quantize.input[0] == "b", "it clips already"
    np.testing.assert_array_equal(
        run(unsigned, images, simulate=True), run(int8, images, simulate=True)
    )


def test_an_unknown_layer_in_a_plan_is_named(fp32, ranges):
    with pytest.raises(CalibrationError, match="no layer 'sten'; near: stem"):
        to_int8(fp32, ranges, QuantizationPlan(keep_float=("sten",)))


def test_same_inputs_give_same_bytes(fp32, ranges):
    def build() -> list[bytes]:
        model = to_int8(fp32, dict(reversed(ranges.items())), QuantizationPlan())
        forms = (model, to_unsigned(model), to_fp16(fp32))
        return [form.SerializeToString(deterministic=True) for form in forms]

    assert build() == build()


def test_the_fp32_graph_is_left_as_it_was(ranges):
    model = tiny_graph()
    before = model.SerializeToString(deterministic=True)
    to_unsigned(to_int8(model, ranges, QuantizationPlan()))
    to_fp16(model)
    assert model.SerializeToString(deterministic=True) == before


def test_a_missing_range_is_named(fp32, ranges):
    incomplete = {name: bounds for name, bounds in ranges.items() if name != "g"}
    with pytest.raises(CalibrationError, match="no range for g"):
        to_int8(fp32, incomplete, QuantizationPlan())


def test_a_range_that_is_not_finite_is_refused(fp32, ranges):
    with pytest.raises(CalibrationError, match="not finite"):
        to_int8(fp32, {**ranges, "g": (0.0, float("nan"))}, QuantizationPlan())


def test_a_channel_of_zeros_has_a_usable_scale():
    weight = np.zeros((3, 2, 1, 1), np.float32)
    weight[1] = -2.54
    np.testing.assert_allclose(channel_scales(weight), [1.0, 0.02, 1.0])

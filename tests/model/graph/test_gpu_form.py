"""The GPU form of an INT8 graph, and the plan that is read from a graph."""

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, numpy_helper

from neuroscan_edge.errors import ExportError
from neuroscan_edge.model.bundle import find_bundle, open_bundle
from neuroscan_edge.model.graph.gpu_form import to_gpu_int8
from neuroscan_edge.model.graph.layer_plan import LayerPlan, layer_plan
from neuroscan_edge.model.graph.quantize import FLOAT_SUMS, QuantizationPlan, to_fp16, to_int8
from neuroscan_edge.spec import Precision
from support.tiny_models import calibrated_bundle, observed_ranges, tiny_graph, tiny_images

FLIPPED_STEPS_PROBABILITY_ERROR = 0.02
"""Rounding to float16 moves some activations to the next INT8 step."""
ONE_FP16_STEP = 2.0**-10
ROW_SUM_ERROR = 1e-6


@pytest.fixture(scope="module")
def int8() -> onnx.ModelProto:
    return quantized(QuantizationPlan())


def quantized(plan: QuantizationPlan) -> onnx.ModelProto:
    fp32 = tiny_graph()
    return to_int8(fp32, observed_ranges(fp32, tiny_images(32)), plan)


def run(model: onnx.ModelProto, images: np.ndarray) -> np.ndarray:
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    session = ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return session.run(None, {"image": images})[0]


def arrays(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    return {each.name: numpy_helper.to_array(each) for each in model.graph.initializer}


def test_the_gpu_form_holds_int8_and_float16_and_a_float32_softmax(int8):
    form = to_gpu_int8(int8)
    kinds = {each.data_type for each in form.graph.initializer}
    assert kinds == {TensorProto.INT8, TensorProto.FLOAT16}
    assert form.graph.output[0].type.tensor_type.elem_type == TensorProto.FLOAT
    inferred = onnx.shape_inference.infer_shapes(form, strict_mode=True)
    types = {value.name: value.type.tensor_type.elem_type for value in inferred.graph.value_info}
    softmax = next(node for node in form.graph.node if node.op_type == "Softmax")
    assert types[softmax.input[0]] == TensorProto.FLOAT
    convolutions = [node for node in form.graph.node if node.op_type == "Conv"]
    assert {types[node.output[0]] for node in convolutions} == {TensorProto.FLOAT16}
    assert form.ir_version >= 9
    assert next(each.version for each in form.opset_import if not each.domain) >= 19


def test_the_gpu_form_decides_as_the_int8_graph(int8):
    images = tiny_images(48, seed=3)
    expected, found = run(int8, images), run(to_gpu_int8(int8), images)
    assert np.abs(found - expected).max() < FLIPPED_STEPS_PROBABILITY_ERROR
    assert np.abs(found.sum(axis=1) - 1).max() < ROW_SUM_ERROR


def test_the_gpu_form_comes_from_the_int8_graph_alone_and_is_the_same_twice(int8):
    before = int8.SerializeToString(deterministic=True)
    once, twice = (to_gpu_int8(int8).SerializeToString(deterministic=True) for _ in range(2))
    assert once == twice
    assert int8.SerializeToString(deterministic=True) == before


def test_ordinary_scales_keep_every_integer(int8):
    before, after = arrays(int8), arrays(to_gpu_int8(int8))
    weights = [name for name in before if name.endswith("/quantized")]
    assert weights
    for name in weights:
        np.testing.assert_array_equal(after[name], before[name])
        scale = name.replace("/quantized", "/scale")
        ratio = after[scale].astype(np.float64) / before[scale]
        assert ((ratio >= 1) & (ratio <= 1 + ONE_FP16_STEP)).all()


@pytest.mark.parametrize("shrink", [2.0**-12, 2.0**-16, 2.0**-20], ids=["few", "tiny", "least"])
def test_a_scale_below_float16_moves_no_weight_by_more_than_half_a_step(int8, shrink):
    """Equalization divides by powers of two: a channel's scale may leave the normal range."""
    small = onnx.ModelProto.FromString(int8.SerializeToString())
    scale = next(each for each in small.graph.initializer if each.name == "stem/w/scale")
    values = numpy_helper.to_array(scale).copy()
    values[0] *= shrink
    scale.CopyFrom(numpy_helper.from_array(values, scale.name))
    before, after = arrays(small), arrays(to_gpu_int8(small))
    exact = before["stem/w/quantized"][0].astype(np.float64) * values[0]
    step = float(after["stem/w/scale"][0])
    assert step > 0
    moved = np.abs(after["stem/w/quantized"][0] * step - exact).max()
    assert moved <= step / 2 * (1 + 1e-9)
    assert np.abs(moved) < np.abs(exact).max() or np.abs(exact).max() < step


def test_an_activation_step_that_float16_cannot_hold_is_refused(int8):
    small = onnx.ModelProto.FromString(int8.SerializeToString())
    scale = next(each for each in small.graph.initializer if each.name == "b/scale")
    scale.CopyFrom(numpy_helper.from_array(np.float32(1e-8), scale.name))
    with pytest.raises(ExportError, match="the INT8 step of b is below"):
        to_gpu_int8(small)


def test_the_plan_names_convolutions_branches_and_chains(int8):
    plan = layer_plan(int8)
    assert plan.int8 == ("stem", "depthwise", "pointwise", "pointwise_again")
    assert plan.float_layers == ()
    assert set(plan.others_int8) >= {"residual", "residual_again", "pool", "mean"}
    assert "residual <- b" in plan.residual_branches
    assert plan.chains == (("stem", "depthwise", "pointwise"), ("pointwise_again",))


@pytest.mark.parametrize(
    ("plan", "kept"),
    [
        (QuantizationPlan(depthwise=False), ("depthwise",)),
        (QuantizationPlan(keep_float=("stem", "pointwise")), ("stem", "pointwise")),
        (QuantizationPlan(operators=FLOAT_SUMS), ()),
    ],
    ids=["depthwise off", "two layers off", "float sums"],
)
def test_the_plan_follows_what_was_asked_for(plan, kept):
    found = layer_plan(to_gpu_int8(quantized(plan)))
    assert found.float_layers == kept
    assert set(found.int8).isdisjoint(kept)
    assert all(set(chain).isdisjoint(kept) for chain in found.chains)


def test_a_convolution_that_a_sum_in_float_reads_has_no_int8_output():
    plan = layer_plan(quantized(QuantizationPlan(operators=("Conv",))))
    assert "stem" in plan.int8
    assert "stem" not in plan.int8_out
    assert "depthwise" in plan.int8_out


def test_a_graph_without_pairs_plans_nothing():
    assert layer_plan(to_fp16(tiny_graph())) == LayerPlan(
        float_layers=("stem", "depthwise", "pointwise", "pointwise_again")
    )


def test_quantizing_records_the_layers_in_the_bundle(tmp_path):
    bundle = calibrated_bundle(tmp_path / "tiny", QuantizationPlan(depthwise=False))
    layers = bundle.manifest["quantization"]["layers"]
    assert layers["float_convolutions"] == ["depthwise"]
    graph = onnx.load_from_string(bundle.graph(Precision.INT8).data)
    assert layers == layer_plan(graph).to_json()


def test_the_default_bundle_gives_a_gpu_form_with_nothing_but_what_is_tracked():
    bundle = open_bundle(find_bundle())
    form = to_gpu_int8(onnx.load_from_string(bundle.graph(Precision.INT8).data))
    plan = layer_plan(form)
    assert len(plan.int8) > len(plan.float_layers)
    convolutions = [node for node in form.graph.node if node.op_type == "Conv"]
    assert len(plan.int8) + len(plan.float_layers) == len(convolutions)

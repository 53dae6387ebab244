"""Reading what an engine runs in which precision, from every listing that runtimes give."""

import json

import pytest

from neuroscan_edge.errors import LayerPrecisionError
from neuroscan_edge.model.engine.layers import (
    BuiltLayer,
    compare_layers,
    inspected_layers,
    listed_layers,
    require_planned,
)
from neuroscan_edge.model.graph.layer_plan import LayerPlan

PLAN = LayerPlan(int8=("stem", "depthwise", "pointwise"), others_int8=("pool",))

# As TensorRT for RTX 1.7 logs them.
RTX_INT8 = (
    "Name: stem_myl0_13, LayerType: correlation, Inputs: [ { Name: a, Dimensions: [-1,128,55,55], "
    "Strides: [387200,1,7040,128], StrideOrder: [3,0,2,1], Datatype: Int8, Format: (NHWC) Channel "
    "major format }, { Name: scale, Dimensions: [1], Strides: [1], StrideOrder: [0], Datatype: "
    "Float, Format: (Linear) Row major linear format }], Constants: [], Outputs: [ { Name: b, "
    "Dimensions: [-1,128,55,55], Datatype: Float, Format: x }], TacticName: t, StreamId: 0, "
    "Metadata: "
)
RTX_CONVERSION = RTX_INT8.replace("stem_myl0_13", "__myl_Cast_myl0_2").replace(
    "correlation", "kgen"
)
# As TensorRT 10's inspector returns them, detailed.
INSPECTED = {
    "Layers": [
        {
            "Name": "Reformatting CopyNode for Input Tensor 0 to stem",
            "LayerType": "Reformat",
            "Inputs": [{"Name": "x", "Format/Datatype": "Row major linear FP16 format"}],
            "Metadata": "",
        },
        {
            "Name": "stem/weight + QuantizeLinear_2 + stem + PWN(relu)",
            "LayerType": "CaskConvolution",
            "Inputs": [{"Name": "x", "Format/Datatype": "Row major Int8 format"}],
            "Metadata": "[ONNX Layer: stem]\x1e[ONNX Layer: relu]",
        },
        {
            "Name": "__myl_0",
            "LayerType": "CaskConvolution",
            "Inputs": [{"Name": "y", "Format/Datatype": "Channel major FP16 format"}],
            "Metadata": "[ONNX Layer: depthwise]",
        },
    ]
}


def layer(name: str, precision: str, kind: str = "correlation") -> BuiltLayer:
    return BuiltLayer((name,), kind, precision)


def test_a_logged_listing_is_read():
    layers = listed_layers(["Engine Layer Information:", RTX_INT8, RTX_CONVERSION, "", "other"])
    assert layers == [
        BuiltLayer(("stem",), "correlation", "int8"),
        BuiltLayer(("__myl_Cast",), "kgen", "int8"),
    ]
    assert [each.computes for each in layers] == [True, False]


def test_an_inspected_engine_is_read_through_fused_names_and_metadata():
    layers = inspected_layers(json.dumps(INSPECTED))
    assert [each.precision for each in layers] == ["fp16", "int8", "fp16"]
    assert "stem" in layers[1].names
    assert "depthwise" in layers[2].names


def test_an_engine_without_detail_gives_no_layers():
    assert inspected_layers(json.dumps({"Layers": ["stem", "pool"]})) == []


def test_all_planned_layers_in_int8_pass():
    layers = [layer(name, "int8") for name in PLAN.int8] + [layer("pool", "int8", "maxpool")]
    found = compare_layers(PLAN, layers)
    assert (found.planned, found.found, found.missing) == (3, 3, ())
    require_planned(found, "x")


@pytest.mark.parametrize(
    ("layers", "missing"),
    [
        ([layer("stem", "int8"), layer("depthwise", "fp16"), layer("pointwise", "int8")], 1),
        ([layer("stem", "int8"), layer("pointwise", "int8")], 1),
        (
            [
                layer("stem", "int8"),
                layer("pointwise", "int8"),
                layer("__myl_Cast", "int8", "kgen"),
            ],
            1,
        ),
        ([layer("stem", "int8"), layer("pointwise", "int8"), layer("pool", "int8", "maxpool")], 1),
        ([layer("stem", "fp16"), layer("depthwise", "fp16"), layer("pointwise", "fp16")], 3),
        ([], 3),
    ],
    ids=["one in fp16", "one absent", "a conversion", "a pool", "all in fp16", "nothing"],
)
def test_fewer_layers_in_int8_than_planned_are_listed(layers, missing):
    found = compare_layers(PLAN, layers)
    assert len(found.missing) == missing
    with pytest.raises(LayerPrecisionError, match=f"{3 - missing} of 3 planned.*depthwise"):
        require_planned(found, "x")


def test_a_layer_that_the_engine_renamed_is_credited_once():
    named = [layer("stem", "int8"), layer("__mye6107", "int8", "gemm")]
    assert compare_layers(PLAN, named).missing == ("pointwise",)
    both = [*named, layer("__mye6108", "int8", "gemm")]
    assert compare_layers(PLAN, both).missing == ()


def test_a_renamed_layer_does_not_excuse_one_that_is_seen_in_float():
    layers = [
        layer("stem", "int8"),
        layer("depthwise", "fp16"),
        layer("pointwise", "int8"),
        layer("__mye6107", "int8", "gemm"),
    ]
    assert compare_layers(PLAN, layers).missing == ("depthwise",)

"""Equalization: the same function, from channels of like ranges."""

import cv2
import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from neuroscan_edge.errors import CalibrationError
from neuroscan_edge.model.bundle import GRAPHS, Bundle, new_manifest, write_files
from neuroscan_edge.model.calibration import (
    CalibrationOptions,
    CalibrationTable,
    calibrate,
    quantize_bundle,
)
from neuroscan_edge.model.graph.equalize import (
    LARGEST_EXPONENT,
    Link,
    equalization_exponents,
    equalize,
    links,
)
from neuroscan_edge.model.graph.quantize import QuantizationPlan, quantized_activations, to_int8
from neuroscan_edge.scans.dataset import Split, load_split
from neuroscan_edge.spec import Precision
from support.tiny_models import LABELS, SPEC, activations, tiny_graph, tiny_images

IMAGES = tiny_images(24)
SPREAD = 0.05
"""Channels of the graph below differ this much from one to the next."""


def uneven_graph() -> ModelProto:
    """Convolutions whose channels reach from 1 to 1/1000 of the widest."""
    rng = np.random.default_rng(5)
    uneven = np.geomspace(1, 1e-3, 6).reshape(6, 1, 1, 1)
    weights = {
        "unit": np.float32(1 / 255),
        "stem/w": rng.normal(0, 0.5, (6, 1, 3, 3)) * uneven,
        "stem/b": rng.normal(0, 0.2, 6) * uneven.reshape(6),
        "depthwise/w": rng.normal(0, 0.5, (6, 1, 3, 3)) / uneven,
        "dense/w": rng.normal(0, 0.4, (6, 6, 1, 1)) * uneven,
        "dense/b": rng.normal(0, 0.2, 6) * uneven.reshape(6),
        "last/w": rng.normal(0, 0.4, (4, 6, 1, 1)) / uneven.reshape(1, 6, 1, 1),
        "side/w": rng.normal(0, 0.4, (4, 4, 1, 1)),
    }
    same = {"pads": [1, 1, 1, 1]}
    make = helper.make_node
    nodes = [
        make("Cast", ["image"], ["real"], name="cast", to=TensorProto.FLOAT),
        make("Mul", ["real", "unit"], ["scaled"], name="scale"),
        make("Transpose", ["scaled"], ["planes"], name="planes", perm=[0, 3, 1, 2]),
        make("Conv", ["planes", "stem/w", "stem/b"], ["a"], name="stem", **same),
        make("Relu", ["a"], ["b"], name="stem_relu"),
        make("Conv", ["b", "depthwise/w"], ["c"], name="depthwise", group=6, **same),
        make("Conv", ["c", "dense/w", "dense/b"], ["d"], name="dense"),
        make("MaxPool", ["d"], ["e"], name="pool", kernel_shape=[2, 2], strides=[2, 2]),
        make("Relu", ["e"], ["f"], name="pool_relu"),
        make("Conv", ["f", "last/w"], ["g"], name="last"),
        # Read twice: what is added must keep its scale.
        make("Conv", ["g", "side/w"], ["h"], name="side"),
        make("Add", ["g", "h"], ["i"], name="sum"),
        make("GlobalAveragePool", ["i"], ["j"], name="mean"),
        make("Flatten", ["j"], ["k"], name="flatten"),
        make("Softmax", ["k"], ["probabilities"], name="softmax"),
    ]
    graph = helper.make_graph(
        nodes,
        "uneven",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["batch", 32, 32, 1])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", 4])],
        [
            numpy_helper.from_array(np.asarray(value, np.float32), name)
            for name, value in weights.items()
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def reaches(model: ModelProto) -> dict[str, np.ndarray]:
    values = activations(model, [link.tensor for link in links(model)], IMAGES)
    return {name: np.abs(value).max(axis=(0, 2, 3)) for name, value in values.items()}


def observed(model: ModelProto) -> dict[str, tuple[float, float]]:
    names = quantized_activations(model, QuantizationPlan())
    values = activations(model, names, IMAGES)
    return {name: (float(value.min()), float(value.max())) for name, value in values.items()}


@pytest.fixture(scope="module")
def graph() -> ModelProto:
    return uneven_graph()


@pytest.fixture(scope="module")
def exponents(graph) -> dict[str, list[int]]:
    return equalization_exponents(graph, reaches(graph))


def test_links_go_through_relu_and_pooling_and_stop_where_a_tensor_is_read_twice(graph):
    assert links(graph) == [
        Link("stem", "depthwise", "b", depthwise=True),
        Link("depthwise", "dense", "c", depthwise=False),
        Link("dense", "last", "f", depthwise=False),
    ]


def test_convolutions_with_shared_weights_are_left_alone(graph):
    shared = ModelProto.FromString(graph.SerializeToString())
    next(each for each in shared.graph.node if each.name == "side").input[1] = "last/w"
    assert [link.producer for link in links(shared)] == ["stem", "depthwise"]
    # The tiny classifier uses its pointwise weights twice.
    assert [link.producer for link in links(tiny_graph())] == []


def test_the_graph_computes_what_it_did(graph, exponents):
    before = activations(graph, ["g"], IMAGES)["g"]
    after = activations(equalize(graph, exponents), ["g"], IMAGES)["g"]
    assert all(any(powers) for powers in exponents.values())
    np.testing.assert_array_equal(after, before)


def test_channels_before_a_depthwise_convolution_reach_alike(graph, exponents):
    before, after = reaches(graph)["b"], reaches(equalize(graph, exponents))["b"]
    assert before.min() / before.max() < SPREAD
    # Powers of two leave a factor of at most two between any two.
    assert after.min() / after.max() >= 0.5
    assert after.max() == pytest.approx(before.max(), rel=1.0)


def test_the_spread_before_a_dense_convolution_is_shared(graph, exponents):
    before, after = reaches(graph)["f"], reaches(equalize(graph, exponents))["f"]
    alive = before > 0
    assert alive.sum() > 3
    before, after = before[alive], after[alive]
    assert after.min() / after.max() > 5 * before.min() / before.max()


def test_int8_comes_nearer(graph, exponents):
    even = equalize(graph, exponents)
    expected = activations(graph, ["k"], IMAGES)["k"]
    errors = [
        np.abs(
            activations(to_int8(model, observed(model), QuantizationPlan()), ["k"], IMAGES)["k"]
            - expected
        ).mean()
        for model in (graph, even)
    ]
    assert errors[1] < errors[0] / 2


def test_dead_channels_keep_their_scale(graph):
    reach = reaches(graph)
    reach["b"][2] = 0
    reach["b"][3] = 1e-30
    powers = equalization_exponents(graph, reach)["stem"]
    assert powers[2] == 0
    assert powers[3] == LARGEST_EXPONENT


@pytest.mark.parametrize("value", [np.inf, np.nan])
def test_values_that_are_not_finite_are_named(graph, value):
    reach = reaches(graph)
    reach["c"][1] = value
    with pytest.raises(CalibrationError, match="c took values that are not finite"):
        equalization_exponents(graph, reach)


def test_exponents_of_another_graph_are_refused(graph, exponents):
    with pytest.raises(CalibrationError, match="3 layers differ; calibrate this bundle again"):
        equalize(tiny_graph(), exponents)
    short = {**exponents, "stem": exponents["stem"][:-1]}
    with pytest.raises(CalibrationError, match="6 channels for 5 factors"):
        equalize(graph, short)
    far = {**exponents, "stem": [10**6, *exponents["stem"][1:]]}
    with pytest.raises(CalibrationError, match=r"more than 2\^12"):
        equalize(graph, far)


def test_a_table_keeps_its_equalization(exponents):
    kept = {name: tuple(powers) for name, powers in exponents.items()}
    table = CalibrationTable({"b": (0.0, 1.0)}, "a" * 64, "b" * 64, {"seed": 1}, [], kept)
    read = CalibrationTable.from_bytes(table.to_bytes())
    assert read.equalization == kept
    assert read.to_bytes() == table.to_bytes()
    with pytest.raises(CalibrationError, match="malformed"):
        CalibrationTable.from_bytes(table.to_bytes().replace(b'"stem": "', b'"stem": "x '))


@pytest.fixture
def bundle(graph, tmp_path) -> Bundle:
    manifest = new_manifest(
        name="uneven",
        labels=LABELS,
        preprocessing=SPEC,
        input_name="image",
        output_name="probabilities",
        about={"metrics": {}, "recipe": {}, "training_data": {}},
    )
    files = {GRAPHS[Precision.FP32]: graph.SerializeToString()}
    return write_files(tmp_path / "bundle", manifest, files)


@pytest.fixture
def split(tmp_path) -> Split:
    for index, pixels in enumerate(tiny_images(8)):
        folder = tmp_path / "data" / LABELS[index % 4]
        folder.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / f"{index}.png"), pixels)
    return load_split(tmp_path / "data", "training")


def test_calibration_observes_the_equalized_graph(bundle, split):
    table = calibrate(bundle, split, CalibrationOptions(images=8, percentile=100))
    plain = calibrate(bundle, split, CalibrationOptions(images=8, percentile=100, equalize=False))
    assert table.equalization.keys() == {"stem", "depthwise", "dense"}
    assert plain.equalization == {}
    reach = {name: max(map(abs, bounds)) for name, bounds in table.ranges.items()}
    # One range a tensor: it holds the widest channel, which kept its reach.
    before = max(map(abs, plain.ranges["b"]))
    assert before / 2 <= reach["b"] <= before * 2
    assert quantize_bundle(bundle, table).precisions == (Precision.FP32, Precision.INT8)

"""Channels first from the start: the same values, and what cannot be moved stays."""

from collections.abc import Callable

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from neuroscan_edge.model.bundle import find_bundle, open_bundle
from neuroscan_edge.model.graph.planes_first import with_planes_first
from neuroscan_edge.spec import Precision

SIDE = 6
CAST = helper.make_node("Cast", ["image"], ["real"], "cast", to=TensorProto.FLOAT)
UNIT = helper.make_node("Mul", ["real", "unit"], ["grey"], "unit")
REPEAT = helper.make_node("Concat", ["grey"] * 3, ["rgb"], "repeat", axis=3)
SHIFT = helper.make_node("Sub", ["one", "rgb"], ["scaled"], "shift")
FIRST = helper.make_node("Transpose", ["scaled"], ["planes"], "first", perm=[0, 3, 1, 2])
STEM = helper.make_node("Conv", ["planes", "stem"], ["y"], "stem")
SCALING = [CAST, UNIT, REPEAT, SHIFT, FIRST, STEM]


def model_of(nodes: list[NodeProto], outputs: dict[str, int] | None = None) -> ModelProto:
    rng = np.random.default_rng(0)
    constants = {
        "unit": np.float32(1 / 255),
        "one": np.ones((1,)),
        "each": np.arange(3.0),
        "stem": rng.normal(size=(2, 3, 3, 3)),
    }
    ranks = {"y": 4} if outputs is None else outputs
    graph = helper.make_graph(
        nodes,
        "scaling",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["batch", SIDE, SIDE, 1])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None] * rank)
         for name, rank in ranks.items()],
        [numpy_helper.from_array(np.asarray(each, np.float32), name)
         for name, each in constants.items()],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def results(model: ModelProto) -> list[np.ndarray]:
    images = np.random.default_rng(1).integers(0, 256, (3, SIDE, SIDE, 1), np.uint8)
    options = ort.SessionOptions()
    # As written: no operator is folded into another.
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return session.run(None, {"image": images})


def check_same(made: ModelProto, model: ModelProto) -> None:
    onnx.checker.check_model(made, full_check=True)
    for found, expected in zip(results(made), results(model), strict=True):
        np.testing.assert_array_equal(found, expected)


def operators(model: ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


def test_images_are_transposed_and_repeated_as_they_come_in():
    model = model_of(SCALING)
    before = model.SerializeToString()
    made = with_planes_first(model)
    assert model.SerializeToString() == before
    assert operators(made) == ["Transpose", "Concat", "Cast", "Mul", "Sub", "Conv"]
    transposed, repeated, *_ = made.graph.node
    assert list(transposed.input) == ["image"]
    assert list(repeated.input) == [transposed.output[0]] * 3
    assert [each.i for each in repeated.attribute] == [1]
    check_same(made, model)


def test_what_is_read_in_both_layouts_exists_in_both():
    pooled = helper.make_node("ReduceMean", ["scaled"], ["means"], "means", axes=[1, 2])
    again = helper.make_node("Transpose", ["scaled"], ["more"], "again", perm=[0, 3, 1, 2])
    second = helper.make_node("Conv", ["more", "stem"], ["z"], "second")
    nodes = [*SCALING[:4], FIRST, again, pooled, STEM, second]
    made = with_planes_first(model_of(nodes, {"y": 4, "z": 4, "means": 4}))
    # Channels last for the means, channels first once for both convolutions.
    assert operators(made).count("Transpose") == 1
    assert operators(made).count("Sub") == 2
    check_same(made, model_of(nodes, {"y": 4, "z": 4, "means": 4}))


def test_branches_may_repeat_an_image_differently():
    nodes = [CAST, UNIT]
    for copies in (3, 2, 1):
        name = f"x{copies}"
        nodes += [
            helper.make_node("Concat", ["grey"] * copies, [name], name, axis=3),
            helper.make_node("Transpose", [name], [f"t{copies}"], f"t{copies}", perm=[0, 3, 1, 2]),
            helper.make_node("Neg", [f"t{copies}"], [f"y{copies}"], f"y{copies}"),
        ]
    model = model_of(nodes, {"y3": 4, "y2": 4, "y1": 4})
    made = with_planes_first(model)
    assert operators(made).count("Transpose") == 1
    check_same(made, model)


def test_a_factor_that_is_given_is_no_image():
    model = model_of(changed(1, helper.make_node("Mul", ["real", "factor"], ["grey"], "unit")))
    model.graph.input.append(helper.make_tensor_value_info("factor", TensorProto.FLOAT, []))
    made = with_planes_first(model)
    assert operators(made) == operators(model)
    onnx.checker.check_model(made, full_check=True)


def test_an_input_that_only_arithmetic_makes_an_image_stays():
    """A constant of four dimensions gives its own rank to what it is multiplied with."""
    model = model_of(
        [
            CAST,
            helper.make_node("Mul", ["real", "lifting"], ["scaled"], "lift"),
            FIRST,
            helper.make_node("Neg", ["planes"], ["y"], "negate"),
        ]
    )
    model.graph.initializer.append(
        numpy_helper.from_array(np.ones((1,) * 4, np.float32), "lifting")
    )
    del model.graph.input[0].type.tensor_type.shape.dim[3]
    made = with_planes_first(model)
    assert operators(made) == operators(model)
    onnx.checker.check_model(made, full_check=True)


def changed(at: int, *nodes: NodeProto) -> list[NodeProto]:
    return [*SCALING[:at], *nodes, *SCALING[at + 1 :]]


def body() -> tuple[NodeProto, NodeProto]:
    """A graph in the graph, which reads what is around it by name."""
    value = helper.make_tensor_value_info("grey_again", TensorProto.FLOAT, None)
    inner = helper.make_node("Identity", ["grey"], ["grey_again"], "inner")
    graph = helper.make_graph([inner], "body", [], [value])
    yes = numpy_helper.from_array(np.array(True), "yes")
    constant = helper.make_node("Constant", [], ["always"], "always", value=yes)
    return constant, helper.make_node(
        "If", ["always"], ["taken"], "if", then_branch=graph, else_branch=graph
    )


STAYING: dict[str, Callable[[], ModelProto]] = {
    "a constant for each channel": lambda: model_of(
        changed(3, helper.make_node("Sub", ["each", "rgb"], ["scaled"], "shift"))
    ),
    "channels that differ": lambda: model_of(
        changed(
            2,
            helper.make_node("Neg", ["grey"], ["dark"], "negate"),
            helper.make_node("Concat", ["grey", "dark", "grey"], ["rgb"], "repeat", axis=3),
        )
    ),
    "repeated along rows": lambda: model_of(
        [*changed(2, helper.make_node("Concat", ["grey"] * 3, ["rgb"], "repeat", axis=1))[:-1],
         helper.make_node("Neg", ["planes"], ["y"], "negate")],
    ),
    "an operator that is not known": lambda: model_of(
        changed(1, helper.make_node("Sqrt", ["real"], ["grey"], "root"))
    ),
    "another transposition": lambda: model_of(
        changed(4, helper.make_node("Transpose", ["scaled"], ["planes"], "first",
                                    perm=[0, 3, 2, 1]))
    ),
    "two images whose channels broadcast": lambda: model_of(
        [*SCALING[:3], helper.make_node("Add", ["rgb", "grey"], ["both"], "both"),
         helper.make_node("Concat", ["both"] * 2, ["scaled"], "twice", axis=3), FIRST,
         helper.make_node("Neg", ["planes"], ["y"], "negate")],
    ),
    "a result": lambda: model_of(SCALING[:-1], {"planes": 4}),
    "a graph in it": lambda: model_of([*SCALING[:2], *body(), *SCALING[2:]], {"y": 4, "taken": 4}),
}  # fmt: skip


@pytest.mark.parametrize("case", STAYING)
def test_what_cares_for_the_layout_stays(case):
    model = STAYING[case]()
    made = with_planes_first(model)
    assert [node.name for node in made.graph.node] == [node.name for node in model.graph.node]
    check_same(made, model)


def test_the_shipped_graph_joins_planes():
    data = open_bundle(find_bundle()).graph(Precision.INT8).data
    made = with_planes_first(onnx.load_from_string(data))
    joins = [node for node in made.graph.node if node.op_type == "Concat" and "image" in node.name]
    assert [attribute.i for node in joins for attribute in node.attribute] == [1]
    assert sum(node.op_type == "Transpose" for node in made.graph.node) == 1

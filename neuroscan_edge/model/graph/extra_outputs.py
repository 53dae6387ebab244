"""Judging inside the graph: outputs that every runtime gives in the same pass as the probabilities.

What is added computes in float32 whatever the graph's precision, reads tensors that are there and
changes none: the probabilities stay as they were.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import (
    ModelProto,
    NodeProto,
    TensorProto,
    ValueInfoProto,
    checker,
    helper,
    numpy_helper,
    shape_inference,
)

from neuroscan_edge.errors import ExportError
from neuroscan_edge.model.graph.head import Head, find_head
from neuroscan_edge.model.graph.outlier import OutlierLayer
from neuroscan_edge.model.graph.output_names import HEATMAPS, OUTLIER_SCORE, PREFIX

_REDUCE_AXES_ARE_INPUTS = 18
"""From this opset on the axes of ReduceMin are an input."""


class _Additions:
    """Nodes and weights to add to a graph, named after what they serve."""

    def __init__(self, model: ModelProto, part: str) -> None:
        self._model = model
        self._part = f"{PREFIX}{part}"

    def node(self, operator: str, inputs: Sequence[str], name: str, **attributes: Any) -> str:
        """Add a node and return the name of its output."""
        full = f"{self._part}/{name}"
        made: NodeProto = helper.make_node(
            operator, list(inputs), [f"{full}:0"], full, **attributes
        )
        self._model.graph.node.append(made)
        return f"{full}:0"

    def constant(self, values: npt.NDArray[np.generic], name: str) -> str:
        """Add a weight and return its name."""
        full = f"{self._part}/{name}"
        self._model.graph.initializer.append(numpy_helper.from_array(np.asarray(values), full))
        return full

    def output(self, tensor: str, name: str, shape: Sequence[str | int]) -> None:
        """Give the tensor of the last node out under a name."""
        # Renamed, not copied: a runtime may drop a copy and give out its other name.
        assert self._model.graph.node[-1].output[0] == tensor
        self._model.graph.node[-1].output[0] = name
        value = helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape))
        self._model.graph.output.append(value)


def with_outlier_score(model: ModelProto, layers: Sequence[OutlierLayer]) -> ModelProto:
    """Add the output ``outlier_score``, (N,) float32: see `neuroscan_edge.model.graph.outlier`.

    Parameters
    ----------
    model : ModelProto
        Of any precision; one that has the output gets it anew.
    layers : sequence of OutlierLayer
        At least one, of tensors in the graph.

    Raises
    ------
    ExportError
        If the graph lacks a layer's tensor.
    """
    judged = without_outputs(model, (OUTLIER_SCORE,))
    known = {name for node in judged.graph.node for name in node.output}
    squares = []
    for position, layer in enumerate(layers):
        if layer.tensor not in known:
            raise ExportError(
                f"the graph has no tensor {layer.tensor}; fit judging on this very model again"
            )
        add = _Additions(judged, f"outlier/{position}")
        squares.append(_nearest_square(judged, add, layer))
    add = _Additions(judged, "outlier")
    total = squares[0]
    for position, square in enumerate(squares[1:]):
        total = add.node("Add", [total, square], f"sum{position}")
    # Rounding may leave a tiny negative number, whose root is no number.
    root = add.node("Sqrt", [add.node("Relu", [total], "positive")], "root")
    add.output(root, OUTLIER_SCORE, ["batch"])
    return _checked(judged)


def _nearest_square(model: ModelProto, add: _Additions, layer: OutlierLayer) -> str:
    """Squared distance to the nearest class: a tensor (N,)."""
    features, head = layer.tensor, find_head(model)
    if layer.tensor not in {head.pooled, head.penultimate}:
        features = add.node("GlobalAveragePool", [features], "pool")
    flat = add.node("Flatten", [features], "flat", axis=1)
    wide = add.node("Cast", [flat], "float32", to=TensorProto.FLOAT)
    one, two = (add.constant(np.array([axis], np.int64), f"axis{axis}") for axis in (1, 2))
    row = add.node("Unsqueeze", [wide, one], "row")
    apart = add.node("Sub", [row, add.constant(layer.means, "means")], "apart")
    all_squares = add.node("Mul", [apart, apart], "squares")
    outside = add.node("ReduceSum", [all_squares, two], "length", keepdims=0)
    rate = add.constant(np.array(layer.rate, np.float32), "rate")
    scaled = add.node("Mul", [outside, rate], "scaled")
    projected = add.node("MatMul", [apart, add.constant(layer.directions, "directions")], "along")
    inside_squares = add.node("Mul", [projected, projected], "along_squares")
    inside = add.node("ReduceSum", [inside_squares, two], "inside", keepdims=0)
    distances = add.node("Sub", [scaled, inside], "distances")
    if _opset(model) >= _REDUCE_AXES_ARE_INPUTS:
        return add.node("ReduceMin", [distances, one], "nearest", keepdims=0)
    return add.node("ReduceMin", [distances], "nearest", axes=[1], keepdims=0)


def outlier_layers(model: ModelProto) -> tuple[OutlierLayer, ...]:
    """Read back the statistics that `with_outlier_score` put into a graph; empty if none are."""
    weights = {weight.name: weight for weight in model.graph.initializer}
    readers = {node.name: node for node in model.graph.node}
    layers: list[OutlierLayer] = []
    while f"{PREFIX}outlier/{len(layers)}/means" in weights:
        part = f"{PREFIX}outlier/{len(layers)}"
        first = readers.get(f"{part}/pool") or readers[f"{part}/flat"]
        means, directions, rate = (
            numpy_helper.to_array(weights[f"{part}/{name}"])
            for name in ("means", "directions", "rate")
        )
        layers.append(OutlierLayer(first.input[0], means, directions, float(rate)))
    return tuple(layers)


def with_heatmaps(model: ModelProto) -> ModelProto:
    """Add the output ``heatmaps``, (N, C, H, W) float32: Grad-CAM of every class's logit.

    Selvaraju et al., "Grad-CAM" (ICCV 2017): the ReLU of the feature map's channels, each weighted
    by the mean of the logit's gradient over it. Behind the map there are only a mean, a dense
    layer, a ReLU and a dense layer, so that gradient is the product of the dense layers' weights
    where the ReLU lets through, over H times W: no backward pass is needed.

    Raises
    ------
    ExportError
        If the graph has another head.
    """
    drawn = without_outputs(model, (HEATMAPS,))
    head = find_head(drawn)
    height, width = _map_size(drawn, head.feature_map)
    classes = head.class_weight.shape[1]
    add = _Additions(drawn, "heatmaps")
    by_class = _gradients(add, head)
    map_wide = add.node("Cast", [head.feature_map], "map32", to=TensorProto.FLOAT)
    to_rows = add.constant(np.array([0, 0, height * width], np.int64), "rows_shape")
    rows = add.node("Reshape", [map_wide, to_rows], "rows")
    weighted = add.node("MatMul", [by_class, rows], "weighted")
    share = add.constant(np.array(1 / (height * width), np.float32), "share")
    positive = add.node("Relu", [add.node("Mul", [weighted, share], "mean")], "positive")
    to_map = add.constant(np.array([0, classes, height, width], np.int64), "map_shape")
    maps = add.node("Reshape", [positive, to_map], "map")
    add.output(maps, HEATMAPS, ["batch", classes, height, width])
    return _checked(drawn)


def _gradients(add: _Additions, head: Head) -> str:
    """Gradient of each logit by each pooled feature: (N, C, F), or (C, F) without a ReLU."""
    if head.hidden is None:
        return add.constant(np.ascontiguousarray(head.class_weight.T), "class_weight")
    open_units = add.node("Sign", [head.hidden.tensor], "open")
    wide = add.node("Cast", [open_units], "open32", to=TensorProto.FLOAT)
    column = add.node("Unsqueeze", [wide, add.constant(np.array([2], np.int64), "axis2")], "column")
    behind = add.node("Mul", [column, add.constant(head.class_weight, "class_weight")], "behind")
    weight = add.constant(head.hidden.weight, "hidden_weight")
    gradient = add.node("MatMul", [weight, behind], "gradient")
    return add.node("Transpose", [gradient], "by_class", perm=[0, 2, 1])


def without_outputs(
    model: ModelProto, names: Sequence[str] = (OUTLIER_SCORE, HEATMAPS)
) -> ModelProto:
    """Remove what judging added for some outputs; the rest stays byte for byte."""
    parts = tuple(f"{PREFIX}{part}/" for part, name in _PARTS.items() if name in names)
    plain: ModelProto = ModelProto.FromString(model.SerializeToString())
    graph = plain.graph
    for field in (graph.node, graph.initializer):
        for index in reversed(range(len(field))):
            if field[index].name.startswith(parts):
                del field[index]
    for index in reversed(range(len(graph.output))):
        if graph.output[index].name in names:
            del graph.output[index]
    return plain


_PARTS = {"outlier": OUTLIER_SCORE, "heatmaps": HEATMAPS}


def _map_size(model: ModelProto, tensor: str) -> tuple[int, int]:
    inferred = shape_inference.infer_shapes(model).graph
    for value in (*inferred.value_info, *inferred.output):
        if value.name == tensor:
            return _height_and_width(value)
    raise ExportError(f"the size of {tensor} cannot be told; export the model again")


def _height_and_width(value: ValueInfoProto) -> tuple[int, int]:
    dimensions = value.type.tensor_type.shape.dim
    height, width = (int(each.dim_value) for each in dimensions[2:4])
    if not (height and width):
        raise ExportError(f"the size of {value.name} is not fixed; export the model again")
    return height, width


def _opset(model: ModelProto) -> int:
    return next(int(each.version) for each in model.opset_import if each.domain in ("", "ai.onnx"))


def _checked(model: ModelProto) -> ModelProto:
    checker.check_model(model, full_check=True)
    return model

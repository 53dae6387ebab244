"""The least time a graph can take: its operations and bytes against a machine's ceilings.

The roofline bound (Williams, Waterman and Patterson 2009): no kernel is faster than its arithmetic
at the machine's peak, nor than its compulsory traffic at the memory's bandwidth.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from neuroscan_edge.errors import NeuroScanError
from neuroscan_edge.spec import Precision
from neuroscan_edge.system.optional import require

_BYTES = {Precision.FP32: 4, Precision.FP16: 2, Precision.INT8: 1}


class GraphShapeError(NeuroScanError):
    """A graph does not say what its operations are counted from."""


@dataclass(frozen=True, slots=True)
class Work:
    """What one slice costs, whatever runs it.

    Parameters
    ----------
    operations : int
        Multiplications and additions of convolutions and matrix products, two a pair.
    weight_values : int
        Of those layers.
    activation_values : int
        Read and written by those layers, each once.
    """

    operations: int
    weight_values: int
    activation_values: int

    def bytes_a_slice(self, precision: Precision, batch_size: int) -> float:
        """Return the traffic of one slice in a batch, which shares the weights."""
        values = self.activation_values + self.weight_values / batch_size
        return _BYTES[precision] * values


@dataclass(frozen=True, slots=True)
class Ceilings:
    """What the machine was measured to do at best.

    Parameters
    ----------
    operations_per_s : mapping of Precision to float
        Peak of matrix products.
    bytes_per_s : float
        Memory bandwidth.
    """

    operations_per_s: Mapping[Precision, float]
    bytes_per_s: float


@dataclass(frozen=True, slots=True)
class LayerWork:
    """What one convolution or dense layer costs a slice.

    Parameters
    ----------
    names : tuple of str
        Of its node and of what it writes, and of a bias and ReLU behind it and what those write:
        runtimes call a fused layer by any of them.
    kind : str
        ``convolution 1x1``, ``convolution``, ``depthwise convolution`` or ``dense``.
    work : Work
        Of it.
    """

    names: tuple[str, ...]
    kind: str
    work: Work


def count_work(graph: bytes) -> Work:
    """Count the operations and values of an ONNX graph at a batch of one.

    Raises
    ------
    MissingDependencyError
        If onnx is not installed.
    """
    layers = [each.work for each in layer_work(graph)]
    return Work(
        sum(each.operations for each in layers),
        sum(each.weight_values for each in layers),
        sum(each.activation_values for each in layers),
    )


def layer_work(graph: bytes) -> list[LayerWork]:
    """Count the same for each layer, in graph order.

    Raises
    ------
    MissingDependencyError
        If onnx is not installed.
    """
    onnx = require("onnx", extra="cpu", why="to count a graph's operations")
    model = onnx.load_from_string(graph)
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    model = onnx.shape_inference.infer_shapes(model, data_prop=True)
    shapes = _shapes(model.graph)
    fused = _fused(model.graph)
    layers = []
    for node in model.graph.node:
        if node.op_type not in {"Conv", "MatMul", "Gemm"}:
            continue
        parts = [node]
        while parts[-1].output[0] in fused:
            parts.append(fused[parts[-1].output[0]])
        names = tuple(name for part in parts for name in (part.name, part.output[0]))
        wanted = (*node.input[:2], node.output[0]) if node.op_type == "Conv" else node.input[1:2]
        unknown = [name for name in wanted if not shapes.get(name)]
        if unknown:
            raise GraphShapeError(
                f"the shape of {unknown[0]} at {node.name} is not known, which its operations are "
                "counted from; export the graph with its shapes"
            )
        layers.append(LayerWork(names, *_kind_and_work(node, shapes)))
    return layers


def _fused(graph: Any) -> dict[str, Any]:
    """Return the biases and ReLUs of a graph by the tensors that they read."""
    constants = {each.name for each in graph.initializer}
    return {
        name: node
        for node in graph.node
        if node.op_type == "Relu" or (node.op_type == "Add" and constants & set(node.input))
        for name in node.input
        if name not in constants
    }


def _kind_and_work(node: Any, shapes: Mapping[str, tuple[int, ...]]) -> tuple[str, Work]:
    weight = shapes[node.input[1]]
    weights = math.prod(weight)
    if node.op_type != "Conv":
        # One row for one slice, each weight used once.
        return "dense", Work(2 * weights, weights, sum(weight))
    source, target = shapes[node.input[0]], shapes[node.output[0]]
    kind = "convolution"
    if weight[1] == 1 and source[1] > 1:
        kind = "depthwise convolution"
    elif math.prod(weight[2:]) == 1:
        kind = "convolution 1x1"
    # For each value written, as many pairs as one filter has weights.
    operations = 2 * math.prod(target) * math.prod(weight[1:])
    return kind, Work(operations, weights, math.prod(source) + math.prod(target))


def floor_ms(
    work: Work, ceilings: Ceilings, precision: Precision, batch_size: int
) -> dict[str, float]:
    """Return the least milliseconds of a slice, by arithmetic and by memory.

    A precision without a ceiling of its own computes as FP32, as FP16 does on most processors.
    """
    peak = ceilings.operations_per_s.get(precision, ceilings.operations_per_s[Precision.FP32])
    traffic = work.bytes_a_slice(precision, batch_size)
    return {
        "arithmetic": 1000 * work.operations / peak,
        "memory": 1000 * traffic / ceilings.bytes_per_s,
    }


def limit(parts_ms: Mapping[str, float]) -> str:
    """Return what takes most of a slice's time, of the parts that can be told apart."""
    return max(parts_ms, key=lambda name: parts_ms[name])


def _shapes(graph: Any) -> dict[str, tuple[int, ...]]:
    shapes = {each.name: tuple(each.dims) for each in graph.initializer}
    for each in (*graph.input, *graph.value_info, *graph.output):
        shape = tuple(dim.dim_value for dim in each.type.tensor_type.shape.dim)
        shapes.setdefault(each.name, shape)
    return shapes

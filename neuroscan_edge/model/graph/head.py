"""The end of a classifier's graph: pooling, perhaps a dense layer with ReLU, dense, softmax."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from onnx import ModelProto, NodeProto, TensorProto, numpy_helper

from neuroscan_edge.errors import ExportError
from neuroscan_edge.model.graph.output_names import PREFIX

_KEEPS_VALUES = {"Squeeze", "Flatten", "Reshape", "Cast", "DequantizeLinear", "QuantizeLinear"}


@dataclass(frozen=True, slots=True)
class Hidden:
    """A dense layer with ReLU: its output's name, (N, M), and its weight, (F, M) float32."""

    tensor: str
    weight: npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Head:
    """The tensors and weights that decide.

    Parameters
    ----------
    feature_map : str
        What is pooled, (N, F, H, W).
    pooled : str
        Its mean, (N, F).
    class_weight : (M, C) float32
        Of the dense layer that gives the logits; without a hidden layer M is F.
    hidden : Hidden or None
        The dense layer before it.
    """

    feature_map: str
    pooled: str
    class_weight: npt.NDArray[np.float32]
    hidden: Hidden | None

    @property
    def penultimate(self) -> str:
        """What the dense layer of the logits reads, (N, M)."""
        return self.pooled if self.hidden is None else self.hidden.tensor


def find_head(model: ModelProto) -> Head:
    """Follow a graph from its softmax back to the feature map that is pooled.

    Raises
    ------
    ExportError
        If it ends in another way.
    """
    walk = _Walk(model)
    softmax = walk.last("Softmax")
    logits = walk.before(softmax.input[0], {"Add", "MatMul", "Gemm"})
    class_weight, pooled = walk.dense(logits)
    before = walk.before(pooled, {"Relu", "GlobalAveragePool"})
    hidden = None
    if before.op_type == "Relu":
        dense = walk.before(before.input[0], {"Add", "MatMul", "Gemm"})
        weight, pooled = walk.dense(dense)
        hidden = Hidden(before.output[0], weight)
        before = walk.before(pooled, {"GlobalAveragePool"})
    return Head(before.input[0], pooled, class_weight, hidden)


class _Walk:
    """Steps from a tensor to what made it."""

    def __init__(self, model: ModelProto) -> None:
        self._nodes = [node for node in model.graph.node if not node.name.startswith(PREFIX)]
        self._makers = {name: node for node in self._nodes for name in node.output}
        self._weights = {weight.name: weight for weight in model.graph.initializer}

    def last(self, operator: str) -> NodeProto:
        found: NodeProto | None = None
        for node in self._nodes:
            if node.op_type == operator:
                found = node
        if found is not None:
            return found
        raise _no_head(f"it has no {operator}")

    def before(self, tensor: str, operators: set[str]) -> NodeProto:
        node: NodeProto | None = self._makers.get(tensor)
        while node is not None and node.op_type in _KEEPS_VALUES - operators:
            node = self._makers.get(node.input[0])
        if node is None or node.op_type not in operators:
            found = "an input" if node is None else node.op_type
            raise _no_head(f"{found} is where {' or '.join(sorted(operators))} is needed")
        return node

    def dense(self, node: NodeProto) -> tuple[npt.NDArray[np.float32], str]:
        """Return a dense layer's weight (inputs, outputs) and the tensor it reads."""
        if node.op_type == "Add":
            node = self.before(self._variable(node), {"MatMul", "Gemm"})
        weight = self._weight(node.input[1])
        if node.op_type == "Gemm" and any(a.name == "transB" and a.i for a in node.attribute):
            weight = np.ascontiguousarray(weight.T)
        return weight, node.input[0]

    def _variable(self, node: NodeProto) -> str:
        return next((name for name in node.input if name not in self._weights), "")

    def _weight(self, name: str) -> npt.NDArray[np.float32]:
        found: TensorProto | None = self._weights.get(name)
        if found is None:
            raise _no_head("a dense layer's weight is computed")
        return np.asarray(numpy_helper.to_array(found), np.float32)


def _no_head(found: str) -> ExportError:
    return ExportError(
        f"the graph does not end in pooling, one or two dense layers and softmax: {found}; "
        "a model with another head cannot be judged or drawn"
    )

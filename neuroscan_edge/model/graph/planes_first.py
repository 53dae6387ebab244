"""The scaling of an image with its channels first from the start.

A model exported from channels last scales (N, H, W, C), puts the one grey channel side by side for
as many as the network wants, and transposes before the first convolution. Side by side a value is
written at a time: in OpenVINO, whose kernel for that is a reference, it takes as long as some
convolutions. Transposed first, one channel is a plane that nothing moves, and to repeat it copies
planes. The channels are repeated first of all, as they came in: what scales them then stays one
chain, which a runtime folds as it did before, so that no last digit changes.
"""

from typing import Any

from onnx import ModelProto, NodeProto, TensorProto, helper

from neuroscan_edge.model.graph.editing import holds_graphs, integer, integers, needed

_TO_FIRST = [0, 3, 1, 2]
_ELEMENTWISE = frozenset({"Cast", "Add", "Sub", "Mul", "Div"})


def with_planes_first(model: ModelProto) -> ModelProto:
    """Transpose images as they come in, not after what scales and repeats them.

    A transposition behind anything but casts, arithmetic with scalars and repeated channels stays
    where it is; a graph with graphs in it is left as it is altogether.

    Parameters
    ----------
    model : ModelProto
        Whose inputs are channels last.
    """
    if holds_graphs(model):
        return model
    lifting = _Lifting(model)
    nodes: list[NodeProto] = []
    for node in model.graph.node:
        nodes += lifting.nodes_for(node)
    made = ModelProto()
    made.CopyFrom(model)
    made.graph.ClearField("node")
    made.graph.node.extend(needed(nodes, [each.name for each in model.graph.output]))
    # They are of the layout before.
    made.graph.ClearField("value_info")
    return made


class _Lifting:
    """Which tensors exist with their channels first, under which names."""

    def __init__(self, model: ModelProto) -> None:
        graph = model.graph
        self._scalars = set(map(_name, filter(_is_scalar, graph.initializer)))
        constants = set(map(_name, graph.initializer))
        # Anything else that is given is a scalar or vector, and no image.
        images = {each.name for each in graph.input if len(each.type.tensor_type.shape.dim) == 4}
        self._inputs = images - constants
        self._outputs = {each.name for each in graph.output}
        self._producers = {name: node for node in graph.node for name in node.output}
        self._done: set[str] = set()
        self._replaced: dict[str, str] = {}

    def nodes_for(self, node: NodeProto) -> list[NodeProto]:
        """Return what takes a node's place, in order."""
        if self._may_lift(node):
            added: list[NodeProto] = []
            self._replaced[node.output[0]] = self._lift(node.input[0], 1, added)
            return added
        if self._replaced.keys().isdisjoint(node.input):
            return [node]
        changed = _copy(node)
        for index, name in enumerate(node.input):
            changed.input[index] = self._replaced.get(name, name)
        return [changed]

    def _may_lift(self, node: NodeProto) -> bool:
        return (
            node.op_type == "Transpose"
            and integers(node, "perm") == _TO_FIRST
            and node.output[0] not in self._outputs
            and node.input[0] in self._producers
            and self._leads_here(node.input[0])
        )

    def _leads_here(self, name: str) -> bool:
        """Whether a tensor comes from an input by nothing that cares for the layout."""
        if name in self._inputs:
            return True
        node = self._producers.get(name)
        if node is None or len(node.output) != 1 or node.domain not in {"", "ai.onnx"}:
            return False
        if node.op_type == "Concat":
            repeats = len(set(node.input)) == 1 and integer(node, "axis") in {3, -1}
            return repeats and self._leads_here(node.input[0])
        # Two different images may have channels that broadcast, which repeated ones do not.
        images = set(node.input) - self._scalars
        return node.op_type in _ELEMENTWISE and len(images) == 1 and self._leads_here(images.pop())

    def _lift(self, name: str, copies: int, added: list[NodeProto]) -> str:
        """Have a tensor, so many times over, with its channels first; return its name there."""
        producer = self._producers.get(name)
        if producer is not None and producer.op_type == "Concat":
            return self._lift(producer.input[0], copies * len(producer.input), added)
        first = f"{name}/planes_first/{copies}"
        if first in self._done:
            return first
        self._done.add(first)
        if producer is None:
            if copies > 1:
                # Another branch may repeat it otherwise, or not at all.
                plane = self._lift(name, 1, added)
                added.append(_node("Concat", [plane] * copies, first, axis=1))
            else:
                added.append(_node("Transpose", [name], first, perm=_TO_FIRST))
            return first
        made = _copy(producer)
        for index, source in enumerate(made.input):
            if source not in self._scalars:
                made.input[index] = self._lift(source, copies, added)
        # The node itself may stay, for whoever reads it channels last.
        made.name, made.output[0] = first, first
        added.append(made)
        return first


def _node(kind: str, inputs: list[str], output: str, **attributes: Any) -> NodeProto:
    return helper.make_node(kind, inputs, [output], f"{output}/{kind.lower()}", **attributes)


def _copy(node: NodeProto) -> NodeProto:
    copied = NodeProto()
    copied.CopyFrom(node)
    return copied


def _name(tensor: TensorProto) -> str:
    return str(tensor.name)


def _is_scalar(tensor: TensorProto) -> bool:
    return all(size == 1 for size in tensor.dims)

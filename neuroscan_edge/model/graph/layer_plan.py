"""Which layers of a graph run in INT8, read from the Q/DQ pairs in it."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

# Between two convolutions of a chain these keep integers integers.
_TRANSPARENT = {"QuantizeLinear", "DequantizeLinear", "Relu", "MaxPool", "Clip"}
_QDQ = {"QuantizeLinear", "DequantizeLinear"}


@dataclass(frozen=True, slots=True)
class LayerPlan:
    """The layers of one graph, by the precision that the graph asks for.

    Parameters
    ----------
    int8 : tuple of str
        Convolutions that read INT8 activations and INT8 weights, in graph order.
    int8_out : tuple of str
        Those of `int8` whose result is INT8 again, perhaps after a ReLU.
    others_int8 : tuple of str
        Other layers that read INT8: sums, pools.
    residual_branches : tuple of str
        Inputs of residual sums that arrive as INT8, as ``layer <- tensor``.
    float_layers : tuple of str
        Convolutions that stay in float.
    chains : tuple of tuple of str
        Runs of INT8 convolutions with nothing in float between them.
    """

    int8: tuple[str, ...] = ()
    int8_out: tuple[str, ...] = ()
    others_int8: tuple[str, ...] = ()
    residual_branches: tuple[str, ...] = ()
    float_layers: tuple[str, ...] = ()
    chains: tuple[tuple[str, ...], ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the plan as JSON-ready values."""
        return {
            "int8_convolutions": list(self.int8),
            "int8_outputs": list(self.int8_out),
            "other_int8_layers": list(self.others_int8),
            "int8_residual_branches": list(self.residual_branches),
            "float_convolutions": list(self.float_layers),
            "int8_chains": [list(chain) for chain in self.chains],
        }


def layer_plan(model: "ModelProto") -> LayerPlan:
    """Read the plan of a graph; a graph without Q/DQ has every convolution in float."""
    graph = model.graph
    producers = {name: node for node in graph.node for name in node.output}
    readers: dict[str, list[NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)

    def dequantized(name: str) -> bool:
        return name in producers and producers[name].op_type == "DequantizeLinear"

    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    int8 = [node for node in convolutions if all(map(dequantized, node.input[:2]))]
    names = tuple(node.name for node in int8)
    return LayerPlan(
        int8=names,
        int8_out=tuple(node.name for node in int8 if _integers_follow(node, readers)),
        others_int8=tuple(
            node.name
            for node in graph.node
            if node.op_type not in _QDQ | {"Conv"} and any(map(dequantized, node.input))
        ),
        residual_branches=tuple(
            f"{node.name} <- {name.removesuffix('/dequantized')}"
            for node in graph.node
            if node.op_type == "Add"
            for name in node.input
            if dequantized(name)
        ),
        float_layers=tuple(node.name for node in convolutions if node.name not in set(names)),
        chains=_chains(int8, producers),
    )


def operator_counts(model: "ModelProto") -> dict[str, int]:
    """Count a graph's nodes by operator type, most frequent first."""
    return dict(Counter(node.op_type for node in model.graph.node).most_common())


def _integers_follow(node: "NodeProto", readers: Mapping[str, list["NodeProto"]]) -> bool:
    following = readers.get(node.output[0], [])
    if len(following) == 1 and following[0].op_type == "Relu":
        following = readers.get(following[0].output[0], [])
    return bool(following) and all(each.op_type == "QuantizeLinear" for each in following)


def _chains(
    int8: list["NodeProto"], producers: Mapping[str, "NodeProto"]
) -> tuple[tuple[str, ...], ...]:
    """List runs of INT8 convolutions between which no layer computes in float."""
    chain_of: dict[str, list[str]] = {}
    chains: list[list[str]] = []
    for node in int8:
        source = producers.get(node.input[0])
        while source is not None and source.op_type in _TRANSPARENT:
            source = producers.get(source.input[0])
        before = chain_of.get(source.name) if source is not None else None
        if before is not None and source is not None and before[-1] == source.name:
            before.append(node.name)
            chain_of[node.name] = before
        else:
            chain_of[node.name] = [node.name]
            chains.append(chain_of[node.name])
    return tuple(tuple(chain) for chain in chains)

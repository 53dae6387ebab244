"""What every rewriting of an ONNX graph needs: attributes, and the nodes that are still wanted."""

from collections.abc import Iterable

from onnx import ModelProto, NodeProto


def holds_graphs(model: ModelProto) -> bool:
    """Whether a node has a graph of its own, whose body uses tensors around it by name."""
    return any(each.HasField("g") for node in model.graph.node for each in node.attribute)


def integer(node: NodeProto, name: str) -> int | None:
    """Return an integer attribute, None if the node does not give it."""
    return next((int(each.i) for each in node.attribute if each.name == name), None)


def integers(node: NodeProto, name: str) -> list[int]:
    """Return a list of integers, empty if the node does not give it."""
    return next((list(each.ints) for each in node.attribute if each.name == name), [])


def needed(nodes: list[NodeProto], results: Iterable[str]) -> list[NodeProto]:
    """Return the nodes that results come from, in order."""
    wanted = set(results)
    kept = []
    for node in reversed(nodes):
        if not wanted.isdisjoint(node.output):
            kept.append(node)
            wanted |= set(node.input)
    return kept[::-1]

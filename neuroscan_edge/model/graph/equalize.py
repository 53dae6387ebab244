"""Cross-layer equalization: give the channels of a quantised tensor like ranges.

A tensor has one INT8 scale, so a channel that reaches a hundredth as far as the widest keeps one
or two levels. Where one convolution feeds another and only ReLU or max pooling lie between, a
channel may be multiplied by any positive factor in the first and divided by it in the second:
both are positively homogeneous. All factors here are powers of two, so the FP32 graph computes
exactly what it did. After Nagel et al., "Data-free quantization through weight equalization and
bias correction" (ICCV 2019); ranges are observed, as in SmoothQuant (Xiao et al., ICML 2023).
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from onnx import ModelProto, NodeProto, numpy_helper

from neuroscan_edge.errors import CalibrationError

_HOMOGENEOUS = {"Relu", "MaxPool"}
LARGEST_EXPONENT = 12
"""Beyond this a channel is as good as dead, and its factor only risks overflow in FP16."""


@dataclass(frozen=True, slots=True)
class Link:
    """Two convolutions and the tensor between them.

    Parameters
    ----------
    producer, consumer : str
        Names of the Conv nodes.
    tensor : str
        What the consumer reads: the producer's output, perhaps after ReLU or max pooling.
    depthwise : bool
        Whether the consumer is depthwise: then its own weight scales, one a channel, absorb any
        factor without loss.
    """

    producer: str
    consumer: str
    tensor: str
    depthwise: bool


def links(model: ModelProto) -> list[Link]:
    """Find every pair of convolutions that can be equalized, in graph order.

    Convolutions that share a weight or bias with another node are left as they are.
    """
    shared = _shared(model)
    readers: dict[str, list[NodeProto]] = {
        value.name: [NodeProto()] for value in model.graph.output
    }
    for node in model.graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    found = []
    for producer in model.graph.node:
        if producer.op_type != "Conv":
            continue
        node, tensor = producer, producer.output[0]
        while len(readers.get(tensor, ())) == 1:
            node = readers[tensor][0]
            if node.op_type == "Conv" and node.input[0] == tensor:
                groups = _groups(node)
                depthwise = groups > 1 and groups == _weight(model, node).shape[0]
                scaled = {*producer.input[1:], node.input[1]}
                if (groups == 1 or depthwise) and not scaled & shared:
                    found.append(Link(producer.name, node.name, tensor, depthwise))
                break
            if node.op_type not in _HOMOGENEOUS:
                break
            tensor = node.output[0]
    return found


def equalization_exponents(
    model: ModelProto, reaches: Mapping[str, npt.NDArray[np.floating]]
) -> dict[str, list[int]]:
    """Choose the power of two for each channel of each link.

    A depthwise consumer takes any factor without loss: there all channels get one range. A dense
    one has one weight scale for all its input channels: there the spread is shared evenly between
    activations and weights (the geometric mean, SmoothQuant's alpha of 0.5).

    Parameters
    ----------
    model : ModelProto
        The FP32 graph.
    reaches : mapping of str to (C,) float
        Largest absolute value of each channel of each link's tensor over a sample.

    Returns
    -------
    dict
        Producer name to C exponents.

    Raises
    ------
    CalibrationError
        If a reach is not finite.
    """
    exponents: dict[str, list[int]] = {}
    nodes = {node.name: node for node in model.graph.node}
    for link in links(model):
        reach = np.asarray(reaches[link.tensor], np.float64)
        if not np.isfinite(reach).all():
            raise CalibrationError(
                f"{link.tensor} took values that are not finite; check the model"
            )
        wanted = np.zeros_like(reach)
        alive = reach > 0
        if link.depthwise:
            wanted[alive] = -np.log2(reach[alive])
        else:
            weight = np.abs(_weight(model, nodes[link.consumer])).astype(np.float64)
            rows = weight.reshape(len(weight), -1).max(axis=1)
            relative = weight / np.where(rows > 0, rows, 1).reshape(-1, *[1] * (weight.ndim - 1))
            column = relative.max(axis=(0, *range(2, weight.ndim)))
            alive &= column > 0
            wanted[alive] = (np.log2(column[alive]) - np.log2(reach[alive])) / 2
        if alive.any():
            # The widest channel after scaling reaches as far as the widest did before.
            after = (wanted + np.log2(np.where(alive, reach, 1)))[alive].max()
            wanted[alive] += np.log2(reach.max()) - after
        rounded = np.clip(np.rint(wanted), -LARGEST_EXPONENT, LARGEST_EXPONENT)
        exponents[link.producer] = [int(each) for each in rounded]
    return exponents


def equalize(model: ModelProto, exponents: Mapping[str, Sequence[int]]) -> ModelProto:
    """Scale producers by powers of two and consumers by their inverse.

    Raises
    ------
    CalibrationError
        If the exponents are of another graph, or beyond `LARGEST_EXPONENT`.
    """
    largest = max((abs(each) for powers in exponents.values() for each in powers), default=0)
    if largest > LARGEST_EXPONENT:
        raise CalibrationError(
            f"the equalization holds 2^{largest}, more than 2^{LARGEST_EXPONENT}; "
            "calibrate this bundle again"
        )
    known = {link.producer: link for link in links(model)}
    if known.keys() != exponents.keys():
        raise CalibrationError(
            "the equalization belongs to another graph: "
            f"{len(known.keys() ^ exponents.keys())} layers differ; calibrate this bundle again"
        )
    scaled = ModelProto()
    scaled.CopyFrom(model)
    nodes = {node.name: node for node in scaled.graph.node}
    tensors = {each.name: each for each in scaled.graph.initializer}
    for producer, powers in exponents.items():
        link = known[producer]
        factors = np.exp2(np.asarray(powers, np.float32))
        first, second = nodes[producer], nodes[link.consumer]
        # Weight and, where there is one, bias; the consumer's bias comes after its sum.
        changes = [(name, factors, 0) for name in first.input[1:]]
        changes.append((second.input[1], 1 / factors, 0 if link.depthwise else 1))
        for name, factor, axis in changes:
            values = numpy_helper.to_array(tensors[name])
            if len(powers) != values.shape[axis]:
                raise CalibrationError(
                    f"{producer} cannot be scaled: {name} has {values.shape[axis]} channels for "
                    f"{len(powers)} factors; calibrate this bundle again"
                )
            shape = [1] * values.ndim
            shape[axis] = -1
            tensors[name].CopyFrom(numpy_helper.from_array(values * factor.reshape(shape), name))
    return scaled


def _shared(model: ModelProto) -> set[str]:
    readers = Counter(name for node in model.graph.node for name in node.input)
    return {name for name, count in readers.items() if count > 1}


def _weight(model: ModelProto, node: NodeProto) -> npt.NDArray[np.float32]:
    found = next(each for each in model.graph.initializer if each.name == node.input[1])
    return numpy_helper.to_array(found)


def _groups(node: NodeProto) -> int:
    return next((int(each.i) for each in node.attribute if each.name == "group"), 1)

"""One graph per precision, all made from the FP32 graph; the edge only compiles them.

FP16 is typed: every float tensor is float16, softmax float32. INT8 is explicit, symmetric Q/DQ
whose scales come from a calibration table. Same inputs, same bytes.
"""

import difflib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from neuroscan_edge.errors import CalibrationError, ExportError
from neuroscan_edge.model.graph.output_names import PREFIX

_ZERO_POINT = "zero_point/int8"
_UNSIGNED_ZERO_POINT = "zero_point/uint8"
INT8_MAX = 127
UINT8_ZERO_POINT = 128
_QDQ_OPSET = 19
_QDQ_IR_VERSION = 9
_FP16_MAX = float(np.finfo(np.float16).max)


ALL_OPERATORS = ("Conv", "Relu", "Add", "MaxPool", "GlobalAveragePool")
FLOAT_SUMS = ("Conv", "MaxPool")
"""Residual sums stay in float, so their rounding does not add up from block to block."""


@dataclass(frozen=True, slots=True)
class QuantizationPlan:
    """Which layers run in INT8.

    Parameters
    ----------
    operators : tuple of str
        Operator types whose inputs are quantised. Everything between the convolutions of a chain
        belongs in it: one float operator breaks a chain in two.
    depthwise : bool
        Whether depthwise convolutions are quantised.
    keep_float : tuple of str
        Names of nodes that stay in float whatever their type.
    """

    operators: tuple[str, ...] = ALL_OPERATORS
    depthwise: bool = True
    keep_float: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the plan as JSON-ready values."""
        return {
            "operators": list(self.operators),
            "depthwise": self.depthwise,
            "keep_float": list(self.keep_float),
        }


def to_fp16(model: ModelProto) -> ModelProto:
    """Type a graph as FP16 between its uint8 input and its float32 softmax.

    What judging added stays float32.

    Raises
    ------
    ExportError
        If a weight does not fit float16.
    """
    typed = _copy(model)
    graph = typed.graph
    for initializer in graph.initializer:
        if initializer.data_type == TensorProto.FLOAT and not initializer.name.startswith(PREFIX):
            values = numpy_helper.to_array(initializer)
            if np.abs(values).max(initial=0.0) > _FP16_MAX:
                raise ExportError(
                    f"weight {initializer.name} exceeds {_FP16_MAX:g}, the largest float16; "
                    "use the FP32 graph"
                )
            rounded = numpy_helper.from_array(values.astype(np.float16), initializer.name)
            initializer.CopyFrom(rounded)
    nodes: list[NodeProto] = []
    for node in graph.node:
        if node.op_type == "Cast" and not node.name.startswith(PREFIX):
            target = next(each for each in node.attribute if each.name == "to")
            if target.i == TensorProto.FLOAT:
                target.i = TensorProto.FLOAT16
        if node.op_type == "Softmax":
            wide = f"{node.input[0]}/fp32"
            nodes.append(
                helper.make_node(
                    "Cast", [node.input[0]], [wide], name=f"{node.name}/cast", to=TensorProto.FLOAT
                )
            )
            node.input[0] = wide
        nodes.append(node)
    _set_nodes(typed, nodes)
    return _checked(typed)


def quantizable_nodes(model: ModelProto, plan: QuantizationPlan) -> list[NodeProto]:
    """Nodes that a plan runs in INT8: those of its types that process feature maps.

    Layers before the first convolution (pixel scaling) and after the pooling (the dense head and
    softmax) stay in float.
    """
    nodes = list(model.graph.node)
    first_conv = next((i for i, node in enumerate(nodes) if node.op_type == "Conv"), len(nodes))
    pools = [i for i, node in enumerate(nodes) if node.op_type == "GlobalAveragePool"]
    last = pools[-1] if pools else len(nodes)
    constants = {initializer.name for initializer in model.graph.initializer}
    return [
        node
        for index, node in enumerate(nodes)
        if first_conv <= index <= last
        and node.op_type in plan.operators
        and node.name not in plan.keep_float
        and (plan.depthwise or _groups(node) == 1)
        # An Add with a constant is batch normalisation that was not folded, not a residual.
        and not (node.op_type == "Add" and constants.intersection(node.input))
    ]


def quantized_activations(model: ModelProto, plan: QuantizationPlan) -> list[str]:
    """Names of the float tensors that get a Q/DQ pair under a plan, in graph order.

    They are the inputs of the quantised nodes, but for the input of a ReLU that is its producer's
    only consumer: there the pair goes behind the ReLU alone, so that convolution and ReLU fuse and
    no range is spent on what the ReLU removes.
    """
    constants = {initializer.name for initializer in model.graph.initializer}
    consumers = Counter(name for node in model.graph.node for name in node.input)
    names: dict[str, None] = {}
    names.update(dict.fromkeys(_residual_branches(model, plan)))
    for node in quantizable_nodes(model, plan):
        for name in node.input:
            fused = node.op_type == "Relu" and consumers[name] == 1
            if name and name not in constants and not fused:
                names[name] = None
    return list(names)


def _residual_branches(model: ModelProto, plan: QuantizationPlan) -> list[str]:
    """List outputs of quantised convolutions that only residual sums in float read."""
    if "Add" in plan.operators:
        return []
    readers: dict[str, set[str]] = {}
    for node in model.graph.node:
        for name in node.input:
            readers.setdefault(name, set()).add(node.op_type)
    return [
        node.output[0]
        for node in quantizable_nodes(model, plan)
        if node.op_type == "Conv" and readers.get(node.output[0]) == {"Add"}
    ]


def to_int8(
    model: ModelProto, ranges: Mapping[str, tuple[float, float]], plan: QuantizationPlan
) -> ModelProto:
    """Insert explicit symmetric Q/DQ pairs.

    Activations are per tensor, weights per output channel and stored as int8; biases stay float
    (TensorRT's parser refuses int32 ones).

    Parameters
    ----------
    model : ModelProto
        The FP32 graph.
    ranges : mapping of str to (float, float)
        Calibrated lowest and highest value of each activation.
    plan : QuantizationPlan
        What to quantise.

    Raises
    ------
    CalibrationError
        If an activation of the plan has no usable range, or the plan names an unknown layer.
    """
    known = [node.name for node in model.graph.node]
    for name in plan.keep_float:
        if name not in known:
            near = ", ".join(difflib.get_close_matches(name, known)) or "none is near"
            raise CalibrationError(f"the graph has no layer {name!r}; near: {near}")
    quantized = _copy(model)
    graph = quantized.graph
    weights = {initializer.name: initializer for initializer in graph.initializer}
    scales = _activation_scales(quantized, ranges, plan)
    chosen = {node.name for node in quantizable_nodes(quantized, plan)}
    branches = set(_residual_branches(quantized, plan))
    tensors = {_ZERO_POINT: numpy_helper.from_array(np.zeros((), np.int8), _ZERO_POINT)}
    for name, scale in scales.items():
        tensors[f"{name}/scale"] = numpy_helper.from_array(np.float32(scale), f"{name}/scale")
    # Keyed by output: a tensor read by two layers is quantised once.
    nodes: dict[str, NodeProto] = {}
    for node in graph.node:
        for position, name in enumerate(node.input):
            if node.name not in chosen and name not in branches:
                continue
            if name in scales:
                added = _quantize_and_back(name)
            elif name in weights and node.op_type == "Conv" and position == 1:
                added = [_dequantized_weight(weights[name], tensors)]
            else:
                continue
            for each in added:
                nodes.setdefault(each.output[0], each)
            node.input[position] = f"{name}/dequantized"
        nodes[node.output[0]] = node
    _set_nodes(quantized, nodes.values())
    used = {name for node in graph.node for name in node.input}
    _set_initializers(
        quantized, [each for each in (*weights.values(), *tensors.values()) if each.name in used]
    )
    for opset in quantized.opset_import:
        if opset.domain in {"", "ai.onnx"}:
            opset.version = max(opset.version, _QDQ_OPSET)
    quantized.ir_version = max(quantized.ir_version, _QDQ_IR_VERSION)
    return _checked(quantized)


def to_unsigned(model: ModelProto, *, weights: bool = False) -> ModelProto:
    """Rewrite a Q/DQ graph in the form ONNX Runtime's x86 kernels are fast on.

    Two changes, neither of which alters a dequantised value: int8 activations around zero become
    uint8 around 128, and a ReLU that only Qs read becomes a clip of the integers after them
    (quantisation is monotone and maps 0 to the zero point), so that convolutions chain in integers.

    Parameters
    ----------
    model : ModelProto
        Symmetric int8 Q/DQ.
    weights : bool
        Whether weights become uint8 around 128 too, again without altering a value. Without VNNI,
        x86 multiplies uint8 by int8 with vpmaddubsw, whose sums of two products saturate at int16:
        results are then wrong. The kernels for uint8 by uint8 widen first.
    """
    shifted = _copy(model)
    graph = shifted.graph
    constants = {initializer.name for initializer in graph.initializer}
    for node in graph.node:
        activation = node.op_type == "QuantizeLinear" or (
            node.op_type == "DequantizeLinear" and node.input[0] not in constants
        )
        if activation and len(node.input) > 2 and node.input[2] == _ZERO_POINT:
            node.input[2] = _UNSIGNED_ZERO_POINT
    zero_point = numpy_helper.from_array(np.array(UINT8_ZERO_POINT, np.uint8), _UNSIGNED_ZERO_POINT)
    _set_initializers(
        shifted, [*(each for each in graph.initializer if each.name != _ZERO_POINT), zero_point]
    )
    if weights:
        _shift_weights(shifted)
    _clip_integers(shifted)
    return _checked(shifted)


def _shift_weights(model: ModelProto) -> None:
    """Store int8 weights and their zero points as uint8, both 128 higher."""
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type != "DequantizeLinear" or node.input[0] not in tensors:
            continue
        for name in (node.input[0], node.input[2]):
            integers = numpy_helper.to_array(tensors[name]).astype(np.int16) + UINT8_ZERO_POINT
            tensors[name] = numpy_helper.from_array(integers.astype(np.uint8), name)
    _set_initializers(model, tensors.values())


def _clip_integers(model: ModelProto) -> None:
    """Quantise what a ReLU reads instead of what it writes, and clip the integers."""
    consumers: dict[str, set[str]] = {value.name: {"output"} for value in model.graph.output}
    for node in model.graph.node:
        for name in node.input:
            consumers.setdefault(name, set()).add(node.op_type)
    # A ReLU that others read as well stays, fused into its convolution, and clips for both.
    relus = {
        node.output[0]: node
        for node in model.graph.node
        if node.op_type == "Relu" and consumers.get(node.output[0]) == {"QuantizeLinear"}
    }
    nodes: list[NodeProto] = []
    for node in model.graph.node:
        if node.output[0] in relus:
            continue
        nodes.append(node)
        if node.op_type != "QuantizeLinear" or node.input[0] not in relus:
            continue
        relu, integers = relus[node.input[0]], node.output[0]
        unclipped = f"{integers}/unclipped"
        node.input[0], node.output[0] = relu.input[0], unclipped
        nodes.append(
            helper.make_node(
                "Clip", [unclipped, _UNSIGNED_ZERO_POINT], [integers], name=f"{integers}/clip"
            )
        )
    _set_nodes(model, nodes)


def _activation_scales(
    model: ModelProto, ranges: Mapping[str, tuple[float, float]], plan: QuantizationPlan
) -> dict[str, float]:
    scales: dict[str, float] = {}
    for name in quantized_activations(model, plan):
        if name not in ranges:
            raise CalibrationError(
                f"the calibration table has no range for {name}; calibrate this graph again"
            )
        reach = float(np.abs(ranges[name]).max())
        # NumPy's maximum carries a NaN through; Python's drops it.
        if not np.isfinite(reach):
            raise CalibrationError(f"the range of {name} is not finite; calibrate again")
        # A tensor that was always zero: any scale is right.
        scales[name] = reach / INT8_MAX if reach > 0 else 1.0
    for node in model.graph.node:
        # A ReLU between two pairs keeps its input's scale: then it is a clip of the integers.
        if node.op_type == "Relu" and {node.input[0], node.output[0]} <= scales.keys():
            scales[node.output[0]] = scales[node.input[0]]
    return scales


def _quantize_and_back(name: str) -> list[NodeProto]:
    scale, integers, real = f"{name}/scale", f"{name}/quantized", f"{name}/dequantized"
    return [
        helper.make_node(
            "QuantizeLinear", [name, scale, _ZERO_POINT], [integers], name=f"{name}/quantize"
        ),
        helper.make_node(
            "DequantizeLinear", [integers, scale, _ZERO_POINT], [real], name=f"{name}/dequantize"
        ),
    ]


def _dequantized_weight(weight: TensorProto, tensors: dict[str, TensorProto]) -> NodeProto:
    """Store a Conv weight (O, I, H, W) as int8 per output channel; return its DequantizeLinear."""
    name = weight.name
    values = numpy_helper.to_array(weight).astype(np.float32)
    scale = channel_scales(values)
    integers = np.rint(values / scale.reshape(-1, *[1] * (values.ndim - 1))).astype(np.int8)
    parts = {"quantized": integers, "scale": scale, "zero_point": np.zeros(scale.shape, np.int8)}
    for part, array in parts.items():
        tensors[f"{name}/{part}"] = numpy_helper.from_array(array, f"{name}/{part}")
    inputs = [f"{name}/{part}" for part in parts]
    return helper.make_node(
        "DequantizeLinear", inputs, [f"{name}/dequantized"], name=f"{name}/dequantize", axis=0
    )


def channel_scales(weight: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Symmetric INT8 scale of each output channel, (O, ...) to (O,); 1 for a channel of zeros."""
    reach = np.abs(weight).reshape(len(weight), -1).max(axis=1)
    return np.where(reach > 0, reach / INT8_MAX, 1.0).astype(np.float32)


def _groups(node: NodeProto) -> int:
    return next((int(each.i) for each in node.attribute if each.name == "group"), 1)


def _copy(model: ModelProto) -> ModelProto:
    copied = ModelProto()
    copied.CopyFrom(model)
    return copied


def _set_nodes(model: ModelProto, nodes: Iterable[NodeProto]) -> None:
    kept = [NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del model.graph.node[:]
    model.graph.node.extend(kept)


def _set_initializers(model: ModelProto, tensors: Iterable[TensorProto]) -> None:
    kept = list(tensors)
    copies = [TensorProto.FromString(tensor.SerializeToString()) for tensor in kept]
    del model.graph.initializer[:]
    model.graph.initializer.extend(copies)


def _checked(model: ModelProto) -> ModelProto:
    # Shapes recorded by an exporter are of float tensors that no longer exist.
    del model.graph.value_info[:]
    onnx.checker.check_model(model, full_check=True)
    return model

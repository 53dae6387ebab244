"""An INT8 graph in ONNX Runtime's own integer operators, channels last from end to end.

ONNX Runtime fuses Q/DQ pairs into integer convolutions that read and write channels last, and puts
a transposition on either side of each. Where float operators stand between them, such as residual
sums, it transposes there and back in float, and quantizes once more on the way. Here the
convolutions are written as those operators (`com.microsoft.QLinearConv`, `NhwcMaxPool`) and what
lies between them stays channels last, so that nearly all transpositions are gone. The same kernels
see the same numbers, so that no integer changes.

A convolution of 1x1 whose result stays in float is an integer product of matrices
(`com.microsoft.MatMulIntegerToFloat`) instead of a float convolution of dequantized numbers: the
same sums, rounded as floats later and less.
"""

from collections import defaultdict
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper, shape_inference

from neuroscan_edge.model.graph.editing import holds_graphs, integer, integers, needed

_DOMAIN = "com.microsoft"
_TO_LAST, _TO_FIRST = (0, 2, 3, 1), (0, 3, 1, 2)
_ELEMENTWISE = frozenset(
    {"QuantizeLinear", "DequantizeLinear", "Relu", "Clip", "Add", "Sub", "Mul"}
)
_POOL_ATTRIBUTES = frozenset(
    {"auto_pad", "ceil_mode", "dilations", "kernel_shape", "pads", "strides"}
)


def to_channels_last(model: ModelProto) -> ModelProto:
    """Rewrite a Q/DQ graph for ONNX Runtime on a CPU; no value in it changes but in a last digit.

    Convolutions between a DQ and a Q become integer ones, those of 1x1 that no Q comes after
    integer products. Every operator that is not known to work on any layout is left as it is and
    gets its input channels first; a graph with graphs in it is left as it is altogether.

    Parameters
    ----------
    model : ModelProto
        Of images channels first, from `to_unsigned`.
    """
    if holds_graphs(model):
        return model
    return _Rewriting(model).model()


class _Rewriting:
    """One pass over a graph, which knows of each tensor in which layouts it exists."""

    def __init__(self, model: ModelProto) -> None:
        self._from = model
        graph = shape_inference.infer_shapes(model).graph
        self._constants = {each.name: each for each in model.graph.initializer}
        self._ranks = {
            each.name: len(each.type.tensor_type.shape.dim)
            for each in (*graph.value_info, *graph.input, *graph.output)
        }
        self._producers = {name: node for node in graph.node for name in node.output}
        self._consumers: dict[str, list[NodeProto]] = defaultdict(list)
        for node in graph.node:
            for name in node.input:
                self._consumers[name].append(node)
        self._results = [each.name for each in graph.output]
        self._last: dict[str, str] = {}
        """Names of tensors as they are channels last."""
        self._only_last: set[str] = set()
        """Those of them that do not exist channels first yet."""
        self._nodes: list[NodeProto] = []
        self._added: dict[str, TensorProto] = {}
        self._done: set[str] = set()

    def model(self) -> ModelProto:
        for node in self._from.graph.node:
            if node.output[0] not in self._done:
                self._rewrite(node)
        for name in self._results:
            self._first(name)
        nodes = needed(self._nodes, self._results)
        used = {*self._results, *(name for node in nodes for name in node.input)}
        tensors = [*self._from.graph.initializer, *self._added.values()]
        made = ModelProto()
        made.CopyFrom(self._from)
        made.graph.ClearField("node")
        made.graph.node.extend(nodes)
        made.graph.ClearField("initializer")
        made.graph.initializer.extend(each for each in tensors if each.name in used)
        # They are of the layout before.
        made.graph.ClearField("value_info")
        if all(each.domain != _DOMAIN for each in made.opset_import):
            made.opset_import.append(helper.make_opsetid(_DOMAIN, 1))
        return made

    def _rewrite(self, node: NodeProto) -> None:
        quantized = self._is_quantized(node)
        quantize = self._quantize_behind(node) if quantized else None
        if quantize is not None:
            self._convolve(node, quantize)
        # Last digits of a product would decide how a Q behind it rounds.
        elif quantized and self._is_product(node) and not self._leads_to_quantization(node):
            self._multiply(node)
        elif self._pools_integers(node):
            self._pool(node)
        elif self._keeps_last(node):
            self._carry(node)
        else:
            for name in node.input:
                self._first(name)
            self._nodes.append(node)

    def _is_quantized(self, node: NodeProto) -> bool:
        """Whether it is a convolution of quantized images by constant quantized weights."""
        if node.op_type != "Conv":
            return False
        data, weight = (self._producers.get(name) for name in node.input[:2])
        return (
            data is not None
            and self._is_scalar_pair(data, "DequantizeLinear")
            and weight is not None
            and weight.op_type == "DequantizeLinear"
            and len(weight.input) > 2
            and all(name in self._constants for name in weight.input)
            and len(self._constants[weight.input[0]].dims) == 4
            and (not _bias(node) or _bias(node) in self._constants)
        )

    def _quantize_behind(self, node: NodeProto) -> NodeProto | None:
        """Return the Q that alone takes a convolution's result, or None."""
        behind = self._consumers[node.output[0]]
        if node.output[0] in self._results or len(behind) != 1:
            return None
        return behind[0] if self._is_scalar_pair(behind[0], "QuantizeLinear") else None

    def _is_product(self, node: NodeProto) -> bool:
        """Whether a convolution is a product for each pixel, of channels that are last already."""
        data, weight = (self._producers[name] for name in node.input[:2])
        kernel = self._constants[weight.input[0]].dims[2:]
        points = numpy_helper.to_array(self._constants[weight.input[2]])
        return (
            data.input[0] in self._last
            and list(kernel) == [1, 1]
            and integer(node, "group") in {None, 1}
            and set(integers(node, "strides")) <= {1}
            and set(integers(node, "pads")) <= {0}
            and len(set(points.reshape(-1).tolist())) == 1
        )

    def _leads_to_quantization(self, node: NodeProto) -> bool:
        seen: set[str] = set()
        ahead = list(node.output)
        while ahead:
            name = ahead.pop()
            for behind in self._consumers[name]:
                if behind.op_type == "QuantizeLinear":
                    return True
                ahead += [each for each in behind.output if each not in seen]
                seen.update(behind.output)
        return False

    def _is_scalar_pair(self, node: NodeProto, kind: str) -> bool:
        """Whether a Q or DQ of an activation has one constant scale and zero point."""
        if node.op_type != kind or len(node.input) < 3 or node.input[0] in self._constants:
            return False
        return all(self._is_scalar(name) for name in node.input[1:3])

    def _is_scalar(self, name: str) -> bool:
        constant = self._constants.get(name)
        return constant is not None and int(np.prod(constant.dims)) == 1

    def _convolve(self, node: NodeProto, quantize: NodeProto) -> None:
        data, weight = (self._producers[name] for name in node.input[:2])
        inputs = [
            self._channels_last(data.input[0]),
            *data.input[1:3],
            *weight.input[:3],
            *quantize.input[1:3],
        ]
        if _bias(node):
            inputs.append(self._integer_bias(_bias(node), data.input[1], weight.input[1]))
        made = helper.make_node(
            "QLinearConv",
            inputs,
            [self._new_last(quantize.output[0])],
            node.name,
            domain=_DOMAIN,
            channels_last=1,
        )
        made.attribute.extend(node.attribute)
        self._nodes.append(made)
        self._done.add(quantize.output[0])

    def _multiply(self, node: NodeProto) -> None:
        data, weight = (self._producers[name] for name in node.input[:2])
        integers, scale, zero_point = (self._constants[name] for name in weight.input[:3])
        values = numpy_helper.to_array(integers)
        matrix = self._add(np.ascontiguousarray(values[:, :, 0, 0].T), f"{integers.name}/matrix")
        # One a column, or one for all.
        steps = numpy_helper.to_array(scale).reshape(-1)
        steps = steps if len(steps) > 1 else np.repeat(steps, values.shape[0])
        point = numpy_helper.to_array(zero_point).reshape(-1)[:1].reshape(())
        inputs = [
            self._channels_last(data.input[0]),
            matrix,
            data.input[1],
            self._add(steps, f"{scale.name}/{len(steps)}_columns"),
            data.input[2],
            self._add(point, f"{zero_point.name}/one"),
            _bias(node),
        ]
        made = helper.make_node(
            "MatMulIntegerToFloat",
            inputs if inputs[-1] else inputs[:-1],
            [self._new_last(node.output[0])],
            node.name,
            domain=_DOMAIN,
        )
        self._nodes.append(made)

    def _add(self, values: NDArray[Any], name: str) -> str:
        if name not in self._added:
            self._added[name] = numpy_helper.from_array(values, name)
        return name

    def _integer_bias(self, bias: str, scale: str, weight_scale: str) -> str:
        """Add a bias in the units of the integer sums, as ONNX Runtime rounds it."""
        values, step, weight_step = (
            numpy_helper.to_array(self._constants[name]).astype(np.float32)
            for name in (bias, scale, weight_scale)
        )
        limits = np.iinfo(np.int32)
        sums = np.rint(values / (step.reshape(()) * weight_step).astype(np.float32))
        rounded = np.clip(sums.astype(np.float64), limits.min, limits.max).astype(np.int32)
        # Another convolution may share the bias and have other units.
        return self._add(rounded, f"{bias}/{scale}/{weight_scale}/int32")

    def _pools_integers(self, node: NodeProto) -> bool:
        """Whether a MaxPool may be taken before the DQ that it follows: both keep the order."""
        before = self._producers.get(node.input[0]) if node.input else None
        return (
            node.op_type == "MaxPool"
            and len(node.output) == 1
            and before is not None
            and self._is_scalar_pair(before, "DequantizeLinear")
            and before.input[0] in self._last
            and all(each.name in _POOL_ATTRIBUTES for each in node.attribute)
        )

    def _pool(self, node: NodeProto) -> None:
        dequantize = self._producers[node.input[0]]
        (output,) = node.output
        integers = f"{output}/integers/channels_last"
        made = helper.make_node(
            "NhwcMaxPool",
            [self._channels_last(dequantize.input[0])],
            [integers],
            node.name,
            domain=_DOMAIN,
        )
        made.attribute.extend(node.attribute)
        inputs, name = [integers, *dequantize.input[1:]], f"{integers}/dequantize"
        back = helper.make_node("DequantizeLinear", inputs, [self._new_last(output)], name)
        self._nodes += [made, back]

    def _keeps_last(self, node: NodeProto) -> bool:
        """Whether an operator's input is channels last and it can go on with that."""
        joins = node.op_type == "Concat" and integer(node, "axis") == 1
        if node.op_type not in _ELEMENTWISE and not joins:
            return False
        values = [name for name in node.input if name and name not in self._constants]
        if not any(name in self._last for name in values) and not self._feeds_convolution(node):
            return False
        if any(self._ranks.get(name) != 4 for name in (*values, node.output[0])):
            return False
        if joins and len(values) < len(node.input):
            return False
        if not all(self._fits_last(name) for name in node.input if name in self._constants):
            return False
        # A DQ that only leads to what wants channels first is cheaper behind the transposition.
        behind = self._consumers[node.output[0]]
        return node.op_type != "DequantizeLinear" or any(map(self._may_keep_last, behind))

    def _feeds_convolution(self, node: NodeProto) -> bool:
        """Whether a Q gives its integers to a convolution, which wants them channels last.

        The floats are then transposed before it. Behind a float convolution ONNX Runtime does that
        as part of what it does to its result anyway; elsewhere it transposes floats and integers
        at about the same pace, an element at a time.
        """
        if not self._is_scalar_pair(node, "QuantizeLinear"):
            return False
        ahead = list(self._consumers[node.output[0]])
        while ahead:
            behind = ahead.pop()
            if self._is_quantized(behind) and self._quantize_behind(behind) is not None:
                return True
            if behind.op_type in {"Clip", "DequantizeLinear"}:
                ahead += self._consumers[behind.output[0]]
        return False

    def _may_keep_last(self, node: NodeProto) -> bool:
        return node.op_type in _ELEMENTWISE or node.op_type == "Concat"

    def _fits_last(self, name: str) -> bool:
        """Whether a constant is a scalar or has a value for each channel."""
        dims = list(self._constants[name].dims)
        each_channel = len(dims) > 2 and dims in ([dims[-3], 1, 1], [1, dims[-3], 1, 1])
        return self._is_scalar(name) or each_channel

    def _carry(self, node: NodeProto) -> None:
        made = NodeProto()
        made.CopyFrom(node)
        for index, name in enumerate(node.input):
            if name in self._constants:
                made.input[index] = self._constant_last(name)
            elif name:
                made.input[index] = self._channels_last(name)
        made.output[0] = self._new_last(node.output[0])
        for attribute in made.attribute:
            if node.op_type == "Concat" and attribute.name == "axis":
                attribute.i = 3
        self._nodes.append(made)

    def _constant_last(self, name: str) -> str:
        if self._is_scalar(name):
            return name
        values = numpy_helper.to_array(self._constants[name])
        return self._add(values.reshape(-1), f"{name}/channels_last")

    def _new_last(self, name: str) -> str:
        self._last[name] = f"{name}/channels_last"
        self._only_last.add(name)
        return self._last[name]

    def _channels_last(self, name: str) -> str:
        if name not in self._last:
            self._last[name] = f"{name}/channels_last"
            self._transpose(name, self._last[name], _TO_LAST)
        return self._last[name]

    def _first(self, name: str) -> None:
        """Make sure that a tensor exists channels first, under its own name."""
        if name in self._only_last:
            self._only_last.remove(name)
            self._transpose(self._last[name], name, _TO_FIRST)

    def _transpose(self, source: str, target: str, order: tuple[int, ...]) -> None:
        name = f"{target}/transpose"
        self._nodes.append(helper.make_node("Transpose", [source], [target], name, perm=order))


def _bias(node: NodeProto) -> str:
    return str(node.input[2]) if len(node.input) > 2 else ""

"""The form of an INT8 graph that each CPU runtime computes exactly, and fastest, on a processor."""

from typing import TYPE_CHECKING

from neuroscan_edge.spec import RuntimeName
from neuroscan_edge.system.machine import this_machine
from neuroscan_edge.system.optional import require

if TYPE_CHECKING:
    from onnx import ModelProto


def to_cpu_int8(model: "ModelProto", runtime: RuntimeName, *, exact_int8: bool) -> "ModelProto":
    """Rewrite a symmetric Q/DQ graph for ONNX Runtime or OpenVINO; no integer in it changes.

    Parameters
    ----------
    model : ModelProto
        From `to_int8`.
    runtime : RuntimeName
        What will run it.
    exact_int8 : bool
        Whether the processor adds products of uint8 and int8 without saturating, see `Machine`.
        Where it does not, weights become uint8: ONNX Runtime then has exact kernels, and OpenVINO
        computes those layers in float.
    """
    from neuroscan_edge.model.graph.channels_last import to_channels_last
    from neuroscan_edge.model.graph.planes_first import with_planes_first
    from neuroscan_edge.model.graph.quantize import to_unsigned

    if runtime is RuntimeName.OPENVINO:
        model = with_planes_first(model)
        return model if exact_int8 else to_unsigned(model, weights=True)
    unsigned = to_unsigned(model, weights=not exact_int8)
    return to_channels_last(with_ranked_scalars(unsigned))


def with_ranked_scalars(model: "ModelProto") -> "ModelProto":
    """Give scalars that meet images of one channel, last, the rank of those images.

    ONNX Runtime broadcasts a scalar of lower rank along the last axis, one element at a time where
    that has one: scaling grey pixels then takes 20 times as long.
    """
    from onnx import ModelProto, numpy_helper, shape_inference

    graph = shape_inference.infer_shapes(model).graph
    dims = {
        each.name: [size.dim_value for size in each.type.tensor_type.shape.dim]
        for each in (*graph.value_info, *graph.input, *graph.output)
    }
    given = {each.name for each in model.graph.input}
    constants = {each.name: each for each in model.graph.initializer if each.name not in given}
    made = ModelProto()
    made.CopyFrom(model)
    added = set()
    for node in made.graph.node:
        ranks = [len(dims[name]) for name in node.input if dims.get(name, [0])[-1:] == [1]]
        if node.op_type not in {"Add", "Sub", "Mul", "Div"} or not ranks:
            continue
        for index, name in enumerate(node.input):
            if name not in constants or list(constants[name].dims) not in ([], [1]):
                continue
            node.input[index] = f"{name}/rank{ranks[0]}"
            if node.input[index] not in added:
                added.add(node.input[index])
                values = numpy_helper.to_array(constants[name]).reshape([1] * ranks[0])
                made.graph.initializer.append(numpy_helper.from_array(values, node.input[index]))
    return made


def load_cpu_int8(data: bytes, runtime: RuntimeName) -> bytes:
    """Rewrite a serialized symmetric Q/DQ graph for the processor at hand.

    Raises
    ------
    MissingDependencyError
        If onnx is not installed.
    """
    onnx = require("onnx", extra="cpu", why="to prepare an INT8 graph for this processor")
    exact = this_machine().exact_int8
    model = to_cpu_int8(onnx.load_from_string(data), runtime, exact_int8=exact)
    return bytes(model.SerializeToString(deterministic=True))

"""The form of an INT8 graph that GPU runtimes compile: INT8 where it was, FP16 everywhere else."""

import numpy as np
from onnx import ModelProto, TensorProto, numpy_helper

from neuroscan_edge.errors import ExportError
from neuroscan_edge.model.graph.quantize import to_fp16

_FP16_NORMAL_MIN = float(np.finfo(np.float16).smallest_normal)


def to_gpu_int8(model: ModelProto) -> ModelProto:
    """Retype what an INT8 graph leaves in float as FP16: the form GPU runtimes are fast on.

    Made from the INT8 graph alone: neither the FP32 graph nor the calibration table is needed.
    A Q or DQ has the type of its scale, so the scales become float16 too. One too small for a
    normal float16 is rounded up and its weights are rounded again: no weight moves by more than
    half a step of INT8.

    Parameters
    ----------
    model : ModelProto
        From `to_int8`, perhaps of an equalized graph.

    Raises
    ------
    ExportError
        If a weight or a scale does not fit float16.
    """
    typed = ModelProto.FromString(model.SerializeToString())
    tensors = {tensor.name: tensor for tensor in typed.graph.initializer}
    for node in typed.graph.node:
        if node.op_type == "DequantizeLinear" and node.input[0] in tensors:
            integers, scale = (tensors[name] for name in node.input[:2])
            _round_scale_up(integers, scale)
        elif node.op_type == "QuantizeLinear" and (
            numpy_helper.to_array(tensors[node.input[1]]).min() < _FP16_NORMAL_MIN
        ):
            raise ExportError(
                f"the INT8 step of {node.input[0]} is below {_FP16_NORMAL_MIN:g}, the smallest "
                "normal float16; keep its layer in float"
            )
    return to_fp16(typed)


def _round_scale_up(integers: TensorProto, scale: TensorProto) -> None:
    """Move a weight's scales (O,) up to float16 values, and its int8 values with them."""
    exact = numpy_helper.to_array(scale).astype(np.float64)
    nearest = exact.astype(np.float16)
    above = np.where(nearest < exact, np.nextafter(nearest, np.float16(np.inf)), nearest)
    values = numpy_helper.to_array(integers)
    ratio = (exact / above.astype(np.float64)).reshape(-1, *[1] * (values.ndim - 1))
    integers.CopyFrom(
        numpy_helper.from_array(np.rint(values * ratio).astype(np.int8), integers.name)
    )
    scale.CopyFrom(numpy_helper.from_array(above.astype(np.float32), scale.name))

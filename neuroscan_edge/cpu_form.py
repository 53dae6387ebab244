"""The form of an INT8 graph that each CPU runtime computes exactly, and fastest, on a processor."""

from typing import TYPE_CHECKING

from neuroscan_edge._optional import require
from neuroscan_edge.machine import this_machine
from neuroscan_edge.spec import RuntimeName

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
    from neuroscan_edge.channels_last import to_channels_last
    from neuroscan_edge.precision import to_unsigned

    if runtime is RuntimeName.OPENVINO and exact_int8:
        return model
    unsigned = to_unsigned(model, weights=not exact_int8)
    return unsigned if runtime is RuntimeName.OPENVINO else to_channels_last(unsigned)


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

"""What can be seen to be wrong with a graph before it runs."""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from neuroscan_edge.model.bundle import CALIBRATION, GRAPHS, Bundle
from neuroscan_edge.model.graph.quantize import INT8_MAX
from neuroscan_edge.spec import Precision
from neuroscan_edge.system.optional import require

if TYPE_CHECKING:
    from onnx import ModelProto

_QDQ = {"QuantizeLinear", "DequantizeLinear"}
_SCALE_ERROR = 1e-5
"""A scale is stored as float32."""
_SCALE_SUFFIX = "/scale"


def graph_faults(bundle: Bundle, precision: Precision, fp32_sha256: str | None) -> list[str]:
    """Name the faults of a bundle's graph; empty where there are none.

    An INT8 graph must be symmetric, with biases and softmax in float, made from the calibration
    table beside it, and that table from this very model. An FP16 graph must compute its softmax in
    float32.

    Parameters
    ----------
    bundle : Bundle
        Whose graph it is.
    precision : Precision
        Which graph.
    fp32_sha256 : str or None
        Of the FP32 graph, where it is at hand: what the table must have been made for.
    """
    onnx = require("onnx", extra="cpu", why="to look into a graph")
    model = onnx.load_from_string(bundle.graph(precision).data)
    faults = _softmax_faults(model)
    if precision is Precision.INT8:
        faults += _zero_point_faults(onnx, model)
        faults += _calibration_faults(onnx, model, bundle, fp32_sha256)
    return faults


def _softmax_faults(model: "ModelProto") -> list[str]:
    producers = {name: node for node in model.graph.node for name in node.output}
    readers: dict[str, list[str]] = {}
    for node in model.graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node.op_type)
    faults = []
    for node in model.graph.node:
        if node.op_type != "Softmax":
            continue
        before = producers.get(node.input[0])
        quantised = before is not None and before.op_type == "DequantizeLinear"
        if quantised or "QuantizeLinear" in readers.get(node.output[0], []):
            faults.append(f"the softmax {node.name} is quantised; it must stay in float32")
        elif "Cast" in readers.get(node.output[0], []):
            faults.append(f"the softmax {node.name} is computed in less than float32")
    return faults


def _zero_point_faults(onnx: Any, model: "ModelProto") -> list[str]:
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    faults = []
    for node in model.graph.node:
        if node.op_type not in _QDQ or len(node.input) < 3 or node.input[2] not in tensors:
            continue
        tensor = tensors[node.input[2]]
        values = onnx.numpy_helper.to_array(tensor)
        if values.dtype == np.int32:
            faults.append(f"{node.name} quantises a bias to int32; biases must stay in float")
        elif values.dtype != np.int8 or values.any():
            found = sorted({int(value) for value in np.ravel(values)})[:3]
            faults.append(
                f"{node.name} has the zero point {found} of {values.dtype}; it must be 0 of int8"
            )
    return faults


def _calibration_faults(
    onnx: Any, model: "ModelProto", bundle: Bundle, fp32_sha256: str | None
) -> list[str]:
    if CALIBRATION not in bundle.files:
        return []
    table = json.loads(bundle.read(CALIBRATION))
    stated = bundle.manifest.get("quantization", {}).get("calibration_sha256")
    faults = []
    if stated != bundle.files[CALIBRATION].sha256:
        faults.append(
            f"{CALIBRATION} is not the table that the graph was made from ({stated}); calibrate "
            "again"
        )
    if fp32_sha256 is not None and table.get("graph_sha256") != fp32_sha256:
        faults.append(
            f"{CALIBRATION} was made for the graph {table.get('graph_sha256')}, this model's is "
            f"{fp32_sha256}: it is a calibration table of another model"
        )
    if table.get("preprocessing_sha256") != bundle.preprocessing.sha256:
        faults.append(f"{CALIBRATION} was made with another preprocessing than the bundle's")
    return faults + _scale_faults(onnx, model, table.get("ranges", {}))


def _scale_faults(onnx: Any, model: "ModelProto", ranges: Mapping[str, Any]) -> list[str]:
    """Hold each activation's scale against the range in the table; a ReLU may lend its input's."""
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    relu_inputs = {
        node.output[0]: node.input[0].removesuffix("/dequantized")
        for node in model.graph.node
        if node.op_type == "Relu"
    }
    faults = []
    for node in model.graph.node:
        if node.op_type != "QuantizeLinear" or node.input[1] not in tensors:
            continue
        name = node.input[1].removesuffix(_SCALE_SUFFIX)
        found = float(onnx.numpy_helper.to_array(tensors[node.input[1]]))
        sources = [each for each in (name, relu_inputs.get(name, name)) if each in ranges]
        wanted = [_scale(ranges[each]) for each in sources]
        if not any(abs(found - each) <= _SCALE_ERROR * each for each in wanted):
            of = f"the table gives {wanted[0]:.6g}" if wanted else "the table has no range for it"
            faults.append(f"{name} is quantised in steps of {found:.6g}; {of}")
    return faults


def _scale(bounds: Any) -> float:
    reach = max(abs(float(bound)) for bound in bounds)
    return reach / INT8_MAX if reach > 0 else 1.0


def fp32_sha256(bundle: Bundle) -> str | None:
    """Return the SHA-256 of a bundle's FP32 network, without judging; None where it holds none."""
    if GRAPHS[Precision.FP32] not in bundle.files:
        return None
    from neuroscan_edge.model.calibration import plain_fp32

    return plain_fp32(bundle).sha256

"""ONNX Runtime's optimised graph, saved, so that opening it later costs no optimisation."""

import tempfile
from pathlib import Path

from neuroscan_edge.errors import BuildError
from neuroscan_edge.model.engine.layers import BuiltLayer, CpuBuild
from neuroscan_edge.system.optional import require

_ONLY_FATAL = 4
_INT8_OPERATORS = {"QLinearConv", "ConvInteger", "MatMulIntegerToFloat"}
_FLOAT_OPERATORS = {"Conv", "FusedConv"}


def build_onnxruntime(graph: bytes) -> CpuBuild:
    """Optimise a graph and save it.

    Fusions are saved; what depends on this very processor is left for when the graph is opened.

    Parameters
    ----------
    graph : bytes
        ONNX, in the form ONNX Runtime is fastest on.

    Raises
    ------
    BuildError
        If ONNX Runtime refuses the graph.
    """
    ort = require("onnxruntime", extra="cpu", why="to build an engine for it")
    onnx = require("onnx", extra="cpu", why="to read an optimised graph")
    options = ort.SessionOptions()
    options.log_severity_level = _ONLY_FATAL
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        options.optimized_model_filepath = str(path)
        try:
            ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # Its exceptions share no base class.
            raise BuildError(f"ONNX Runtime cannot optimise the graph: {error}") from error
        data = path.read_bytes()
    layers = []
    for node in onnx.load_from_string(data).graph.node:
        if node.op_type in _INT8_OPERATORS:
            layers.append(BuiltLayer((node.name,), node.op_type, "int8"))
        elif node.op_type in _FLOAT_OPERATORS:
            layers.append(BuiltLayer((node.name,), node.op_type, "fp32"))
    return CpuBuild({"model.onnx": data}, layers)

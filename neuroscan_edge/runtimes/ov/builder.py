"""OpenVINO's own form of a graph: an .xml of layers and a .bin of weights."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from neuroscan_edge.errors import BuildError
from neuroscan_edge.model.engine.layers import BuiltLayer, CpuBuild
from neuroscan_edge.system.optional import require

_INTEGERS = {"i8", "u8"}
_FLOATS = {"f32": "fp32", "bf16": "other", "f16": "fp16"}


def build_openvino(graph: bytes) -> CpuBuild:
    """Convert a graph, and compile it once to see what runs in INT8.

    Raises
    ------
    BuildError
        If OpenVINO refuses the graph.
    """
    openvino = require("openvino", extra="openvino", why="to build an engine for it")
    core = openvino.Core()
    try:
        model = core.read_model(graph)
        compiled = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    except RuntimeError as error:
        raise BuildError(f"OpenVINO cannot compile the graph: {error}") from error
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.xml"
        # Weights as they are: by default it would round them to float16.
        openvino.save_model(model, path, compress_to_fp16=False)
        files = {name: (Path(folder) / name).read_bytes() for name in ("model.xml", "model.bin")}
    return CpuBuild(files, list(_convolutions(compiled.get_runtime_model())))


def _convolutions(executed: Any) -> Iterator[BuiltLayer]:
    for operation in executed.get_ops():
        about = operation.get_rt_info()
        kind = about["layerType"].astype(str)
        if kind != "Convolution":
            continue
        names = tuple(about["originalLayersNames"].astype(str).split(","))
        stated = about["runtimePrecision"].astype(str)
        precision = "int8" if stated in _INTEGERS else _FLOATS.get(stated, "other")
        yield BuiltLayer(names, kind, precision)

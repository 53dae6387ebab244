"""From a Keras baseline to a bundle: FP32 and FP16 graphs, checked against Keras."""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from neuroscan_edge.errors import ExportError
from neuroscan_edge.model.baseline import Baseline, read_baseline
from neuroscan_edge.model.bundle import GRAPHS, Bundle, new_manifest, write_files
from neuroscan_edge.model.graph.quantize import to_fp16
from neuroscan_edge.spec import Precision
from neuroscan_edge.system.optional import require

OPSET = 17
FP32_TOLERANCE = 1e-4
"""Largest probability difference to Keras that an FP32 graph may show."""
FP16_TOLERANCE = 2e-2
"""The same for FP16; decisions are judged by parity, this only catches a broken conversion."""

INPUT_NAME = "image"
OUTPUT_NAME = "probabilities"

# What every target runtime implements, and what the precision passes understand.
ALLOWED_OPERATORS = frozenset(
    {
        "Add",
        "AveragePool",
        "Cast",
        "Clip",
        "Concat",
        "Conv",
        "Flatten",
        "Gemm",
        "GlobalAveragePool",
        "MatMul",
        "MaxPool",
        "Mul",
        "Pad",
        "Relu",
        "Reshape",
        "Softmax",
        "Squeeze",
        "Sub",
        "Transpose",
        "Unsqueeze",
    }
)


@dataclass(frozen=True, slots=True)
class ExportReport:
    """What an export measured.

    Parameters
    ----------
    bundle : Bundle
        The bundle written.
    fp32_difference, fp16_difference : float
        Largest probability difference to Keras over the probe images.
    """

    bundle: Bundle
    fp32_difference: float
    fp16_difference: float


def export_bundle(model: Path, output: Path) -> ExportReport:
    """Export a Keras baseline.

    Parameters
    ----------
    model : Path
        ``NAME.keras`` with its card ``NAME.json`` beside it.
    output : Path
        Bundle folder to write; an existing bundle there is replaced.

    Raises
    ------
    ExportError
        If the model does not keep the contract (uint8 in, probabilities out), uses an operator
        outside the allow-list, or its graph differs from Keras by more than `FP32_TOLERANCE`.
    """
    baseline = read_baseline(model)
    keras_model = load_keras(baseline)
    fp32 = to_onnx(keras_model, baseline)
    probes = probe_images(*baseline.preprocessing.shape)
    expected = np.asarray(keras_model.predict(probes, verbose=0))
    fp32_difference = _difference(fp32, probes, expected)
    _judge("FP32", fp32_difference, FP32_TOLERANCE)
    fp16 = to_fp16(fp32)
    fp16_difference = _difference(fp16, probes, expected)
    _judge("FP16", fp16_difference, FP16_TOLERANCE)
    manifest = new_manifest(
        name=baseline.name,
        labels=baseline.labels,
        preprocessing=baseline.preprocessing,
        input_name=INPUT_NAME,
        output_name=OUTPUT_NAME,
        about={
            "baseline_sha256": baseline.sha256,
            "training_data": dict(baseline.training_data),
            "metrics": dict(baseline.metrics),
            "recipe": dict(baseline.recipe),
        },
    )
    files = {
        GRAPHS[Precision.FP32]: fp32.SerializeToString(deterministic=True),
        GRAPHS[Precision.FP16]: fp16.SerializeToString(deterministic=True),
    }
    bundle = write_files(output, manifest, files)
    for name in set(GRAPHS.values()) - files.keys():
        # A graph of the model that stood here before.
        (output / name).unlink(missing_ok=True)
    return ExportReport(bundle, fp32_difference, fp16_difference)


def probe_images(height: int, width: int) -> npt.NDArray[np.uint8]:
    """Images that reach a network's corners: black, white, ramps and seeded noise.

    Returns (16, height, width, 1) uint8.
    """
    rng = np.random.default_rng(0)
    rows = np.linspace(0, 255, height)[:, None]
    columns = np.linspace(0, 255, width)[None, :]
    shaped = [
        np.zeros((height, width)),
        np.full((height, width), 255.0),
        np.broadcast_to(rows, (height, width)),
        np.broadcast_to(columns, (height, width)),
    ]
    noise = [rng.integers(0, 256, (height, width)) * (level / 12) for level in range(1, 13)]
    probes: npt.NDArray[np.uint8] = np.rint(np.stack([*shaped, *noise])).astype(np.uint8)
    return probes[..., None]


def load_keras(baseline: Baseline) -> Any:
    """Load a baseline's Keras model and check that it keeps the contract.

    Raises
    ------
    ExportError
        If it cannot be loaded, or reads or yields something else.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    keras = require("keras", extra="lab", why="to load the baseline for export")
    try:
        model = keras.models.load_model(baseline.path, compile=False)
    except Exception as error:  # Keras raises whatever its readers meet.
        raise ExportError(f"{baseline.path} cannot be loaded by Keras: {error}") from error
    shape = (None, *baseline.preprocessing.shape, 1)
    inputs, outputs = model.inputs, model.outputs
    if len(inputs) != 1 or tuple(inputs[0].shape) != shape or inputs[0].dtype != "uint8":
        found = [(tuple(each.shape), each.dtype) for each in inputs]
        raise ExportError(f"the model reads {found}; it must read one uint8 {shape}")
    wanted = (None, len(baseline.labels))
    if len(outputs) != 1 or tuple(outputs[0].shape) != wanted:
        found = [tuple(each.shape) for each in outputs]
        raise ExportError(f"the model yields {found}; it must yield one {wanted}")
    if model.dtype_policy.name != "float32" or outputs[0].dtype != "float32":
        raise ExportError(
            f"the model was built under {model.dtype_policy.name}; rebuild it under float32 and "
            "copy the weights: ONNX Runtime cannot load other exports"
        )
    return model


def to_onnx(model: Any, baseline: Baseline) -> Any:
    """Export a Keras model to its FP32 graph: the same model gives the same bytes.

    Raises
    ------
    ExportError
        If it needs an operator that not every runtime implements.
    """
    tf = require("tensorflow", extra="lab", why="to export a Keras model")
    tf2onnx = require("tf2onnx", extra="lab", why="to export a Keras model")
    shape = (None, *baseline.preprocessing.shape, 1)
    signature = [tf.TensorSpec(shape, tf.uint8, name=INPUT_NAME)]
    graph, _ = tf2onnx.convert.from_keras(model, input_signature=signature, opset=OPSET)
    foreign = sorted({node.op_type for node in graph.graph.node} - ALLOWED_OPERATORS)
    if foreign:
        raise ExportError(
            f"the graph uses {', '.join(foreign)}, which not every runtime implements; "
            "export an inference model without augmentation or custom layers"
        )
    _canonicalise(graph)
    return graph


def _canonicalise(model: Any) -> None:
    """Name inputs, outputs, batch, layers and weights so that a reader recognises them.

    tf2onnx numbers what it makes by counters of the process: without this, the same model would not
    give the same bytes twice.
    """
    graph = model.graph
    renamed = {graph.input[0].name: INPUT_NAME, graph.output[0].name: OUTPUT_NAME}
    weights = {initializer.name: initializer for initializer in graph.initializer}
    taken: set[str] = set()
    for position, node in enumerate(graph.node):
        node.name = _unique(_layer_name(node, set(weights), position), taken)
        renamed.setdefault(node.output[0], f"{node.name}:0")
        for index, name in enumerate(node.input):
            if name in weights and name not in renamed:
                role = _WEIGHT_ROLES.get((node.op_type, index), "constant")
                renamed[name] = _unique(f"{node.name}/{role}", taken)
    for node in graph.node:
        for names in (node.input, node.output):
            for index, name in enumerate(names):
                names[index] = renamed.get(name, name)
    for name, initializer in weights.items():
        if name in renamed:
            initializer.name = renamed[name]
    used = [initializer for name, initializer in weights.items() if name in renamed]
    ordered = sorted(initializer.SerializeToString() for initializer in used)
    graph.ClearField("initializer")
    for data in ordered:
        graph.initializer.add().ParseFromString(data)
    graph.input[0].name, graph.output[0].name = INPUT_NAME, OUTPUT_NAME
    for value in (graph.input[0], graph.output[0]):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    graph.ClearField("value_info")
    graph.name, graph.doc_string = "classifier", ""


_WEIGHT_ROLES = {("Conv", 1): "weight", ("Conv", 2): "bias", ("MatMul", 1): "weight"}


def _layer_name(node: Any, weights: set[str], position: int) -> str:
    # A folded convolution is named Conv__420; its weight still carries the Keras layer's name.
    source = node.name
    if re.fullmatch(r"\w+__\d+", source) or not source:
        source = next((name for name in node.input if name in weights and "/" in name), "")
    layer = _without_model(source).split("/")[0] if "/" in source else ""
    layer = re.sub(r"_\d+$", "", layer) or f"node{position}"
    kind = node.op_type.lower()
    if node.op_type == "Conv" and "separable" in "".join((node.name, *node.input)):
        grouped = any(each.name == "group" and each.i > 1 for each in node.attribute)
        kind = "depthwise" if grouped else "pointwise"
    return f"{layer}/{kind}"


def _without_model(name: str) -> str:
    return name.split("/", 1)[1] if "/" in name else name


def _unique(name: str, taken: set[str]) -> str:
    candidate, number = name, 1
    while candidate in taken:
        number += 1
        candidate = f"{name}.{number}"
    taken.add(candidate)
    return candidate


def _difference(
    graph: Any, probes: npt.NDArray[np.uint8], expected: npt.NDArray[np.float32]
) -> float:
    ort = require("onnxruntime", extra="cpu", why="to check the exported graph against Keras")
    options = ort.SessionOptions()
    options.log_severity_level = 3
    session = ort.InferenceSession(
        graph.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    found = session.run(None, {INPUT_NAME: probes})[0]
    if found.dtype != np.float32 or found.shape != expected.shape:
        raise ExportError(
            f"the graph yields {found.dtype} {found.shape}, Keras {expected.dtype} {expected.shape}"
        )
    return float(np.abs(found - expected).max())


def _judge(precision: str, difference: float, tolerance: float) -> None:
    # Written so that NaN fails too.
    if not difference <= tolerance:
        raise ExportError(
            f"the {precision} graph differs from Keras by {difference:.2e} in probability; "
            f"at most {tolerance:.0e} is accepted"
        )

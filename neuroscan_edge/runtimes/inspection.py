"""What a bundle, a graph or an engine is, in words: `neuroscan-edge inspect`."""

import json
from pathlib import Path
from typing import Any

from neuroscan_edge.errors import NeuroScanError, UsageError
from neuroscan_edge.model.bundle import MANIFEST, Bundle, open_bundle
from neuroscan_edge.model.engine.manifest import (
    ENGINE_MANIFEST,
    StoredEngine,
    find_engines,
    open_engine,
)
from neuroscan_edge.model.graph.layer_plan import LayerPlan, layer_plan, operator_counts
from neuroscan_edge.spec import RESEARCH_USE
from neuroscan_edge.system.files import sha256_file
from neuroscan_edge.system.optional import require

MEGABYTE = 1e6


def inspect_path(path: Path) -> dict[str, Any]:
    """Describe a bundle folder, an engine folder, or an ONNX file.

    Raises
    ------
    UsageError
        If the path is none of these.
    BundleError, EngineError
        If it is one and is damaged.
    """
    if (path / ENGINE_MANIFEST).is_file():
        engine = open_engine(path)
        engine.read()
        return {"kind": "engine", "path": str(path), **_document(engine)}
    if (path / MANIFEST).is_file():
        return _describe_bundle(open_bundle(path))
    if path.is_file():
        return _describe_graph(path)
    raise UsageError(
        f"{path} is no bundle ({MANIFEST}), no engine ({ENGINE_MANIFEST}) and no ONNX file; "
        "give one of these"
    )


def engine_summary(engine: StoredEngine) -> str:
    """Return one line on an engine: where it is, how large, how it was built."""
    manifest = engine.manifest
    size_mb = sum(each.size_bytes for each in manifest.files.values()) / MEGABYTE
    found = manifest.layers["found"]
    text = (
        f"{engine.folder}: {manifest.runtime} {manifest.runtime_version} {manifest.precision}, "
        f"{size_mb:.1f} MB, built in {manifest.build_s:.1f} s"
    )
    if found["int8_planned"]:
        text += f", {found['int8_found']} of {found['int8_planned']} planned layers in INT8"
        if found["int8_missing"]:
            text += f" (in float: {', '.join(found['int8_missing'])})"
    return text


def as_text(description: dict[str, Any]) -> str:
    """Lay out a description as indented text, research-use notice last."""
    return "\n".join([*_lines(description, 0), RESEARCH_USE])


def _describe_bundle(bundle: Bundle) -> dict[str, Any]:
    return {
        "kind": "bundle",
        "path": str(bundle.folder),
        "model": bundle.name,
        "labels": list(bundle.labels),
        "preprocessing_sha256": bundle.preprocessing.sha256,
        "baseline_sha256": bundle.manifest.get("baseline_sha256"),
        "calibration_sha256": bundle.manifest.get("quantization", {}).get("calibration_sha256"),
        "graphs": {
            str(precision): _described(bundle.graph(precision).data)
            for precision in bundle.precisions
        },
        "files": {
            name: f"{record.size_bytes} bytes, SHA-256 {record.sha256}"
            for name, record in bundle.files.items()
        },
        "engines": {folder.name: _engine_line(folder) for folder in find_engines(bundle)},
    }


def _describe_graph(path: Path) -> dict[str, Any]:
    return {
        "kind": "graph",
        "path": str(path),
        "sha256": sha256_file(path),
        **_described(path.read_bytes(), str(path)),
    }


def _described(data: bytes, what: str = "the graph") -> dict[str, Any]:
    onnx = require("onnx", extra="cpu", why="to read a graph")
    try:
        model = onnx.load_from_string(data)
        opsets = {each.domain or "ai.onnx": each.version for each in model.opset_import}
    except Exception as error:  # protobuf's own exceptions.
        raise UsageError(f"{what} is no ONNX file ({error}); give one of those") from error
    if not model.graph.node:
        raise UsageError(f"{what} is no ONNX file: it holds no layers")
    plan = layer_plan(model)
    return {
        "size_bytes": len(data),
        "opset": opsets,
        "ir_version": model.ir_version,
        "inputs": _values(onnx, model.graph.input),
        "outputs": _values(onnx, model.graph.output),
        "operators": operator_counts(model),
        "weights_bytes": _weights(onnx, model),
        "convolutions": _convolutions(plan),
    }


def _convolutions(plan: LayerPlan) -> dict[str, Any]:
    return {
        "int8": len(plan.int8),
        "float": len(plan.float_layers),
        "kept_in_float": list(plan.float_layers) if plan.int8 else [],
    }


def _values(onnx: Any, values: Any) -> list[str]:
    described = []
    for value in values:
        tensor = value.type.tensor_type
        shape = [each.dim_param or each.dim_value for each in tensor.shape.dim]
        kind = onnx.TensorProto.DataType.Name(tensor.elem_type).lower()
        described.append(f"{value.name} {kind} {shape}")
    return described


def _weights(onnx: Any, model: Any) -> dict[str, int]:
    sizes: dict[str, int] = {}
    for tensor in model.graph.initializer:
        kind = onnx.TensorProto.DataType.Name(tensor.data_type).lower()
        sizes[kind] = sizes.get(kind, 0) + onnx.numpy_helper.to_array(tensor).nbytes
    return dict(sorted(sizes.items()))


def _document(engine: StoredEngine) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(engine.manifest.to_bytes())
    return document


def _engine_line(folder: Path) -> str:
    try:
        return engine_summary(open_engine(folder)).partition(": ")[2]
    except NeuroScanError as error:
        return f"unusable: {error}"


def _lines(value: Any, depth: int) -> list[str]:
    indent = "  " * depth
    lines: list[str] = []
    for key, each in value.items():
        if isinstance(each, dict) and each:
            lines += [f"{indent}{key}:", *_lines(each, depth + 1)]
        elif isinstance(each, list) and each and all(isinstance(item, dict) for item in each):
            for item in each:
                lines += [f"{indent}{key}:", *_lines(item, depth + 1)]
        elif isinstance(each, list):
            lines.append(f"{indent}{key}: {', '.join(map(str, each)) or 'none'}")
        else:
            lines.append(f"{indent}{key}: {'-' if each in (None, {}) else each}")
    return lines

"""Engines of the default bundle: build time, size, layers; agreement of the graphs.

    python benchmarks/engines.py --data DATA --baseline BASELINE.keras --output RECORD.json

The baseline must be the one that the bundle was exported from: its FP32 graph, which the bundle
leaves out for size, is exported again and must give the bundle's FP16 graph byte for byte.
Engines are built by TensorRT for RTX, which needs no GPU for that. Throughput is `peers.py`'s.
"""

import argparse
import json
import os
import statistics
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from whole_bundle import export_again

from neuroscan_edge.bench.environment import describe_machine, describe_software
from neuroscan_edge.model.bundle import Bundle, Graph, find_bundle, open_bundle
from neuroscan_edge.model.engine.runtime_graph import graph_for
from neuroscan_edge.preprocess.opencv import CpuPreprocessor
from neuroscan_edge.runtimes.build import BuildOptions, build_engine
from neuroscan_edge.runtimes.onnxrt.runner import OnnxRuntime
from neuroscan_edge.scans import read_scans
from neuroscan_edge.scans.dataset import load_split
from neuroscan_edge.spec import Precision, RuntimeName

BATCH = 8
PARTS = ("builds", "agreement")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=os.environ.get("NEUROSCAN_DATA"))
    parser.add_argument("--baseline", type=Path, required=True)
    parser.add_argument("--model", default=None, help="bundle; default: the shipped one")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--part", choices=PARTS, action="append", help="default: both")
    parser.add_argument("--output", type=Path, help="JSON; parts not measured now are kept")
    options = parser.parse_args()
    if options.data is None:
        parser.error("give --data or set NEUROSCAN_DATA")
    bundle = open_bundle(find_bundle(options.model))
    with tempfile.TemporaryDirectory() as place:
        whole = export_again(bundle, options.baseline, Path(place) / "whole")
        split = load_split(Path(options.data), "testing", bundle.labels)
        preprocess = CpuPreprocessor(bundle.preprocessing)
        slices = [preprocess(next(read_scans(file.path)).pixels) for file in split.files]
        images = np.stack(slices)[..., None]
        measured = {
            "builds": lambda: builds(whole, bundle, Path(place), options.rounds),
            "agreement": lambda: agreement(whole, bundle, images),
        }
        record: dict[str, Any] = {
            "machine": describe_machine(),
            "software": describe_software(),
            "bundle": {name: each.sha256 for name, each in bundle.files.items()},
        }
        if options.output and options.output.exists():
            earlier = json.loads(options.output.read_text())
            if earlier["bundle"] != record["bundle"]:
                raise SystemExit(f"{options.output} is of another bundle; name another file")
            record = {**earlier, **record}
        for part in options.part or PARTS:
            load = os.getloadavg()[0]
            record[part] = {**measured[part](), "load_average_before": load}
    text = json.dumps(record, indent=2)
    print(text)
    if options.output:
        options.output.write_text(text + "\n")


def builds(whole: Bundle, bundle: Bundle, place: Path, rounds: int) -> dict[str, Any]:
    """Build an engine of each precision with TensorRT for RTX, for all it can build for."""
    record = {}
    for precision in Precision:
        source = whole if precision is Precision.FP32 else bundle
        seconds = []
        for _ in range(rounds):
            options = BuildOptions(
                RuntimeName.TENSORRT_RTX, precision, output=place / str(precision)
            )
            engine = build_engine(source, options, lambda *_: None)
            seconds.append(engine.manifest.build_s)
        manifest = engine.manifest
        record[str(precision)] = {
            "build_s_median": statistics.median(seconds),
            "build_s_min": min(seconds),
            "build_s_max": max(seconds),
            "size_bytes": manifest.files["engine.plan"].size_bytes,
            "compute_capabilities": manifest.compute_capabilities,
            "layers": manifest.layers["found"],
        }
    return record


def agreement(whole: Bundle, bundle: Bundle, images: np.ndarray) -> dict[str, Any]:
    """Compare each graph with the FP32 graph over a test split, in ONNX Runtime on the CPU."""
    expected = probabilities(whole, whole.graph(Precision.FP32), images)
    int8 = bundle.graph(Precision.INT8)
    gpu_form, _ = graph_for(int8, RuntimeName.TENSORRT_RTX, exact_int8=True)
    found_by_form = {
        "fp16": probabilities(bundle, bundle.graph(Precision.FP16), images),
        "int8": probabilities(bundle, int8, images),
        "int8, simulated": simulated(int8.data, images),
        "int8, GPU form, simulated": simulated(gpu_form, images),
    }
    record: dict[str, Any] = {"images": len(images)}
    for name, found in found_by_form.items():
        same = found.argmax(axis=1) == expected.argmax(axis=1)
        record[name] = {
            "top1_agreement": float(same.mean()),
            "disagreements": int((~same).sum()),
            "largest_probability_difference": float(np.abs(found - expected).max()),
        }
    return record


def probabilities(bundle: Bundle, graph: Graph, images: np.ndarray) -> np.ndarray:
    """Run a graph over images, (N, H, W, 1) uint8 to (N, classes) float32."""
    with OnnxRuntime(bundle, graph) as run:
        return np.concatenate([run(images[i : i + BATCH]) for i in range(0, len(images), BATCH)])


def simulated(graph: bytes, images: np.ndarray) -> np.ndarray:
    """Run a Q/DQ graph as it is defined, each pair a rounding between float operators.

    ONNX Runtime 1.32 fuses pairs with float16 scales into integer kernels that return something
    else altogether (0.8 off in probability): on a CPU the GPU form can only be simulated.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    batches = [images[i : i + BATCH] for i in range(0, len(images), BATCH)]
    return np.concatenate([session.run(None, {name: batch})[0] for batch in batches])


if __name__ == "__main__":
    main()

"""Heatmaps of the graph against the gradient that Keras computes, and what they cost.

    python benchmarks/heatmaps.py --data DATA [--baseline MODEL.keras] [--images 64] [--rounds 5]

Research use only. Not for diagnosis.
"""

import argparse
import statistics
from pathlib import Path
from typing import Any

import numpy as np
from recording import RESULTS, opening, write
from whole_bundle import export_again

from neuroscan_edge.classify.pipeline import AUTO_BATCH
from neuroscan_edge.model.bundle import Bundle, find_bundle, open_bundle
from neuroscan_edge.preprocess.opencv import CpuPreprocessor
from neuroscan_edge.runtimes import RuntimeOptions, open_runtime
from neuroscan_edge.runtimes.parallelism import candidates
from neuroscan_edge.runtimes.self_test import WrongAnswersError
from neuroscan_edge.scans import read_scans
from neuroscan_edge.scans.dataset import load_split
from neuroscan_edge.spec import Precision, RuntimeName
from neuroscan_edge.system.machine import usable_cores
from neuroscan_edge.system.timing import race


def main() -> None:
    """Measure and record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument(
        "--baseline", type=Path, default=Path("training/checkpoints/xception-tuned.keras")
    )
    parser.add_argument(
        "--exported", type=Path, default=Path("build/benchmarks/fp32"), help="FP32 export, kept"
    )
    parser.add_argument("--output", type=Path, default=RESULTS / "heatmaps.json")
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    bundle = open_bundle(find_bundle())
    slices = test_slices(bundle, options.data, options.images)
    whole = export_again(bundle, options.baseline, options.exported)
    expected = gradient_maps(options.baseline, slices)
    maps = {
        str(precision): drawn(each, precision, slices)
        for each, precision in (
            (whole, Precision.FP32),
            (bundle, Precision.FP16),
            (bundle, Precision.INT8),
        )
    }
    record = {
        **opening(),
        "images": len(slices),
        "against_keras": {name: compared(found, expected) for name, found in maps.items()},
        "cost": costs(bundle, slices[:AUTO_BATCH], options.rounds),
    }
    write(options.output, record)


def test_slices(bundle: Bundle, data: Path, count: int) -> np.ndarray:
    """Preprocess test images spread over the split, (N, H, W, 1) uint8."""
    files = load_split(data, "testing", bundle.labels).files
    prepare = CpuPreprocessor(bundle.preprocessing)
    chosen = files[:: max(len(files) // count, 1)][:count]
    return np.stack([prepare(next(read_scans(each.path)).pixels) for each in chosen])[..., None]


def gradient_maps(baseline: Path, slices: np.ndarray) -> np.ndarray:
    """Grad-CAM of every class by automatic differentiation, (N, C, H, W) float32."""
    import keras
    import tensorflow as tf

    model = keras.models.load_model(baseline, compile=False)
    names = [layer.name for layer in model.layers]
    head = model.layers[names.index("pooled") : names.index("probabilities")]
    trunk = keras.Model(model.input, head[0].input)
    parts = []
    for start in range(0, len(slices), AUTO_BATCH):
        feature_map = tf.convert_to_tensor(trunk(slices[start : start + AUTO_BATCH]))
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(feature_map)
            tensor = feature_map
            for layer in head:
                tensor = layer(tensor)
            logits = [tensor[:, label] for label in range(tensor.shape[1])]
        of_class = []
        for logit in logits:
            weights = tf.reduce_mean(tape.gradient(logit, feature_map), axis=(1, 2))
            of_class.append(tf.nn.relu(tf.einsum("nhwf,nf->nhw", feature_map, weights)).numpy())
        parts.append(np.stack(of_class, axis=1))
    return np.concatenate(parts)


def drawn(bundle: Bundle, precision: Precision, slices: np.ndarray) -> np.ndarray:
    """Heatmaps of the graph on ONNX Runtime, (N, C, H, W) float32."""
    options = RuntimeOptions(precision, runtime=RuntimeName.ONNXRUNTIME, heatmaps=True)
    with open_runtime(bundle, options) as runtime:
        starts = range(0, len(slices), AUTO_BATCH)
        return np.concatenate(
            [runtime.outputs(slices[at : at + AUTO_BATCH]).heatmaps for at in starts]
        )


def compared(found: np.ndarray, expected: np.ndarray) -> dict[str, float]:
    """Largest difference, as a share of the largest value too, and correlation over all pixels."""
    difference = float(np.abs(found - expected).max())
    return {
        "largest_difference": difference,
        "largest_value": float(expected.max()),
        "share": difference / float(expected.max()),
        "correlation": float(np.corrcoef(found.ravel(), expected.ravel())[0, 1]),
    }


def costs(bundle: Bundle, batch: np.ndarray, rounds: int) -> dict[str, Any]:
    """Measure both CPU runtimes; one that computes wrongly here is left out."""
    found = {}
    for name in (RuntimeName.ONNXRUNTIME, RuntimeName.OPENVINO):
        try:
            found[str(name)] = cost(bundle, name, batch, rounds)
        except WrongAnswersError as error:
            print(error, flush=True)
    return found


def cost(bundle: Bundle, name: RuntimeName, batch: np.ndarray, rounds: int) -> dict[str, Any]:
    """Time a batch with heatmaps over one without, INT8, in turns on the same threads."""
    spread = candidates(usable_cores(), AUTO_BATCH)[-1]
    plain = RuntimeOptions(Precision.INT8, runtime=name, parallelism=spread)
    drawing = RuntimeOptions(Precision.INT8, runtime=name, parallelism=spread, heatmaps=True)
    with open_runtime(bundle, plain) as without, open_runtime(bundle, drawing) as with_maps:
        spent = race(
            {"without": lambda: without.outputs(batch), "with": lambda: with_maps.outputs(batch)},
            4 * rounds,
        )
    ratios = [a / b for a, b in zip(spent["with"], spent["without"], strict=True)]
    return {
        "median": statistics.median(ratios),
        "low": float(np.quantile(ratios, 0.25)),
        "high": float(np.quantile(ratios, 0.75)),
        "batches": len(ratios),
    }


if __name__ == "__main__":
    main()

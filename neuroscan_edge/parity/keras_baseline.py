"""Asking the Keras baseline itself: the one part of parity that needs TensorFlow."""

from pathlib import Path

import numpy as np

from neuroscan_edge.errors import ParityError
from neuroscan_edge.model.baseline import Baseline, read_baseline
from neuroscan_edge.model.bundle import Bundle
from neuroscan_edge.parity.baseline_predictions import (
    BaselinePredictions,
    faults_of_probabilities,
    record_predictions,
)
from neuroscan_edge.parity.slices import LabelledSlices

_BATCH = 32


def answer_with_keras(path: Path, bundle: Bundle, slices: LabelledSlices) -> BaselinePredictions:
    """Run a baseline over slices.

    Raises
    ------
    ParityError
        If it is not the baseline that the bundle was made from, or answers with no probabilities.
    ExportError
        If it cannot be loaded.
    """
    baseline = _baseline_of(path, bundle)
    from neuroscan_edge.model.export import load_keras

    model = load_keras(baseline)
    rows = np.asarray(model.predict(slices.inputs, batch_size=_BATCH, verbose=0), np.float32)
    faults = faults_of_probabilities(rows)
    if faults:
        raise ParityError(f"the baseline {path} is faulty: {faults[0]}; train it again")
    return record_predictions(
        baseline.sha256,
        baseline.preprocessing.sha256,
        baseline.labels,
        slices.hashes,
        slices.inputs,
        rows,
    )


def exported_fp32(path: Path) -> bytes:
    """Export a baseline's FP32 graph: the same model gives the same bytes."""
    from neuroscan_edge.model.export import load_keras, to_onnx

    baseline = read_baseline(path)
    return bytes(to_onnx(load_keras(baseline), baseline).SerializeToString(deterministic=True))


def _baseline_of(path: Path, bundle: Bundle) -> Baseline:
    baseline = read_baseline(path)
    stated = bundle.manifest.get("baseline_sha256")
    if baseline.sha256 != stated:
        raise ParityError(
            f"{path} is the baseline {baseline.sha256}, the bundle was made from {stated}: it is "
            "of another model. Give that one, or export this one"
        )
    if set(baseline.labels) != set(bundle.labels):
        raise ParityError(
            f"{path} knows {', '.join(baseline.labels)}; the bundle knows "
            f"{', '.join(bundle.labels)}: it is of another model"
        )
    return baseline

"""What can be measured: Keras baselines and bundles behind one callable."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from neuroscan_edge.errors import UsageError
from neuroscan_edge.model.baseline import read_baseline
from neuroscan_edge.model.bundle import open_bundle
from neuroscan_edge.model.labels import printable
from neuroscan_edge.runtimes import RuntimeOptions, open_runtime
from neuroscan_edge.spec import Precision, Preprocessing

_BATCH = 32

Predict = Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class Subject:
    """Something that can be measured.

    Parameters
    ----------
    name : str
        How reports call it.
    labels : tuple of str
        Class names in the order of its outputs.
    preprocessing : Preprocessing
        What turns a slice into its input.
    predict : callable
        (N, H, W, 1) uint8 to (N, classes) float32.
    sha256 : str
        Of the very file that computes: the ``.keras`` file, or the bundle's graph.
    baseline_sha256 : str or None
        Of the ``.keras`` file it was made from; its own for a baseline, None where not recorded.
    initial_weights : mapping or None
        Where its backbone's weights came from, as a baseline's card says; None where not recorded.
    """

    name: str
    labels: tuple[str, ...]
    preprocessing: Preprocessing
    predict: Predict
    sha256: str
    baseline_sha256: str | None
    initial_weights: Mapping[str, Any] | None = None


def open_subject(path: Path, precision: Precision | None = None) -> Subject:
    """Load a ``.keras`` baseline, or a bundle in a given precision.

    Raises
    ------
    NeuroScanError
        If it is neither, or damaged.
    """
    if path.suffix == ".keras":
        baseline = read_baseline(path)
        # After the card is read: a wrong path should not wait for TensorFlow.
        import keras

        model = keras.models.load_model(path, compile=False)

        def predict_keras(batch: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
            return np.asarray(model.predict(batch, batch_size=_BATCH, verbose=0))

        return Subject(
            name=printable(f"{baseline.name} keras"),
            labels=baseline.labels,
            preprocessing=baseline.preprocessing,
            predict=predict_keras,
            sha256=baseline.sha256,
            baseline_sha256=baseline.sha256,
            initial_weights=baseline.initial_weights or None,
        )
    bundle = open_bundle(path)
    runtime = open_runtime(bundle, RuntimeOptions(precision))

    def predict_runtime(batch: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        starts = range(0, len(batch), _BATCH)
        return np.concatenate([runtime(batch[start : start + _BATCH]) for start in starts])

    return Subject(
        name=printable(f"{bundle.name} {runtime.info.runtime} {runtime.info.precision}"),
        labels=bundle.labels,
        preprocessing=bundle.preprocessing,
        predict=predict_runtime,
        sha256=runtime.info.engine_sha256,
        baseline_sha256=bundle.manifest.get("baseline_sha256"),
    )


def open_subjects(paths: Sequence[Path], precision: Precision | None = None) -> list[Subject]:
    """Load several models; those of one name are told apart by their folders.

    Raises
    ------
    UsageError
        If a path is given twice.
    NeuroScanError
        If one is no model, or damaged.
    """
    resolved = [path.resolve() for path in paths]
    for path in paths:
        if resolved.count(path.resolve()) > 1:
            raise UsageError(f"{path} is given more than once; give each model once")
    subjects = [open_subject(path, precision) for path in paths]
    names = [subject.name for subject in subjects]
    for name in {name for name in names if names.count(name) > 1}:
        alike = [index for index, each in enumerate(names) if each == name]
        places = distinguishing_parts([resolved[index] for index in alike])
        for index, place in zip(alike, places, strict=True):
            subjects[index] = replace(subjects[index], name=printable(f"{name} ({place})"))
    return subjects


def distinguishing_parts(paths: Sequence[Path]) -> list[str]:
    """Return the shortest part of each path, near its end, that tells it from the others."""
    named = [path.with_suffix("") if path.suffix == ".keras" else path for path in paths]
    reversed_parts = [path.parts[::-1] for path in named]
    same = len(os.path.commonprefix(reversed_parts))
    for end in range(same + 1, max(map(len, reversed_parts)) + 1):
        shortest = ["/".join(parts[same:end][::-1]) for parts in reversed_parts]
        if len(set(shortest)) == len(paths):
            return shortest
    return [str(path) for path in paths]

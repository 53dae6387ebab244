"""Measuring baselines and bundles on the published test split and on its leak-free part."""

import csv
import io
import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.metrics import classification_report

from neuroscan_edge.classify.pipeline import NonFiniteOutputError
from neuroscan_edge.errors import NeuroScanError, UsageError
from neuroscan_edge.model.labels import printable
from neuroscan_edge.parity.evaluation.bootstrap import (
    Bootstrap,
    Resampled,
    percentile_interval,
    resample,
    stratified_draws,
)
from neuroscan_edge.parity.evaluation.calibration_error import BINS, reliability_bins
from neuroscan_edge.parity.evaluation.comparison import Measured, against_reference
from neuroscan_edge.parity.evaluation.duplicates import (
    DEFAULT_DISTANCE,
    duplicate_groups,
    without_duplicates_in,
)
from neuroscan_edge.parity.evaluation.images import Images, UnreadableFile, load_images
from neuroscan_edge.parity.evaluation.metrics import classification_metrics
from neuroscan_edge.preprocess.opencv import CpuPreprocessor
from neuroscan_edge.scans.dataset import Split, load_split, open_dataset
from neuroscan_edge.spec import RESEARCH_USE, Preprocessing
from training.audit.record import Audit
from training.evaluate.comparison import best_by_class
from training.evaluate.record import require_form
from training.evaluate.subjects import Subject

EVALUATION_SCHEMA = 1
PARTS = {"published": "Published split", "leak_free": "Leak-free part"}

_WITH_INTERVAL = ("accuracy", "precision", "recall", "f1", "auroc", "expected_calibration_error")


class EvaluationError(NeuroScanError):
    """A recorded evaluation cannot be used."""


@dataclass(frozen=True, slots=True)
class EvaluationOptions:
    """How to measure.

    Parameters
    ----------
    distance : int
        Perceptual-hash bits within which two images are near-duplicates: a test image with one in
        training has leaked, test images that are one another's are drawn together.
    bootstrap : Bootstrap
        How intervals are made.
    audit : Audit or None
        Of the very data: then its distance and its leak-free tests are taken.
    """

    distance: int = DEFAULT_DISTANCE
    bootstrap: Bootstrap = field(default_factory=Bootstrap)
    audit: Audit | None = None


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The figures, and the N test images they come from.

    Parameters
    ----------
    report : dict
        What `evaluate` measured, ready for JSON; it holds no image, and of paths only those of test
        images that cannot be read, relative to the data set.
    labels : tuple of str
        Class names in the order of the outputs.
    paths : tuple of str
        Of the test images, relative to the data set.
    targets : (N,) int64
        True label indices.
    leak_free : (N,) bool
        Whether training holds no near-duplicate.
    groups : (N,) int32
        Test images of one number are near-duplicates of one another.
    slices : (N, H, W) uint8
        The resized test images.
    probabilities : dict of str to (N, C) float32
        Outputs by subject.
    """

    report: dict[str, Any]
    labels: tuple[str, ...]
    paths: tuple[str, ...]
    targets: npt.NDArray[np.int64]
    leak_free: npt.NDArray[np.bool_]
    groups: npt.NDArray[np.int32]
    slices: npt.NDArray[np.uint8]
    probabilities: dict[str, npt.NDArray[np.float32]]


def evaluate(
    subjects: Sequence[Subject], data: Path, options: EvaluationOptions | None = None
) -> Evaluation:
    """Measure subjects side by side; the first is what the others are compared with.

    Parameters
    ----------
    subjects : sequence of Subject
        All with the same labels; each gets the images by its own preprocessing.
    data : Path
        Data set with both splits, a folder or a zip.
    options : EvaluationOptions, optional
        How to measure.

    Returns
    -------
    Evaluation
        Its report holds ``published`` and ``leak_free``: for each subject its metrics with
        ``intervals``, ``reliability`` and scikit-learn's ``classification_report``, and for all
        but the first the figures of `training.evaluate.comparison.against_reference`. A part
        without images is left out; ``groups`` counts its images by class, near-duplicates as one.
        ``best_by_class`` is there for two subjects or more.

    Raises
    ------
    UsageError
        If there is no subject, they differ in labels, or share a name.
    DatasetError
        If the data cannot be used, or the audit is of other data.
    NonFiniteOutputError
        If a subject's output is no probability.
    """
    options = options or EvaluationOptions()
    labels = _shared_labels(subjects)
    with tempfile.TemporaryDirectory(prefix="neuroscan-") as work:
        root = open_dataset(data, Path(work))
        split = load_split(root, "testing", labels)
        training_split = load_split(root, "training", labels)
        if options.audit:
            options.audit.require(split, "testing")
            options.audit.require(training_split, "training")
            options = replace(options, distance=options.audit.distance)
        tests = {
            spec: load_images(split, spec) for spec in {each.preprocessing for each in subjects}
        }
        training = load_images(training_split, subjects[0].preprocessing)
    # Targets, hashes and files are the same whatever the size.
    images = tests[subjects[0].preprocessing]
    leak_free = leak_free_mask(images, training, options)
    groups = duplicate_groups(images.hashes, options.distance)
    batches = {spec: _preprocessed(each, spec) for spec, each in tests.items()}
    outputs = {each.name: _predicted(each, batches[each.preprocessing]) for each in subjects}
    report: dict[str, Any] = {
        "schema": EVALUATION_SCHEMA,
        "intended_use": RESEARCH_USE,
        "reference": subjects[0].name,
        "subjects": _described_subjects(subjects),
        "labels": list(labels),
        "data": {"testing": _described(split), "training": _described(training_split)},
        "duplicate_distance": options.distance,
        "unreadable": len(images.unreadable),
        "unreadable_files": _described_files(images.unreadable, root),
        "bootstrap": {
            **asdict(options.bootstrap),
            "method": "percentile; stratified by class, near-duplicates drawn together",
        },
        "calibration_bins": BINS,
        "groups": {},
    }
    best: dict[str, Any] = {}
    for part, chosen in (("published", np.full_like(leak_free, True)), ("leak_free", leak_free)):
        if chosen.any():
            targets = images.targets[chosen]
            found = {name: each[chosen] for name, each in outputs.items()}
            draws = stratified_draws(targets, groups[chosen], options.bootstrap)
            measured = _measure(targets, found, labels, draws)
            report["groups"][part] = {
                label: len(np.unique(groups[chosen][targets == index]))
                for index, label in enumerate(labels)
            }
            report[part] = _part(targets, measured, labels, options.bootstrap.level)
            if len(measured) > 1:
                best[part] = best_by_class(measured, labels, options.bootstrap.level)
    return Evaluation(
        report=report | ({"best_by_class": best} if best else {}),
        labels=labels,
        paths=tuple(file.path.relative_to(root).as_posix() for file in images.files),
        targets=images.targets,
        leak_free=leak_free,
        groups=groups,
        slices=images.resized,
        probabilities=outputs,
    )


def leak_free_mask(
    tests: Images, training: Images, options: EvaluationOptions
) -> npt.NDArray[np.bool_]:
    """Tell which test images have no near-duplicate in training, (N,) bool."""
    if options.audit is None:
        return without_duplicates_in(tests.hashes, training.hashes, options.distance)
    # By content: an audit's fingerprint does not know names.
    found = {image.sha256 for image in options.audit.leak_free or ()}
    return np.array([file.sha256 in found for file in tests.files], bool)


def read_evaluation(path: Path) -> dict[str, Any]:
    """Read the report in an ``evaluation.json``.

    Raises
    ------
    EvaluationError
        If it is missing, unreadable, of another schema, or not as `evaluate` writes it.
    """
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise EvaluationError(
            f"{path} cannot be read ({error.strerror}); "
            "'python -m training evaluate --output DIR' writes DIR/evaluation.json"
        ) from error
    # JSON can nest deeper than Python recurses.
    except (ValueError, RecursionError) as error:
        raise EvaluationError(f"{path} is not JSON ({error}); evaluate again") from error
    schema = report.get("schema") if isinstance(report, dict) else None
    if schema != EVALUATION_SCHEMA or "published" not in report:
        raise EvaluationError(
            f"{path} has schema {schema!r}, this version reads evaluations of schema "
            f"{EVALUATION_SCHEMA}; evaluate again with 'python -m training evaluate'"
        )
    try:
        require_form(report)
    except ValueError as error:
        raise EvaluationError(f"{path} is not an evaluation ({error}); evaluate again") from error
    return dict(report)


def predictions_csv(evaluation: Evaluation) -> str:
    """List every decision as CSV: image by image, and within an image model by model."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    probabilities = [f"probability_{label}" for label in evaluation.labels]
    writer.writerow(["path", "label", "leak_free", "model", "prediction", *probabilities])
    for index, path in enumerate(evaluation.paths):
        label = evaluation.labels[evaluation.targets[index]]
        leak_free = "true" if evaluation.leak_free[index] else "false"
        for name, outputs in evaluation.probabilities.items():
            prediction = evaluation.labels[outputs[index].argmax()]
            writer.writerow([path, label, leak_free, name, prediction, *outputs[index]])
    return buffer.getvalue()


def _shared_labels(subjects: Sequence[Subject]) -> tuple[str, ...]:
    if not subjects:
        raise UsageError("there is no model to evaluate; give at least one")
    first = subjects[0]
    for other in subjects[1:]:
        if other.labels != first.labels:
            raise UsageError(
                f"{other.name} knows {', '.join(other.labels)}; {first.name} knows "
                f"{', '.join(first.labels)}: only models with the same classes in the same order "
                "can be compared"
            )
    names = [subject.name for subject in subjects]
    if len(set(names)) < len(names):
        raise UsageError(f"two models have one name: {', '.join(names)}; name them apart")
    return first.labels


def _preprocessed(images: Images, spec: Preprocessing) -> npt.NDArray[np.uint8]:
    preprocessor = CpuPreprocessor(spec)
    return np.stack([preprocessor.equalise(pixels) for pixels in images.resized])[..., None]


def _predicted(subject: Subject, batch: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    outputs = np.asarray(subject.predict(batch), np.float32)
    # An argmax over NaN would be a decision like any other.
    if not np.isfinite(outputs).all():
        raise NonFiniteOutputError(
            f"{subject.name} gave probabilities that are not finite numbers; train or export it "
            "again"
        )
    return outputs


def _described(split: Split) -> dict[str, Any]:
    return {"fingerprint": split.fingerprint, "counts": split.counts}


def _described_subjects(subjects: Sequence[Subject]) -> dict[str, Any]:
    recorded = {
        each.baseline_sha256: each.initial_weights
        for each in subjects
        if each.baseline_sha256 and each.initial_weights
    }
    return {
        each.name: {
            "sha256": each.sha256,
            "baseline_sha256": each.baseline_sha256,
            # A bundle does not say; the baseline it was made from may stand beside it.
            "initial_weights": each.initial_weights or recorded.get(each.baseline_sha256),
        }
        for each in subjects
    }


def _described_files(files: Sequence[UnreadableFile], root: Path) -> list[dict[str, str]]:
    return [
        {"path": printable(each.path.relative_to(root).as_posix()), "reason": each.reason}
        for each in files
    ]


def _measure(
    targets: npt.NDArray[np.int64],
    outputs: Mapping[str, npt.NDArray[np.float32]],
    labels: Sequence[str],
    draws: npt.NDArray[np.float64],
) -> dict[str, Measured]:
    return {
        name: Measured(
            metrics=classification_metrics(targets, found, labels),
            probabilities=found,
            resampled=resample(draws, targets, found),
        )
        for name, found in outputs.items()
    }


def _part(
    targets: npt.NDArray[np.int64],
    measured: Mapping[str, Measured],
    labels: Sequence[str],
    level: float,
) -> dict[str, Any]:
    reference = next(iter(measured.values()))
    part: dict[str, Any] = {}
    for name, each in measured.items():
        part[name] = {
            **each.metrics,
            "intervals": _intervals(each.resampled, labels, level),
            "reliability": reliability_bins(targets, each.probabilities),
            "classification_report": _classification_report(targets, each.probabilities, labels),
        }
        if each is not reference:
            part[name] |= against_reference(targets, each, reference, level)
    return part


def _intervals(resampled: Resampled, labels: Sequence[str], level: float) -> dict[str, Any]:
    return {
        **{key: percentile_interval(getattr(resampled, key), level) for key in _WITH_INTERVAL},
        "per_class": {
            label: {
                key: percentile_interval(getattr(resampled, f"class_{key}")[:, index], level)
                for key in ("recall", "f1", "auroc")
            }
            for index, label in enumerate(labels)
        },
    }


def _classification_report(
    targets: npt.NDArray[np.int64], probabilities: npt.NDArray[np.float32], labels: Sequence[str]
) -> dict[str, Any]:
    # A class without images would pull the averages down by figures it does not have.
    present = np.unique(targets)
    report: dict[str, Any] = classification_report(
        targets,
        probabilities.argmax(axis=1),
        labels=present,
        target_names=[labels[index] for index in present],
        output_dict=True,
        zero_division=0.0,
    )
    return report

"""What judging catches and what it costs, measured on slices and on images that are none."""

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from neuroscan_edge.errors import UsageError
from neuroscan_edge.model.bundle import Bundle
from neuroscan_edge.model.judging import Judging
from neuroscan_edge.parity.evaluation.calibration_error import expected_calibration_error
from neuroscan_edge.parity.evaluation.duplicates import DEFAULT_DISTANCE, without_duplicates_in
from neuroscan_edge.parity.evaluation.images import load_images
from neuroscan_edge.preprocess.opencv import CpuPreprocessor
from neuroscan_edge.report.document import percent
from neuroscan_edge.runtimes import RuntimeOptions, open_runtime
from neuroscan_edge.runtimes.protocol import JudgingRuntime, Outputs
from neuroscan_edge.scans import find_scans, read_scans
from neuroscan_edge.scans.dataset import load_split
from neuroscan_edge.spec import RESEARCH_USE, Finding
from training.fit.run import validation_split
from training.judge.odd_images import odd_images
from training.recipe.recipe import Recipe

UInt8 = npt.NDArray[np.uint8]

_BATCH = 16
_ODD_IMAGES = 100
_COVERAGES = tuple(round(0.05 * step, 2) for step in range(4, 21))


def judging_report(
    bundle: Bundle,
    data: Path,
    recipe: Recipe,
    options: RuntimeOptions | None = None,
    phantoms: Path | None = None,
) -> dict[str, Any]:
    """Measure a bundle's judging; ready for JSON.

    Parameters
    ----------
    bundle : Bundle
        With judging.
    data : Path
        Data set with both splits.
    recipe : Recipe
        That the model was trained by: tells which slices were held out.
    options : RuntimeOptions, optional
        What runs the model.
    phantoms : Path, optional
        Folder of drawn scans, judged as one more set.

    Raises
    ------
    UsageError
        If the bundle has no judging.
    """
    if not bundle.judging.outliers:
        raise UsageError(f"{bundle.folder} has no judging; run python -m training judge first")
    training = load_images(load_split(data, "training", bundle.labels), bundle.preprocessing)
    testing = load_images(load_split(data, "testing", bundle.labels), bundle.preprocessing)
    _, held_out = validation_split(training, recipe.data, recipe.seed)
    leak_free = without_duplicates_in(testing.hashes, training.hashes, DEFAULT_DISTANCE)
    prepare = CpuPreprocessor(bundle.preprocessing)
    sets = dict(odd_images(testing.resized, _ODD_IMAGES))
    if phantoms is not None:
        drawn = [scan.pixels for file in find_scans([phantoms]).files for scan in read_scans(file)]
        sets["phantoms"] = np.stack([prepare.resize(each) for each in drawn])
    with open_runtime(bundle, options or RuntimeOptions()) as runtime:
        assert isinstance(runtime, JudgingRuntime)

        def outputs(resized: UInt8) -> Outputs:
            shown = np.stack([prepare.equalise(each) for each in resized])[..., None]
            starts = range(0, len(shown), _BATCH)
            return Outputs.joined([runtime.outputs(shown[at : at + _BATCH]) for at in starts])

        good = outputs(training.resized[held_out])
        test = outputs(testing.resized)
        odd = {name: _referrals(bundle.judging, outputs(each)) for name, each in sets.items()}
        info = runtime.info
    parts = {"published": np.ones(len(leak_free), bool), "leak_free": leak_free}
    return {
        "schema": 1,
        "intended_use": RESEARCH_USE,
        "model": bundle.name,
        "runtime": {"name": info.runtime, "version": info.version, "device": info.device},
        "precision": str(info.precision),
        "engine_sha256": info.engine_sha256,
        "judging": bundle.judging.to_json(),
        "held_out": {
            **_referrals(bundle.judging, good),
            **_accuracy(bundle.judging, good, training.targets[held_out]),
        },
        "odd": odd,
        **{
            name: _part(bundle.judging, test, testing.targets, mask) for name, mask in parts.items()
        },
    }


def _referrals(rules: Judging, outputs: Outputs) -> dict[str, Any]:
    """Count the slices, and those with each finding."""
    found = _findings(rules, outputs)
    kinds = (Finding.LOW_CONFIDENCE, Finding.AMBIGUOUS, Finding.OUT_OF_DISTRIBUTION)
    return {
        "images": len(found),
        "referred": sum(bool(each) for each in found),
        **{str(kind): sum(kind in each for each in found) for kind in kinds},
    }


def _findings(rules: Judging, outputs: Outputs) -> list[tuple[Finding, ...]]:
    assert outputs.outlier_scores is not None
    calibrated = rules.calibrated(outputs.probabilities)
    pairs = zip(calibrated, outputs.outlier_scores, strict=True)
    return [rules.findings(row, float(score)) for row, score in pairs]


def _accuracy(rules: Judging, outputs: Outputs, targets: npt.NDArray[np.int64]) -> dict[str, Any]:
    right = outputs.probabilities.argmax(axis=1) == targets
    answered = np.array([not each for each in _findings(rules, outputs)])
    calibrated = rules.calibrated(outputs.probabilities)
    return {
        "accuracy": float(right.mean()),
        "accuracy_of_answers": float(right[answered].mean()) if answered.any() else None,
        "accuracy_of_referrals": float(right[~answered].mean()) if not answered.all() else None,
        "calibration_error": expected_calibration_error(targets, calibrated),
        "calibration_error_uncalibrated": expected_calibration_error(
            targets, outputs.probabilities
        ),
    }


def _part(
    rules: Judging, outputs: Outputs, targets: npt.NDArray[np.int64], mask: npt.NDArray[np.bool_]
) -> dict[str, Any]:
    assert outputs.outlier_scores is not None
    part = Outputs(outputs.probabilities[mask], outputs.outlier_scores[mask])
    right = part.probabilities.argmax(axis=1) == targets[mask]
    doubts = {"outlier score": part.outlier_scores, "confidence": -part.probabilities.max(axis=1)}
    return {
        **_referrals(rules, part),
        **_accuracy(rules, part, targets[mask]),
        "curves": {name: _curve(np.asarray(doubt), right) for name, doubt in doubts.items()},
    }


def _curve(doubt: npt.NDArray[np.float32], right: npt.NDArray[np.bool_]) -> list[list[float]]:
    """Accuracy over the least doubtful share: [coverage, accuracy] pairs."""
    ordered = right[np.argsort(doubt, kind="stable")]
    counts = [max(round(coverage * len(ordered)), 1) for coverage in _COVERAGES]
    return [
        [coverage, float(ordered[:count].mean())]
        for coverage, count in zip(_COVERAGES, counts, strict=True)
    ]


def report_files(report: Mapping[str, Any]) -> dict[str, bytes]:
    """Return the report as JSON and its two pictures, by file name."""
    return {
        "judging.json": (json.dumps(report, indent=2) + "\n").encode(),
        "judging-coverage.png": _png(_coverage_figure(report)),
        "judging-detection.png": _png(_detection_figure(report)),
    }


def summary(report: Mapping[str, Any]) -> str:
    """Say the report in lines of text."""
    lines = [f"{report['model']} {report['precision']} on {report['runtime']['name']}"]
    for name in ("held_out", "published", "leak_free"):
        part = report[name]
        lines.append(
            f"{name}: {part['referred']} of {part['images']} referred; accuracy "
            f"{percent(part['accuracy'])}, of answers {percent(part['accuracy_of_answers'])}, of "
            f"referrals {percent(part['accuracy_of_referrals'])}; calibration error "
            f"{part['calibration_error']:.3f}"
        )
    for name, part in report["odd"].items():
        found = part[str(Finding.OUT_OF_DISTRIBUTION)]
        lines.append(
            f"{name}: {found} of {part['images']} out of distribution, {part['referred']} referred"
        )
    return "\n".join(lines)


def _coverage_figure(report: Mapping[str, Any]) -> Figure:
    figure = Figure(figsize=(10, 4.4), layout="constrained")
    titles = {"published": "Published test split", "leak_free": "Without near-duplicates"}
    axes = figure.subplots(1, len(titles), sharey=True)
    for axis, (name, title) in zip(axes, titles.items(), strict=True):
        part = report[name]
        for (kind, curve), colour in zip(
            part["curves"].items(), ("#0072b2", "#d55e00"), strict=True
        ):
            coverage, accuracy = np.array(curve).T
            axis.plot(100 * coverage, 100 * accuracy, color=colour, lw=2, label=f"by {kind}")
        answered = 1 - part["referred"] / part["images"]
        if part["accuracy_of_answers"] is not None:
            axis.plot(
                100 * answered, 100 * part["accuracy_of_answers"], "k*", ms=13, label="as set"
            )
        axis.set(title=f"{title}, {part['images']} images", xlabel="answered, %", ylim=(40, 101))
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("accuracy of the answers, %")
    axes[0].legend(loc="lower left", frameon=False)
    figure.supxlabel(RESEARCH_USE, fontsize=8)
    return figure


def _detection_figure(report: Mapping[str, Any]) -> Figure:
    rows = {"held-out slices": report["held_out"], **report["odd"]}
    figure = Figure(figsize=(8.5, 0.9 + 0.38 * len(rows)), layout="constrained")
    axis = figure.subplots()
    for place, (name, part) in enumerate(rows.items()):
        share = 100 * part[str(Finding.OUT_OF_DISTRIBUTION)] / part["images"]
        referred = 100 * part["referred"] / part["images"]
        colour = "#009e73" if name == "held-out slices" else "#0072b2"
        axis.barh(place, referred, color="#c9d3dd", height=0.72)
        axis.barh(place, share, color=colour, height=0.44)
        axis.text(min(referred, 100) + 1, place, f"{share:.0f} / {referred:.0f}", va="center")
    axis.set_yticks(range(len(rows)), list(rows))
    axis.invert_yaxis()
    axis.set(xlim=(0, 128), xlabel="out of distribution / referred in all, %")
    figure.supxlabel(RESEARCH_USE, fontsize=8)
    return figure


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()
